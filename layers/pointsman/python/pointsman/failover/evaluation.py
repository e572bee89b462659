"""What a change would do to one cluster, before it is made: the same for orders, plans of config and what-ifs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.measured import Instances
from pointsman.failover.paths import cut_from, is_open
from pointsman.failover.rank import NO_FACTS, Facts
from pointsman.failover.selection import Selection, select
from pointsman.failover.sentence import shortfalls
from pointsman.model.names import ServiceName
from pointsman.model.orders import Subject, Verb


@dataclass(frozen=True)
class Side:
    """One cluster as it is, or as it would be: its plan, and what is known of its targets.

    `instances` include the mesh gateways on the way to each target, and what is said of the paths there.
    """

    plan: SidecarPlan
    instances: Instances
    facts: Facts = NO_FACTS

    @cached_property
    def selection(self) -> Selection:
        """Which target serves."""
        return select(self.plan, self.instances, self.facts)

    @property
    def active(self) -> str:
        """The id of the target that serves."""
        return self.plan.targets[self.selection.active].target.id

    @property
    def weight(self) -> int:
        """The weight of the healthy instances that serve."""
        return self.selection.measured[self.selection.active].weight

    def weight_of(self, target: str) -> int:
        """The weight of the healthy instances of the target with this id, 0 if it is not among the plan's."""
        return next((each.weight for each in self.selection.measured if each.target.target.id == target), 0)

    @property
    def nowhere(self) -> str:
        """Why its traffic has nowhere to go, "" if it has."""
        serving = self.selection.measured[self.selection.active]
        if not serving.healthy:
            return "no target has a healthy instance" if len(self.plan.targets) > 1 else "its target is not healthy"
        here = self.plan.datacenter
        if is_open(serving.target.way(here), here, self.instances, cut_from(here, self.instances)):
            return ""
        return f"no way through well mesh gateways leads to {self.active}"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change does to the cluster of one resolver, as the sidecars of `datacenter` see it.

    `before` and `after` are the ids of the targets that serve without and with it, "" where there is no such cluster.
    The weights are those of their healthy instances together; `ready` is that of the target `after` without the change.
    `nowhere` is why the traffic would have nowhere to go, "" if it has, `was_nowhere` whether it has nowhere now.
    `objection` is why an order among the changes is not to be given, "" if there is no reason.
    """

    service: ServiceName
    datacenter: str
    cluster: str
    plan_key: str
    before: str
    after: str
    weight_before: int
    weight_after: int
    ready: int = 0
    nowhere: str = ""
    was_nowhere: bool = False
    objection: str = ""

    @property
    def moves(self) -> bool:
        """Whether another target serves with the change than without it."""
        return self.before != self.after

    @property
    def seen(self) -> str:
        """The cluster and who sees it, for people."""
        return f"{self.cluster} as {self.datacenter} sees it"

    def __str__(self) -> str:
        weights = f"healthy weight {self.weight_before} -> {self.weight_after}"
        return f"{self.seen}: {self.before} -> {self.after}, {weights}"

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "service": self.service.name,
            "namespace": self.service.namespace,
            "datacenter": self.datacenter,
            "cluster": self.cluster,
            "before": self.before,
            "after": self.after,
            "weight_before": self.weight_before,
            "weight_after": self.weight_after,
            "nowhere": self.nowhere,
            "was_nowhere": self.was_nowhere,
            "objection": self.objection,
        }


def read_effect(body: Mapping[str, Any]) -> Effect:
    """The effect that `Effect.json` wrote, without what that leaves out: the key of the plan, and what was ready."""
    return Effect(
        service=ServiceName(body["namespace"], body["service"]),
        datacenter=body["datacenter"],
        cluster=body["cluster"],
        plan_key="",
        before=body["before"],
        after=body["after"],
        weight_before=body["weight_before"],
        weight_after=body["weight_after"],
        nowhere=body["nowhere"],
        was_nowhere=body["was_nowhere"],
        objection=body["objection"],
    )


def concerns(subject: Subject, plan: SidecarPlan) -> bool:
    """Whether an order about `subject` is about the cluster of `plan`, also if that has no choice."""
    primary = plan.targets[0].target.name
    match subject.verb:
        case Verb.DRAIN:
            return any(
                each.target.datacenter == subject.datacenter and subject.service in (None, each.target.name)
                for each in plan.targets
            )
        case Verb.PIN:
            return subject.service == primary and subject.caller in ("", plan.datacenter)
        case Verb.FREEZE:
            return subject.service in (None, primary)


def evaluate(
    before: Side | None, after: Side | None, unordered: Side | None = None, subjects: Iterable[Subject] = ()
) -> Effect:
    """What becomes of a cluster that is as `before`, and would be as `after`. None: there is no such cluster.

    If orders about `subjects` are part of that, `unordered` is the cluster with everything else that changes. A
    function of its arguments alone.
    """
    there = after or before
    assert there is not None
    plan = there.plan
    objections: Iterator[str] = iter(())
    if after is not None and unordered is not None:
        concerned = (each for each in subjects if concerns(each, plan))
        objections = (_objection(plan, each, unordered.selection, after.selection) for each in concerned)
    return Effect(
        service=plan.targets[0].target.name,
        datacenter=plan.datacenter,
        cluster=plan.cluster_id,
        plan_key=plan.key,
        before=before.active if before else "",
        after=after.active if after else "",
        weight_before=before.weight if before else 0,
        weight_after=after.weight if after else 0,
        ready=before.weight_of(after.active) if before and after else 0,
        nowhere=after.nowhere if after else "",
        was_nowhere=bool(before and before.nowhere),
        objection=next(filter(None, objections), ""),
    )


def _objection(plan: SidecarPlan, subject: Subject, was: Selection, will: Selection) -> str:
    match subject.verb:
        case Verb.DRAIN:
            return _against_drain(plan, subject, was, will)
        case Verb.PIN:
            return _against_pin(plan, subject, will)
        case Verb.FREEZE:
            return ""


def _against_drain(plan: SidecarPlan, subject: Subject, was: Selection, will: Selection) -> str:
    if not any(each.healthy and i not in was.facts.drained for i, each in enumerate(was.measured)):
        return ""  # nor did it have a target before that this order takes away
    if len(plan.targets) == 1:
        # Who calls from the datacenter that is drained, and has no choice, goes with it.
        return "" if plan.datacenter == subject.datacenter else "it has no other target"
    if will.active in will.facts.drained:
        others = {
            f"{plan.targets[i].target.id} is drained by {order}"
            for i, order in will.facts.drained.items()
            if will.measured[i].healthy and order.subject != subject
        }
        return "; ".join(["no healthy target would be left that is not drained", *sorted(others)])
    old, new = was.ranks[was.active], will.ranks[will.active]
    lost = [place for place in ("reachable", "heard", "enough") if getattr(old, place) and not getattr(new, place)]
    if not lost:
        return ""
    left = plan.targets[will.active].target.id
    return f"{left} would be left to it: {'; '.join(_shortfalls(plan, will, will.active))}"


def _against_pin(plan: SidecarPlan, subject: Subject, will: Selection) -> str:
    pinned = [i for i, each in enumerate(plan.targets) if each.target.datacenter == subject.datacenter]
    if not pinned:
        return f"it has no target in {subject.datacenter}"
    if will.active in pinned:
        return ""
    return "; ".join(f"{plan.targets[i].target.id}: {'; '.join(_shortfalls(plan, will, i))}" for i in pinned)


def _shortfalls(plan: SidecarPlan, selection: Selection, i: int) -> list[str]:
    each = selection.measured[i]
    if not each.healthy:
        return ["it has no healthy instance"]
    return list(shortfalls(plan, each, selection.ranks[i], selection.facts.drained.get(i)))


@dataclass(frozen=True, slots=True)
class Receiver:
    """A target that serves for more than before, with the weight of its healthy instances, and for how many clusters
    and registrations of sidecars it serves."""

    target: str
    weight_before: int
    weight_after: int
    clusters_before: int
    clusters_after: int
    registrations_before: int
    registrations_after: int


def receivers(effects: Sequence[Effect], registrations: Mapping[str, tuple[int, int]]) -> list[Receiver]:
    """The targets to which clusters of `effects` move, by their ids.

    `effects` have every cluster that such a target serves before or after. `registrations` has, by the keys of plans,
    how many registrations have the cluster before and after.
    """
    was: dict[str, list[Effect]] = {}
    will: dict[str, list[Effect]] = {}
    for each in effects:
        was.setdefault(each.before, []).append(each)
        will.setdefault(each.after, []).append(each)
    return [
        Receiver(
            target,
            max(each.ready for each in will[target]),
            max(each.weight_after for each in will[target]),
            len(was.get(target, ())),
            len(will[target]),
            sum(registrations.get(each.plan_key, (0, 0))[0] for each in was.get(target, ())),
            sum(registrations.get(each.plan_key, (0, 0))[1] for each in will[target]),
        )
        for target in sorted({each.after for each in effects if each.moves and each.after and not each.nowhere})
    ]
