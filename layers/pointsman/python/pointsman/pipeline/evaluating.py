"""Evaluates what a change would do to clusters, with what is stored about their targets now."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.down import Down, Fallen
from pointsman.failover.evaluation import Effect, Side, evaluate
from pointsman.failover.measured import Instances
from pointsman.failover.ordered import Frozen, ordered
from pointsman.failover.rank import Facts
from pointsman.model.keys import paths_key
from pointsman.model.orders import Orders, Subject
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.inputs import InputReadings
from pointsman.pipeline.orders import frozen_by
from pointsman.pipeline.settle import BATCH
from pointsman.store import keys

NOT_WRITTEN = "not written"
"""In place of the digest of the list of pins of a freeze that is not given: it pins what serves now."""

Clusters = Mapping[str, tuple[SidecarPlan | None, SidecarPlan | None]]
"""By the keys of their plans, clusters as they are and as they would be; None: there is none."""


@dataclass(frozen=True, slots=True)
class Supposed:
    """What is supposed beside the config: `orders` are in force, `after` would be, of which those about `subjects` are
    new; what is `down` would be ill."""

    orders: Orders
    after: Orders
    subjects: tuple[Subject, ...] = ()
    down: tuple[Down, ...] = ()


def effects(
    engine: Engine, clusters: Clusters, supposed: Supposed, progress: Callable[[int], None] = lambda done: None
) -> Iterator[Effect]:
    """What becomes of each cluster. `progress` hears how many are evaluated. Raises StoreError."""
    found = _Evaluating(engine, supposed)
    left, done = iter(clusters.items()), 0
    while some := dict(islice(left, BATCH)):
        yield from found.effects(some)
        done += len(some)
        progress(done)


class _Evaluating:
    """The state of one evaluation."""

    def __init__(self, engine: Engine, supposed: Supposed) -> None:
        self._engine, self._supposed = engine, supposed
        self._now = engine.now_ms()
        orders = {each.id: each for each in (*supposed.orders, *supposed.after) if each.frozen != NOT_WRITTEN}
        self._frozen = frozen_by(engine, orders.values())

    def effects(self, some: Clusters) -> Iterator[Effect]:
        """What becomes of these clusters, which are read together."""
        plans = [each for pair in some.values() for each in pair if each is not None]
        wanted = {keys.catalog(source) for plan in plans for source in _sources(plan)}
        wanted |= {keys.silence(datacenter) for plan in plans for datacenter in plan.silences()}
        read = InputReadings(self._engine, self._engine.store.get_many(sorted(wanted)))
        fallen = Fallen(self._supposed.down)
        for old, new in some.values():
            before = None if old is None else self._side(old, _instances(read, old), self._supposed.orders)
            if new is None:
                yield evaluate(before, None)
                continue
            if before is not None and new == old and not fallen.touches(before.instances):
                unordered = before
            else:
                unordered = self._side(new, fallen.of(_instances(read, new)), self._supposed.orders)
            after = unordered
            if self._supposed.after is not self._supposed.orders:
                pins = {NOT_WRITTEN: {new.key: before.active if before is not None else ""}}
                after = self._side(new, unordered.instances, self._supposed.after, pins)
            yield evaluate(before, after, unordered, self._supposed.subjects)

    def _side(self, plan: SidecarPlan, instances: Instances, orders: Orders, pins: Frozen | None = None) -> Side:
        frozen = self._frozen if pins is None else {**self._frozen, **pins}
        facts: Facts = ordered(plan, orders.of(plan.orders), frozen)
        return Side(plan, instances, replace(facts, moment=self._now))


def _sources(plan: SidecarPlan) -> tuple[str, ...]:
    """The keys of all that it reads, and of the gateways on the way to each target and the paths there."""
    gateways = {key for each in plan.targets for key in each.way(plan.datacenter)}
    return (*plan.inputs(), *gateways, *([paths_key(plan.datacenter)] if gateways else []))


def _instances(read: InputReadings, plan: SidecarPlan) -> Instances:
    return read.of(_sources(plan), plan.silences()).instances()
