"""The Envoys that ask over REST, and the answers that they have not confirmed yet."""

from collections.abc import Callable
from typing import Final

from pointsman.adapter.report.fetcher import Fetcher, Waiting
from pointsman.adapter.rest.rejections import Rejections
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.request import Asker
from pointsman.xds.inbound import Host

MOST_ASKERS: Final = 10_000
"""Envoys that are remembered; beyond that the one that asked longest ago is forgotten."""

ASKED_SECONDS: Final = 300.0
"""Seconds without a request after which an Envoy is gone: each asks at least about once a minute."""

PATIENCE_SECONDS: Final = 5.0
"""Seconds beyond the time between two requests, until an Envoy that has not asked again counts as behind."""

_WAY: Final = "rest"


class Askers:
    """Which Envoy asked when. Use `asked` only on the server's loop; `all` may be called from any thread."""

    def __init__(self, rejections: Rejections, polled: float) -> None:
        """`rejections` know what was sent. An Envoy asks again at most `polled` seconds after an answer."""
        self._rejections, self._patience = rejections, polled + PATIENCE_SECONDS
        self._asked: dict[tuple[ProxyId, str], tuple[float, Host | None]] = {}

    def asked(self, asker: Asker, now: float) -> None:
        """Record a request; `now` is in seconds, from any zero."""
        self._asked.pop((asker.proxy, asker.node_id), None)
        self._asked[asker.proxy, asker.node_id] = now, asker.host
        if len(self._asked) > MOST_ASKERS:
            del self._asked[next(iter(self._asked))]

    def all(
        self,
        now: float,
        has: Callable[[ProxyId, ResourceKind, str], bool],
        unreached: Callable[[ProxyId, Host | None], str],
    ) -> list[Fetcher]:
        """The Envoys that asked lately. An answer waits to be confirmed if the Envoy should have asked again by now;
        only those count that somebody `has` now. `unreached` says why intentions do not reach one."""
        waiting: dict[tuple[ProxyId, str], list[Waiting]] = {}
        for (proxy, node, kind, name), version in self._rejections.unconfirmed(now - self._patience):
            if has(proxy, kind, name):
                waiting.setdefault((proxy, node), []).append(Waiting(kind.label, name, version))
        return [
            Fetcher(_WAY, *each, tuple(waiting.get(each, ())), unreached(each[0], host))
            for each, (asked, host) in self._asked.copy().items()
            if now - asked < ASKED_SECONDS
        ]
