"""What an order would do to one cluster, before it is given (docs/orders.md)."""

from dataclasses import dataclass
from typing import Any

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.measured import Instances
from pointsman.failover.rank import Facts
from pointsman.failover.selection import Selection, select
from pointsman.failover.sentence import shortfalls
from pointsman.model.names import ServiceName
from pointsman.model.orders import Subject, Verb


@dataclass(frozen=True, slots=True)
class Effect:
    """What an order does to the cluster of one resolver, as the sidecars of `datacenter` see it.

    `before` and `after` are the ids of the targets that serve without and with it, the weights those of their healthy
    instances together. `objection` is why the order is not to be given, "" if there is no reason.
    """

    service: ServiceName
    datacenter: str
    cluster: str
    plan_key: str
    before: str
    after: str
    weight_before: int
    weight_after: int
    objection: str = ""

    @property
    def moves(self) -> bool:
        """Whether another target serves with the order than without it."""
        return self.before != self.after

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
            "objection": self.objection,
        }


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


def evaluate(plan: SidecarPlan, instances: Instances, subject: Subject, before: Facts, after: Facts) -> Effect:
    """What an order about `subject` does to the cluster of `plan`, about which `before` is known without
    and `after` with it. A function of its arguments alone."""
    was, will = select(plan, instances, before), select(plan, instances, after)
    old, new = was.measured[was.active], will.measured[will.active]
    return Effect(
        service=plan.targets[0].target.name,
        datacenter=plan.datacenter,
        cluster=plan.cluster_id,
        plan_key=plan.key,
        before=old.target.target.id,
        after=new.target.target.id,
        weight_before=old.weight,
        weight_after=new.weight,
        objection=_objection(plan, subject, was, will),
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
