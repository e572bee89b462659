"""Discovers a store's proxies by listing, periodically."""

import logging
from collections.abc import Callable, Set

from pointsman.discovery.proxy import ProxyId, proxy_of
from pointsman.store import keys
from pointsman.store.protocol import Store, StoreError

_log = logging.getLogger(__name__)

MOST_ENDED = 100_000
"""Deleted registrations that are remembered so that a listing does not read them again; beyond that the oldest are read
with every listing."""


class Discovering:
    """Finds the proxies of `datacenters` (empty: of all) that have a manifest in `store`."""

    def __init__(self, store: Store, datacenters: Set[str], clock: Callable[[], float]) -> None:
        """`clock` returns seconds, from any zero."""
        self._store, self._datacenters, self._clock = store, datacenters, clock
        self._ended: dict[ProxyId, str] = {}
        self._last: tuple[float, str] | None = None
        self._problem = ""
        self.began = False
        """Whether `look` was ever called: only then are ended proxies dropped."""

    def look(self) -> set[ProxyId]:
        """The store's proxies, without those that have ended and whose manifest has not changed since. Raises
        StoreError. The cost grows with the number of proxies in the store."""
        self.began = True
        listed = ((proxy_of(each.key), each.etag) for each in self._store.list(keys.MANIFESTS))
        found = {proxy for proxy, etag in listed if proxy is not None and self._ended.get(proxy) != etag}
        return {proxy for proxy in found if not self._datacenters or proxy.datacenter in self._datacenters}

    def look_when_due(self, discover: Callable[[], object], period: float, cursor: str) -> None:
        """Call `discover` at first, and then whenever `period` seconds have passed and the store's `cursor` has
        moved."""
        if self._last is not None:
            when, then = self._last
            if self._clock() - when < period or (cursor and cursor == then):
                return
        try:
            discover()
            self._problem = ""
        except StoreError as error:
            if not self._problem:
                _log.warning("new proxies cannot be looked for: %s", error)
            self._problem = str(error)
        # The cursor from before the listing, which may have missed later writes.
        self._last = (self._clock(), cursor)

    def has_ended(self, proxy: ProxyId) -> bool:
        """Whether `proxy` was dropped because its registration was deleted."""
        return proxy in self._ended

    @property
    def any_ended(self) -> bool:
        """Whether `has_ended` is true of any proxy."""
        return bool(self._ended)

    def end(self, proxy: ProxyId, etag: str) -> None:
        """Remember that `proxy` has ended, by a manifest with this etag."""
        self._ended[proxy] = etag
        if len(self._ended) > MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def goes_on(self, proxy: ProxyId) -> None:
        """Forget that `proxy` has ended."""
        self._ended.pop(proxy, None)
