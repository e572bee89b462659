"""Drills: drains for a while, watches what switches and what does not, and ends (docs/orders.md, "Drills")."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from pointsman.failover.evaluation import Effect
from pointsman.model.errors import InvalidInput
from pointsman.model.orders import Order, Wish, order_json
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.give import end, end_orders_due, give
from pointsman.pipeline.heads import read_head_object
from pointsman.pipeline.orders import read_orders_object
from pointsman.pipeline.settle import BATCH
from pointsman.store import keys
from pointsman.xds.snapshot import Snapshot

MOST_SWITCHES = 1_000
"""Further switches during a drill that its report has; the others are counted."""


@dataclass(slots=True)
class Drilled:
    """What a drill did to one cluster, as the sidecars of `datacenter` see it.

    `before`, `during` and `after` are the ids of the targets that served before the order, when it was published, and
    when its end was. `out_ms` and `back_ms` are the milliseconds from the order, and from its end, to the snapshot that
    followed from it, None if none did. The weights are those of the healthy instances of `before` and `during`.
    """

    service: str
    namespace: str
    datacenter: str
    cluster: str
    before: str
    during: str
    after: str
    weight_before: int
    weight_during: int
    out_ms: int | None = None
    back_ms: int | None = None

    @property
    def is_back(self) -> bool:
        """Whether the same target serves as before."""
        return self.before == self.after


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch during a drill, seen `at` (RFC 3339), that the order did not cause."""

    at: str
    datacenter: str
    cluster: str
    before: str
    after: str


@dataclass(slots=True)
class DrillReport:
    """What a drill came to: the clusters that moved, those that did not, each with the reason, and what else switched
    meanwhile. `ended` is when and `why` it ended, `failed` are the heads that could not be computed."""

    order: Order
    clusters: list[Drilled] = field(default_factory=list)
    stayed: list[Effect] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)
    more_switches: int = 0
    ended: str = ""
    why: str = ""
    failed: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether everything that was drained moved, and is back."""
        moved = all(each.out_ms is not None for each in self.clusters)
        return moved and not self.stayed and not self.failed and all(each.is_back for each in self.clusters)

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "order": order_json(self.order),
            "ended": self.ended,
            "why": self.why,
            "good": self.is_good,
            "clusters": [asdict(each) for each in self.clusters],
            "stayed": [each.json() for each in self.stayed],
            "switches": [asdict(each) for each in self.switches],
            "more_switches": self.more_switches,
            "failed": self.failed,
        }


class Drill:
    """One drill: `begin`, `look` now and then until the order is over, `finish`. For one thread.

    Its order has an end, so whatever becomes of this process, the drill is over then.
    """

    def __init__(self, engine: Engine, wish: Wish, *, force: bool = False) -> None:
        self._engine, self._wish, self._force = engine, wish, force
        self._plans: dict[str, Drilled] = {}
        self._seen: dict[str, str] = {}
        self.report: DrillReport

    def begin(self) -> DrillReport:
        """Give the order. Raises Refused as `give`, InvalidInput if one like it is in force, and StoreError."""
        known = read_orders_object(self._engine.store.get(keys.ORDERS)).orders
        if there := known.of([self._wish.subject.scope]):
            raise InvalidInput.single(
                f"drill {self._wish.subject.datacenter}", "", f"{there[0]} drains it already; end that first"
            )
        given = give(self._engine, self._wish, force=self._force)
        self.report = DrillReport(given.order)
        for each in given.evaluation.effects:
            if each.objection:
                self.report.stayed.append(each)
            elif each.moves:
                self._plans[each.plan_key] = Drilled(
                    each.service.name,
                    each.service.namespace,
                    each.datacenter,
                    each.cluster,
                    each.before,
                    each.after,
                    "",
                    each.weight_before,
                    each.weight_after,
                )
        self.report.clusters = list(self._plans.values())
        self.report.failed += given.settled.failures()
        for key, snapshot in self._heads():
            drilled = self._plans[key]
            if snapshot.content.active != drilled.before:
                drilled.during = snapshot.content.active
                drilled.out_ms = _milliseconds(given.order.at, snapshot.published)
            self._seen[key] = snapshot.content.active
        return self.report

    def look(self) -> bool:
        """Note what else switched. Returns whether the order is still in force. Raises StoreError."""
        for key, snapshot in self._heads():
            if (active := snapshot.content.active) != self._seen.get(key):
                switch = Switch(
                    snapshot.published, self._plans[key].datacenter, self._plans[key].cluster, self._seen[key], active
                )
                if len(self.report.switches) < MOST_SWITCHES:
                    self.report.switches.append(switch)
                else:
                    self.report.more_switches += 1
                self._seen[key] = active
        orders = read_orders_object(self._engine.store.get(keys.ORDERS)).orders
        found = orders.named(self.report.order.id)
        return found is not None and found.until > self._engine.now()

    def finish(self, by: str) -> DrillReport:
        """End the order, if it is still in force before its time by `by`, and note what is back. Raises StoreError."""
        report, engine = self.report, self._engine
        end_orders_due(engine)
        # Who ended it may not have settled its heads yet.
        report.failed += end(engine, report.order.id, by).settled.failures()
        past = read_orders_object(engine.store.get(keys.ORDERS)).orders.ended
        for each in past:
            if each.order.id == report.order.id:
                report.ended = each.at
                report.why = f"ended by {each.by}" if each.by else "its time was up"
        for key, snapshot in self._heads():
            drilled = self._plans[key]
            drilled.after = snapshot.content.active
            if drilled.is_back and report.ended:
                drilled.back_ms = _milliseconds(report.ended, snapshot.published)
        return report

    def _heads(self) -> Iterable[tuple[str, Snapshot]]:
        """The current snapshots of the clusters that move."""
        left, engine = iter(self._plans), self._engine
        while some := list(islice(left, BATCH)):
            found = engine.store.get_many([keys.snapshot(key) for key in some])
            for key in some:
                stored = found.get(keys.snapshot(key))
                snapshot = read_head_object(engine.store, key, stored, engine.now()).snapshot
                if snapshot is not None and not snapshot.retired:
                    yield key, snapshot


def _milliseconds(since: str, until: str) -> int:
    passed = datetime.fromisoformat(until) - datetime.fromisoformat(since)
    return max(round(passed.total_seconds() * 1000), 0)
