"""Which target serves (docs/semantics.md, section 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pointsman.chain.plan import PlanTarget, SidecarPlan
from pointsman.failover.filters import predicate
from pointsman.failover.health import health_and_weight
from pointsman.model.instance import Instance
from pointsman.model.names import Target

Instances = Mapping[str, Sequence[Instance]]
"""The instances that count, by the keys of a plan's inputs; a missing key has none."""


@dataclass(frozen=True)
class Measured:
    """A target's instances after its filter, each with its health and weight."""

    target: PlanTarget
    instances: tuple[tuple[Instance, bool, int], ...]

    @cached_property
    def healthy(self) -> int:
        """How many of them are healthy."""
        return sum([healthy for _, healthy, _ in self.instances])

    @property
    def heard(self) -> int:
        """How many of them are healthy according to a source that is not silent."""
        return sum(healthy and not instance.silent for instance, healthy, _ in self.instances)

    @property
    def silent(self) -> bool:
        """Whether all that is known of it, if anything, comes from silent sources."""
        return bool(self.instances) and all(instance.silent for instance, _, _ in self.instances)


@dataclass(frozen=True, slots=True)
class Selection:
    """The target that a resolver node sends traffic to now.

    `active` is its index among the plan's targets. For a node with priority tiers it is the first tier with a healthy
    instance, for information only, because there Envoy chooses. `order` are the indexes of the targets in the order of
    their tiers.
    """

    active: int
    measured: tuple[Measured, ...]
    order: tuple[int, ...]


def measure(target: PlanTarget, instances: Instances) -> Measured:
    """The instances of `target` that its subset selects, with health and weight."""
    found = [instance for instance in instances.get(target.instances, ()) if instance.counts]
    if target.filter:
        holds = predicate(target.filter)
        found = [instance for instance in found if holds(instance.raw)]
    return Measured(target, tuple([(each, *health_and_weight(each, target.only_passing)) for each in found]))


def select(plan: SidecarPlan, instances: Instances) -> Selection:
    """The target that ranks first is active: one with a healthy instance, of which a source tells that is not silent,
    the first of those in the plan's order. What comes first in this sentence outranks the rest.

    So silence moves nothing where all are silent, and if no target has a healthy instance, the primary is active.
    """
    measured = tuple(measure(target, instances) for target in plan.targets)

    def rank(i: int) -> tuple[bool, bool, int]:
        return not measured[i].healthy, not measured[i].heard, i

    order = tuple(sorted(range(len(measured)), key=lambda i: (measured[i].silent, i)))
    if plan.measured:
        return Selection(min(range(len(measured)), key=rank), measured, order)
    return Selection(next((i for i in order if measured[i].healthy), 0), measured, order)


def sentence(plan: SidecarPlan, selection: Selection) -> str:
    """The reason for the selection, as one clause per target, up to the one that serves.

    `dc1: 0 of 3 healthy; dc2: first with a healthy instance, through the local gateways`. Targets are named by
    datacenter if they differ in nothing else, otherwise by id.
    """
    labels = _labels([each.target for each in plan.targets])
    clauses = []
    is_quiet = False
    for i, (label, each) in enumerate(zip(labels, selection.measured, strict=True)):
        serves = each.healthy and i == selection.active
        if i and serves:
            heard = " that is heard of" if is_quiet and each.heard else ""
            clauses.append(f"{label}: first with a healthy instance{heard}, {_way(each.target)}")
        else:
            way = f", {_way(each.target)}" if serves and each.target.mode in ("local", "remote") else ""
            silent = ", but nobody who tells of it is heard" if each.healthy and not each.heard else ""
            clauses.append(f"{label}: {_counted(each)}{way}{silent}")
            is_quiet |= bool(silent)
        if serves:
            break
    else:
        none = "no target has a healthy instance, so the primary stays"
        clauses.append(none if len(labels) > 1 else "there is no other target")
    if len(labels) > 1 and not plan.measured:
        clauses.append("Envoy itself chooses among these tiers")
    return "; ".join(clauses)


def _labels(targets: Sequence[Target]) -> list[str]:
    same = len({(each.service, each.subset, each.namespace) for each in targets}) == 1
    return [each.datacenter if same else each.id for each in targets]


def _counted(measured: Measured) -> str:
    return f"{measured.healthy} of {len(measured.instances)} healthy" if measured.instances else "no instances"


def _way(target: PlanTarget) -> str:
    if target.mode == "local":
        return "through the local gateways"
    if target.mode == "remote":
        return f"through the gateways of {target.target.datacenter}"
    return "reached directly"
