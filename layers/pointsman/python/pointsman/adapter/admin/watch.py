"""Watching Envoys' admins for what they reject."""

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
"""As metrics call it."""

PERIOD_S = 2.0
"""Seconds between two looks at an Envoy. One costs an Envoy 12 ms with a thousand clusters."""


MOST_REJECTED = 1000
"""Subscriptions of one Envoy that are looked at because something of them was ever rejected; the first by name."""


@dataclass(slots=True)
class _Watched:
    """One Envoy: who it is, its counters at the last look (None: there was none), and what it rejects."""

    admin: Admin
    away: str = "not asked yet"
    node: str = ""
    proxy: ProxyId | None = None
    up: int = 0
    seen: dict[Subscription, Count] | None = None
    standing: dict[Subscription, list[Rejection]] = field(default_factory=dict)

    def forget(self, why: str) -> None:
        """It is away, or somebody else: nothing is known of it."""
        self.away, self.up, self.seen, self.standing = why, 0, None, {}


class AdminWatch:
    """Looks at Envoys' counters from a thread of its own while the `with` block lasts.

    An Envoy that does not answer is no error: it may not be there yet, or be restarting. What it rejected is forgotten
    with it. `rejections` and `dump` may be called from any thread.
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
        """`clusters_of` tells the names of the clusters that a proxy should have; `has` whether a proxy whose clusters,
        listeners or endpoints of a named cluster are of this `version_info` has what it should, None where that is not
        known. `period` is in seconds, `now` tells Unix time.
        """
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
        """Whether it looks."""
        return self._thread.is_alive()

    def rejections(self) -> list[Rejection]:
        """What the Envoys reject, and do not have."""
        return [each for envoy in self._envoys for found in envoy.standing.values() for each in found]

    def dump(self) -> dict[str, Any]:
        """Who is watched, for `/config_dump`."""
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
        """Look at every Envoy once."""
        for envoy in self._envoys:
            if self._stop.is_set():
                return
            try:
                self._look_at(envoy)
            except NoAnswer as error:
                envoy.forget(str(error))
            except Exception:
                # Whatever one of them answers, the others are looked at.
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
                # What had no counter at the last look had never been rejected then.
                before = envoy.seen.get(subscription, Count(0, count.accepted, count.version))
            if stands(count, before, subscription in envoy.standing, self._current(envoy, subscription, count)):
                standing[subscription] = self._rejections(envoy, subscription)
            new = count.rejected - before.rejected if before else int(subscription in standing)
            self._metrics.rejected.labels(WAY, subscription[0]).inc(new)
        envoy.seen, envoy.standing = found, standing

    def _meet(self, envoy: _Watched) -> None:
        """Learn who it is."""
        info = envoy.admin.get("/server_info")
        node = info.get("node") if isinstance(info, dict) else None
        try:
            if not isinstance(node, dict):
                raise NoAnswer(f"{envoy.admin}: /server_info does not name a node")
            envoy.proxy, _ = read_node(node)
            envoy.node = str(node.get("id", ""))
        except InvalidInput as error:
            raise NoAnswer(f"{envoy.admin}: it is none of ours: {error}") from None

    def _current(self, envoy: _Watched, subscription: Subscription, count: Count) -> bool | None:
        assert envoy.proxy is not None
        return self._has(envoy.proxy, subscription[0], self._name(envoy, subscription), count.version)

    def _name(self, envoy: _Watched, subscription: Subscription) -> str:
        """The cluster's own name, where it is one that we know."""
        kind, name = subscription
        if kind != "endpoints" or envoy.proxy is None:
            return name
        return next((each for each in self._clusters_of(envoy.proxy) if stat_name(each) == name), name)

    def _rejections(self, envoy: _Watched, subscription: Subscription) -> list[Rejection]:
        kind, _ = subscription
        # In its own words where its admin has them.
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
