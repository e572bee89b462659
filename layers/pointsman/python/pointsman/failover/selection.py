"""Which target serves (docs/semantics.md, section 4)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.calm import ranked
from pointsman.failover.measured import Instances, Measured, measure
from pointsman.failover.rank import NO_FACTS, Facts, Rank, as_tier


class Selection(NamedTuple):
    """The target that a resolver node sends traffic to now.

    `active` is its index among the plan's targets. For a node with priority tiers it is the first tier with a healthy
    instance, for information only, because there Envoy chooses. `tiers` are the indexes of the targets that Envoy gets,
    in the order of their priorities. `measured` and `ranks` are in the order of the plan. `facts` are those that ranked
    them. `waits` has, for each target that waits or has waited behind another one, until when (milliseconds since
    1970).
    """

    active: int
    measured: tuple[Measured, ...]
    ranks: tuple[Rank, ...]
    tiers: tuple[int, ...]
    facts: Facts
    waits: Mapping[int, int]

    def chooses_as(self, other: "Selection") -> bool:
        """Whether `other` sends traffic to the same targets in the same order."""
        return (self.active, self.tiers) == (other.active, other.tiers)


def select(plan: SidecarPlan, instances: Instances, facts: Facts = NO_FACTS) -> Selection:
    """The target that ranks first is active (`pointsman.failover.rank`).

    Without facts, policy and silent sources that is the first one with a healthy instance, or the primary if there is
    none.
    """
    return _select(plan, instances, tuple([measure(target, instances) for target in plan.targets]), facts)


def _select(plan: SidecarPlan, instances: Instances, measured: tuple[Measured, ...], facts: Facts) -> Selection:
    found = ranked(plan, measured, instances, facts)
    indexes = range(len(measured))
    if plan.measured:
        active = min(found.ranks, key=attrgetter("order")).position
        tiers: tuple[int, ...] = (active,)
    else:
        tiers = tuple(sorted(indexes, key=lambda i: as_tier(found.ranks[i], measured[i]).order))
        active = next((i for i in tiers if measured[i].healthy), 0)
    return Selection(active, measured, found.ranks, tiers, found.facts, found.waits)


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice at one moment: the `facts` with that moment, and when it has to be made again because it would come out
    otherwise (milliseconds since 1970), None if time changes nothing."""

    facts: Facts
    due: int | None


def choose(plan: SidecarPlan, instances: Instances, facts: Facts, last: int, now: int) -> Choice:
    """The choice of `plan` at `now`, where that at `last` was made before.

    The moment of the choice is the last one by `now` at which it changed, `last` if it did not since: so it is a
    function of `facts` and its moment alone, and choosing again with the same facts is no change.
    """
    measured = tuple(measure(target, instances) for target in plan.targets)
    found = _select(plan, instances, measured, replace(facts, moment=last))
    moment = last
    for until in sorted({each for each in found.waits.values() if each > last}):
        later = _select(plan, instances, measured, replace(facts, moment=until))
        if later.chooses_as(found):
            continue
        if until > now:
            return Choice(replace(facts, moment=moment), until)
        moment, found = until, later
    return Choice(replace(facts, moment=moment), None)
