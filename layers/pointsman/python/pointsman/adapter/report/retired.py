"""Envoys that still fetch, and files that still exist, although their registration was deleted."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from pointsman.adapter.report.rejection import moment
from pointsman.discovery.proxy import ProxyId

_log = logging.getLogger(__name__)

Fetching: TypeAlias = tuple[str, ProxyId, str]
"""A way (`ads`, `rest`, `files`), a proxy, and an Envoy's node id if known."""


_OVER = {"ads": "gRPC", "rest": "HTTP"}


@dataclass(frozen=True, slots=True)
class Retired:
    """An Envoy (`node`) that fetches over `way` as a `proxy` whose registration was deleted, or the files of one
    (without a node). `since` is when that was first seen (RFC 3339, UTC)."""

    way: str
    proxy: ProxyId
    node: str
    since: str

    def __str__(self) -> str:
        way = _OVER.get(self.way)
        what = f"{self.node} still fetches over {way} as {self.proxy}" if way else f"there were files of {self.proxy}"
        keeps = "an Envoy that runs keeps what it has, one that starts gets nothing"
        return f"{what}, whose registration was deleted: {keeps}. Stop it, or register it again with `pointsman apply`"

    def json(self) -> dict[str, str]:
        """As JSON, for programs."""
        return {"way": self.way, "proxy": str(self.proxy.directory), "node": self.node, "since": self.since}


def retired(proxy: ProxyId) -> str:
    """Why an Envoy that starts as `proxy` gets nothing."""
    return f"the registration of {proxy} was deleted; `pointsman apply` registers it again"


class RetiredProxies:
    """Lists them, and logs each when it is first seen. Safe for several threads.

    It contains what its sources currently report: streams, requested proxies, directories.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """`now` returns Unix time in seconds."""
        self._now = now
        self._sources: list[Callable[[], Iterable[Fetching]]] = []
        self._since: dict[Fetching, str] = {}
        self._lock = threading.Lock()

    def watch(self, source: Callable[[], Iterable[Fetching]]) -> None:
        """Add a source."""
        self._sources.append(source)

    def all(self) -> list[Retired]:
        """The current ones, ordered by proxy and node."""
        with self._lock:
            current = {each for source in self._sources for each in source()}
            if not current and not self._since:
                return []
            before, now = self._since, moment(self._now())
            self._since = {each: before.get(each, now) for each in current}
            found = [Retired(*each, since) for each, since in self._since.items()]
        for each in found:
            if (each.way, each.proxy, each.node) not in before:
                _log.warning("%s", each)
        return sorted(found, key=lambda each: (str(each.proxy.directory), each.way, each.node))

    def dump(self) -> list[dict[str, str]]:
        """The current ones, for `/config_dump` and `/rejections`."""
        return [each.json() for each in self.all()]
