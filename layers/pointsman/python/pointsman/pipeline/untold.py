"""Notices that could not be sent, kept in the process for later."""

import logging
from collections.abc import Iterable
from threading import Lock

from pointsman.pipeline.moved import Moved, MovedManifest, Notify
from pointsman.store import keys
from pointsman.store.protocol import StoreUnavailable

_log = logging.getLogger(__name__)

MOST_UNTOLD = 4096
"""Objects whose notices are kept. Followers find the others when they next read everything."""


class Untold:
    """Notices that `notify` refused, the latest of each key. Safe for several threads."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._kept: dict[str, Moved | MovedManifest] = {}
        self._lock = Lock()

    @property
    def pending(self) -> frozenset[str]:
        """The keys of the kept notices."""
        with self._lock:
            return frozenset(self._kept)

    def tell(self, moved: Iterable[Moved | MovedManifest]) -> None:
        """Send notices of `moved` now. If one is refused, it and all later ones are kept until `tell_rest`."""
        news = list(moved)
        if not news:
            return
        deaf = bool(self.pending)
        if not deaf:
            try:
                self._notify(news)
            except StoreUnavailable:
                deaf = True
        if deaf:
            self._keep(news)

    def tell_rest(self) -> None:
        """Send the kept notices, heads before manifests. Raises StoreUnavailable if one is refused; then they stay."""
        with self._lock:
            rest, self._kept = self._kept, {}
        heads = [each for key, each in rest.items() if keys.is_snapshot(key)]
        manifests = [each for key, each in rest.items() if not keys.is_snapshot(key)]
        try:
            for part in filter(None, (heads, manifests)):
                self._notify(part)
        except StoreUnavailable:
            with self._lock:
                newer, self._kept = self._kept, {}
            self._keep([*rest.values(), *newer.values()])
            raise

    def _keep(self, news: Iterable[Moved | MovedManifest]) -> None:
        lost = 0
        with self._lock:
            for each in news:
                if each.key in self._kept or len(self._kept) < MOST_UNTOLD:
                    self._kept[each.key] = each
                else:
                    lost += 1
        if lost:
            _log.warning(
                "%d notices are lost, the topic takes none: followers find what moved at their next reread", lost
            )
