"""Infers rejections over REST: Envoy does not report them, but repeats its request with the version it had before."""

import logging
import threading
from collections.abc import Callable

from pointsman.adapter.report.rejection import Rejection, moment
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.request import DiscoveryRequest

_log = logging.getLogger(__name__)

_Subscription = tuple[ProxyId, str, ResourceKind, str]

_MOST = 100_000
"""Answers that are remembered, each only until the Envoy's next request."""

_MOST_FOUND = 10_000
"""Rejections that are kept; beyond that the oldest is not shown until it happens again."""

_FORGOTTEN_S = 300.0
"""Seconds without a request after which an Envoy is forgotten."""


class Rejections:
    """Compares each answer with the next request.

    A restarted Envoy or a lost answer looks like one rejection, so only repeated ones count. The reason is only in the
    Envoy's log; its counters `update_rejected` confirm it.

    Use `sent` and `asked` only on the server's loop; `all` may be called from any thread.
    """

    def __init__(self) -> None:
        self._sent: dict[_Subscription, tuple[str, str, float]] = {}
        self._found: dict[_Subscription, tuple[Rejection, str, float, int]] = {}
        self._lock = threading.Lock()

    def sent(self, request: DiscoveryRequest, version: str, now: float) -> None:
        """Record that `version` was sent as the answer to `request`; `now` is in seconds, from any zero."""
        if len(self._sent) >= _MOST:
            self._sent.pop(next(iter(self._sent)))
        self._sent[_subscription(request)] = request.version, version, now

    def asked(self, request: DiscoveryRequest, now: float) -> bool:
        """Whether the Envoy seems to have rejected its last answer."""
        key = _subscription(request)
        had, version, _ = self._sent.pop(key, ("", "", 0.0))
        # A changed cluster requests its endpoints from scratch, whatever it had.
        started_over = not had and request.kind is ResourceKind.ENDPOINTS
        with self._lock:
            if not version or request.version != had or started_over:
                self._found.pop(key, None)
                return False
            before, _, _, times = self._found.get(key, (None, "", 0.0, 0))
            reason = f"it asks again with the version that it had before {version}; its log says why"
            if before is None or before.reason != reason:
                before = Rejection("rest", *_who(request), request.kind.label, request.name, reason, moment(now))
                times = 0
            self._found[key] = before, had, now, times + 1
            if len(self._found) > _MOST_FOUND:
                del self._found[next(iter(self._found))]
        if times == 1:  # once may be a restart
            _log.warning("%s", before)
        return True

    def unconfirmed(self, before: float) -> list[tuple[_Subscription, str]]:
        """What was sent `before` that moment, and the version, where the Envoy has not asked again. May be called from
        any thread."""
        return [(key, version) for key, (_, version, at) in self._sent.copy().items() if at < before]

    def all(self, now: float, has: Callable[[ProxyId, ResourceKind, str, str], bool]) -> list[Rejection]:
        """The current rejections, without those where an Envoy now `has` what it should. An Envoy without recent
        requests is gone, and forgotten."""
        with self._lock:
            self._found = {key: found for key, found in self._found.items() if now - found[2] < _FORGOTTEN_S}
            standing = list(self._found.items())
        return [
            rejection for (proxy, _, kind, name), (rejection, had, _, _) in standing if not has(proxy, kind, name, had)
        ]


def _who(request: DiscoveryRequest) -> tuple[ProxyId, str]:
    return request.asker.proxy, request.asker.node_id


def _subscription(request: DiscoveryRequest) -> _Subscription:
    return *_who(request), request.kind, request.name
