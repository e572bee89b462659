"""Which target serves (docs/semantics.md, section 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pointsman.chain.plan import PlanTarget, SidecarPlan
from pointsman.failover.filters import predicate
from pointsman.failover.health import health_and_weight
from pointsman.model.instance import Instance

Instances = Mapping[str, Sequence[Instance]]
"""The instances that count, by the keys of a plan's inputs; a key that is not there has none."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A target's instances after its filter, each with its health and weight."""

    target: PlanTarget
    instances: tuple[tuple[Instance, bool, int], ...]

    @property
    def healthy(self) -> int:
        """How many of them are healthy."""
        return sum(healthy for _, healthy, _ in self.instances)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a resolver node sends traffic to now.

    `active` indexes the plan's targets. For a node with priority tiers it is the first tier with a healthy instance,
    told for information: there Envoy chooses.
    """

    active: int
    measured: tuple[Measured, ...]


def measure(target: PlanTarget, instances: Instances) -> Measured:
    """The instances of `target` that its subset selects, with health and weight."""
    holds = predicate(target.filter)
    return Measured(
        target,
        tuple(
            (instance, *health_and_weight(instance, target.only_passing))
            for instance in instances.get(target.instances, ())
            if instance.counts and holds(instance.raw)
        ),
    )


def select(plan: SidecarPlan, instances: Instances) -> Selection:
    """The first target with a healthy instance is active; if none has one, the primary is."""
    measured = tuple(measure(target, instances) for target in plan.targets)
    active = next((i for i, each in enumerate(measured) if each.healthy), 0)
    return Selection(active, measured)


def sentence(plan: SidecarPlan, selection: Selection) -> str:
    """Why: one clause per target that was looked at, up to the one that serves."""
    clauses = []
    for i, each in enumerate(selection.measured):
        where = each.target.target.id
        counts = f"{each.healthy} of {len(each.instances)} healthy"
        if i < selection.active:
            clauses.append(f"{where}: {counts}")
        elif each.healthy:
            first = "first with a healthy instance, " if i else ""
            clauses.append(f"{where}: {first}{counts}, {_way(each.target)}")
            break
        else:
            clauses.append(f"{where}: {counts}")
    if not any(each.healthy for each in selection.measured):
        clauses.append("no target has a healthy instance, so the primary stays")
    if len(plan.targets) > 1 and not plan.measured:
        clauses.append("Envoy chooses among the tiers")
    return "; ".join(clauses)


def _way(target: PlanTarget) -> str:
    if target.mode == "local":
        return "through the local gateways"
    if target.mode == "remote":
        return f"through the gateways of {target.target.datacenter}"
    return "direct"
