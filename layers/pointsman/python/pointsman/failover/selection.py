"""Which target serves (docs/semantics.md, section 4)."""

from dataclasses import dataclass

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.measured import Instances, Measured, measure
from pointsman.failover.rank import NO_FACTS, Facts, Rank, as_tier, ranks


@dataclass(frozen=True, slots=True)
class Selection:
    """The target that a resolver node sends traffic to now.

    `active` is its index among the plan's targets. For a node with priority tiers it is the first tier with a healthy
    instance, for information only, because there Envoy chooses. `tiers` are the indexes of the targets that Envoy gets,
    in the order of their priorities. `measured` and `ranks` are in the order of the plan. `facts` are those that ranked
    them.
    """

    active: int
    measured: tuple[Measured, ...]
    ranks: tuple[Rank, ...]
    tiers: tuple[int, ...]
    facts: Facts = NO_FACTS


def select(plan: SidecarPlan, instances: Instances, facts: Facts = NO_FACTS) -> Selection:
    """The target that ranks first is active (`pointsman.failover.rank`).

    Without facts, policy and silent sources that is the first one with a healthy instance, or the primary if there is
    none.
    """
    measured = tuple(measure(target, instances) for target in plan.targets)
    ranked = ranks(plan, measured, instances, facts)
    indexes = range(len(measured))
    if plan.measured:
        active = min(indexes, key=lambda i: ranked[i].order)
        return Selection(active, measured, ranked, (active,), facts)
    tiers = tuple(sorted(indexes, key=lambda i: as_tier(ranked[i], measured[i]).order))
    active = next((i for i in tiers if measured[i].healthy), 0)
    return Selection(active, measured, ranked, tiers, facts)
