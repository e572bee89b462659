"""Gives and ends orders: each is evaluated, written, and settled (docs/orders.md)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.evaluation import Effect, concerns
from pointsman.model.canonical import canonical, digest
from pointsman.model.cause import Cause, by_order
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.keys import service_in
from pointsman.model.names import ServiceName
from pointsman.model.orders import Order, Orders, Subject, Verb, Wish, begun, ended, frozen_json, over, service_of
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.config import Root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.evaluating import NOT_WRITTEN, Supposed, effects
from pointsman.pipeline.load import readers_of
from pointsman.pipeline.orders import end_due, swap_orders
from pointsman.pipeline.settle import Settled, settle

MOST_OBJECTIONS = 20
"""Clusters that the refusal of an order names."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an order about `subject` would do, or did: its effect on each cluster that it is about."""

    subject: Subject
    effects: tuple[Effect, ...]

    @property
    def objections(self) -> list[Effect]:
        """The effects because of which the order is refused."""
        return [each for each in self.effects if each.objection]

    @property
    def moves(self) -> list[Effect]:
        """The clusters whose traffic goes elsewhere."""
        return [each for each in self.effects if each.moves]

    def problems(self) -> list[Problem]:
        """Why the order is refused; none if it is not."""
        if not self.effects:
            return [Problem(str(self.subject), "", "no registered sidecar has a cluster that this is about")]
        found = self.objections
        named = [
            Problem(str(self.subject), f"{each.cluster} as {each.datacenter} sees it", each.objection)
            for each in found[:MOST_OBJECTIONS]
        ]
        if more := len(found) - len(named):
            named.append(Problem(str(self.subject), "", f"{more} more clusters are like these"))
        return named


class Refused(InvalidInput):
    """An order that would leave somebody without a healthy target, or that has no effect. Nothing was changed."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        super().__init__(evaluation.problems())


@dataclass(frozen=True, slots=True)
class Given:
    """An order that is in force: what it was expected to do, and the heads that were settled."""

    order: Order
    evaluation: Evaluation
    settled: Settled


@dataclass(frozen=True, slots=True)
class EndedOrders:
    """The orders that are over, and the heads that were settled for that."""

    orders: tuple[Order, ...] = ()
    settled: Settled = field(default_factory=Settled)


def give(engine: Engine, wish: Wish, *, force: bool = False, dry_run: bool = False) -> Given:
    """Begin the order that `wish` asks for, or change the one in force about the same, and settle every head that it
    touches. With `dry_run` say what that would do, and change nothing.

    It is evaluated in every attempt to write it. Raises Refused, if not `force`d, if it would leave somebody without a
    healthy target, or would have no effect; InvalidInput if too many are in force, and StoreError.
    """
    found: list[tuple[Order, Evaluation]] = []

    def change(orders: Orders) -> Orders:
        now = engine.now()
        engine.refresh()
        known = over(orders, now)
        evaluation = _evaluated(engine, known, wish, now)
        problems = evaluation.problems()
        if problems and not force:
            raise Refused(evaluation)
        frozen = ""
        if wish.subject.verb is Verb.FREEZE and not dry_run:
            data = canonical(frozen_json({each.plan_key: each.after for each in evaluation.effects}, now))
            frozen = digest(data)
            engine.objects.put_many({frozen: data})
        # To evaluate a large mesh takes a while.
        after, order = begun(known, replace(wish, forced=bool(problems), frozen=frozen), engine.now())
        found.append((order, evaluation))
        return orders if dry_run else after

    before, after = swap_orders(engine, change)
    order, evaluation = found[-1]
    return Given(order, evaluation, settle_orders(engine, changed_scopes(before, after), by_order([order])))


def end(engine: Engine, id_: str, by: str) -> EndedOrders:
    """End the order `id_`, and settle every head that it touches, also if it ended before.

    Raises InvalidInput if there is none with that id, and StoreError.
    """

    def change(orders: Orders) -> Orders:
        order = orders.named(id_)
        return orders if order is None else ended(orders, [order], engine.now(), by)

    before, after = swap_orders(engine, change)
    past = next((each.order for each in after.ended if each.order.id == id_), None)
    if past is None:
        known = ", ".join(each.id for each in before) or "none"
        raise InvalidInput.single(f"order {id_}", "", f"is not there; in force: {known}")
    cause = by_order([], [(past, by)])
    settled = settle_orders(engine, {past.subject.scope, *changed_scopes(before, after)}, cause)
    return EndedOrders((past,) if before.named(id_) else (), settled)


def end_orders_due(engine: Engine) -> EndedOrders:
    """End the orders whose end has come, and settle every head that they touch. Raises StoreError."""
    before, after = end_due(engine)
    gone = tuple(each for each in before if after.named(each.id) is None)
    cause = by_order([], [(each, "") for each in gone])
    return EndedOrders(gone, settle_orders(engine, changed_scopes(before, after), cause))


def changed_scopes(before: Orders, after: Orders) -> set[str]:
    """The scopes about which an order began, changed or ended between the two."""
    scopes = before.in_force.keys() | after.in_force.keys() | after.changed.keys()
    return {scope for scope in scopes if before.revisions([scope]) != after.revisions([scope])}


def settle_orders(engine: Engine, scopes: Collection[str], cause: Cause) -> Settled:
    """Settle every head that orders about `scopes` touch, because of `cause`, and send their notices. Raises
    StoreError."""
    if not scopes:
        return Settled()
    engine.refresh()
    settled = settle(engine, lambda root: plans_in(engine, root, scopes), why=lambda key: cause)
    if news := settled.notices():
        engine.notify(news)
    return settled


def plans_in(engine: Engine, root: Root, scopes: Collection[str]) -> dict[str, PlanEntry]:
    """The plans of `root` in scope that orders about `scopes` touch."""
    plans = plans_about(engine, root, map(service_of, scopes))
    return {key: job for key, job in plans.items() if not job.plan.orders.isdisjoint(scopes)}


def plans_about(engine: Engine, root: Root, services: Iterable[ServiceName | None]) -> dict[str, PlanEntry]:
    """The plans of `root` in scope with a target of any of `services` (None among them: all plans)."""
    config, wanted = engine.config(root), set(services)
    if None in wanted:
        return engine.scope.of(config.plans)
    jobs: dict[str, PlanEntry] = {}
    for source in [key for key in config.index.keys_alone() if service_in(key) in wanted]:
        jobs |= readers_of(engine.objects, root, source)
    return engine.scope.of(dict(sorted(jobs.items())))


def _evaluated(engine: Engine, orders: Orders, wish: Wish, now: str) -> Evaluation:
    """What `wish` does beside `orders`."""
    subject = wish.subject
    found = plans_about(engine, engine.root, [subject.service])
    plans = {
        key: job.plan for key, job in found.items() if isinstance(job.plan, SidecarPlan) and concerns(subject, job.plan)
    }
    after, _ = begun(orders, replace(wish, frozen=NOT_WRITTEN if subject.verb is Verb.FREEZE else ""), now)
    supposed = Supposed(orders, after, (subject,))
    return Evaluation(subject, tuple(effects(engine, {key: (plan, plan) for key, plan in plans.items()}, supposed)))
