"""Watches Envoys' admins for rejections."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pointsman.adapter.admin.client import Admin
from pointsman.adapter.admin.counters import (
    LISTENERS_PATH,
    REJECTED_PATH,
    Count,
    Subscription,
    counts,
    details_path,
    listener_errors,
    rejected_counts,
    stands,
    stat_name,
    uptime,
)
from pointsman.adapter.report.metrics import Metrics
from pointsman.adapter.report.rejection import Rejection, moment
from pointsman.discovery.node import read_node
from pointsman.discovery.proxy import ProxyId
from pointsman.model.errors import InvalidInput
from pointsman.serve.ask import NoAnswer

_log = logging.getLogger(__name__)

WAY = "admin"
"""The name of this way in metrics."""

PERIOD_S = 2.0
"""Seconds between two checks of an Envoy. With a thousand clusters one check costs the Envoy 12 ms."""


MOST_REJECTED = 1000
"""Subscriptions of one Envoy, with any rejection so far, that are checked; the first by name."""


@dataclass(slots=True)
class _Watched:
    """One Envoy: its identity, its previous counters (None: not checked yet), and what it rejects."""

    admin: Admin
    away: str = "not asked yet"
    node: str = ""
    proxy: ProxyId | None = None
    up: int = 0
    seen: dict[Subscription, Count] | None = None
    standing: dict[Subscription, list[Rejection]] = field(default_factory=dict)

    def forget(self, why: str) -> None:
        """Forget everything about the Envoy: it is unreachable, or has become another one."""
        self.away, self.up, self.seen, self.standing = why, 0, None, {}


class AdminWatch:
    """Reads Envoys' counters in a thread of its own, within a `with` block.

    An Envoy that does not answer is not an error: it may not have started, or be restarting. Its rejections are
    forgotten. `rejections` and `dump` may be called from any thread.
    """

    def __init__(
        self,
        admins: Sequence[Admin],
        metrics: Metrics,
        clusters_of: Callable[[ProxyId], Iterable[str]],
        has: Callable[[ProxyId, str, str, str], bool | None],
        *,
        period: float = PERIOD_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`clusters_of` returns the names of the clusters that a proxy should have. `has` returns whether this
        `version_info` of a proxy's clusters, listeners or endpoints of a named cluster is what it should have, None if
        unknown. `period` is in seconds, `now` returns Unix time."""
        self._envoys = [_Watched(admin) for admin in admins]
        self._metrics, self._period, self._now = metrics, period, now
        self._clusters_of, self._has = clusters_of, has
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="admin", daemon=True)

    def __enter__(self) -> "AdminWatch":
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join(5.0)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def rejections(self) -> list[Rejection]:
        """Resources that Envoys rejected and still lack."""
        return [each for envoy in self._envoys for found in envoy.standing.values() for each in found]

    def dump(self) -> dict[str, Any]:
        """The watched Envoys, for `/config_dump`."""
        return {
            "envoys": [
                {
                    "admin": str(each.admin),
                    "node": each.node,
                    "proxy": str(each.proxy.directory) if each.proxy else None,
                    "away": each.away,
                }
                for each in self._envoys
            ],
            "rejections": [each.json() for each in self.rejections()],
        }

    def look(self) -> None:
        """Check every Envoy once."""
        for envoy in self._envoys:
            if self._stop.is_set():
                return
            try:
                self._look_at(envoy)
            except NoAnswer as error:
                envoy.forget(str(error))
            except Exception:
                # A bad answer of one Envoy must not stop the checks of the others.
                _log.exception("what %s answers is not understood", envoy.admin)

    def _run(self) -> None:
        while True:
            self.look()
            if self._stop.wait(self._period):
                return

    def _look_at(self, envoy: _Watched) -> None:
        answer = envoy.admin.get(REJECTED_PATH)
        up = uptime(answer)
        if envoy.away or up < envoy.up:
            envoy.forget("")
            self._meet(envoy)
        envoy.up = up
        if envoy.proxy is None:
            return
        rejected = dict(sorted(rejected_counts(answer).items())[:MOST_REJECTED])
        found = counts(rejected, envoy.admin.get(details_path(rejected)) if rejected else {})
        standing = {}
        for subscription, count in found.items():
            before = None
            if envoy.seen is not None:
                # A subscription without a counter at the previous check had no rejections then.
                before = envoy.seen.get(subscription, Count(0, count.accepted, count.version))
            if stands(count, before, subscription in envoy.standing, self._current(envoy, subscription, count)):
                standing[subscription] = self._rejections(envoy, subscription)
            new = count.rejected - before.rejected if before else int(subscription in standing)
            self._metrics.rejected.labels(WAY, subscription[0]).inc(new)
        envoy.seen, envoy.standing = found, standing

    def _meet(self, envoy: _Watched) -> None:
        """Read the Envoy's identity."""
        info = envoy.admin.get("/server_info")
        node = info.get("node") if isinstance(info, dict) else None
        try:
            if not isinstance(node, dict):
                raise NoAnswer(f"{envoy.admin}: /server_info does not name a node")
            envoy.proxy = read_node(node).proxy
            envoy.node = str(node.get("id", ""))
        except InvalidInput as error:
            raise NoAnswer(f"{envoy.admin}: it is none of ours: {error}") from None

    def _current(self, envoy: _Watched, subscription: Subscription, count: Count) -> bool | None:
        assert envoy.proxy is not None
        return self._has(envoy.proxy, subscription[0], self._name(envoy, subscription), count.version)

    def _name(self, envoy: _Watched, subscription: Subscription) -> str:
        """The cluster's real name, if it is a known one."""
        kind, name = subscription
        if kind != "endpoints" or envoy.proxy is None:
            return name
        return next((each for each in self._clusters_of(envoy.proxy) if stat_name(each) == name), name)

    def _rejections(self, envoy: _Watched, subscription: Subscription) -> list[Rejection]:
        kind, _ = subscription
        # Envoy's own reason, if its admin has it.
        said = listener_errors(envoy.admin.get(LISTENERS_PATH)) if kind == "listeners" else {}
        said = said or {self._name(envoy, subscription): "its admin does not say why; its log does"}
        before = {(each.name, each.reason): each for each in envoy.standing.get(subscription, ())}
        return [
            before.get((name, reason)) or self._new(envoy, kind, name, reason) for name, reason in sorted(said.items())
        ]

    def _new(self, envoy: _Watched, kind: str, name: str, reason: str) -> Rejection:
        assert envoy.proxy is not None
        made = Rejection(WAY, envoy.proxy, envoy.node, kind, name, reason, moment(self._now()))
        _log.warning("%s", made)
        return made
