"""The rank of each target of a plan: the one that ranks first serves (docs/failover.md, "Which target ranks first").

A rank has eight places. The first in which two targets differ decides between them; the last one is never equal. A
place of which nothing is known is true for all targets, so it decides nothing. What is left is Consul's rule: the first
target with a healthy instance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.measured import Instances, Measured
from pointsman.failover.paths import cut_from, is_open
from pointsman.model.orders import Order


@dataclass(frozen=True, slots=True)
class Facts:
    """What ranks the targets of one plan besides its policy and its instances, which have all else. Targets are named
    by their position in the plan.

    `drained` are those that an order takes traffic from, `pinned` those that an order sends traffic to, each with the
    order. `restless` are those that have not been healthy for as long as the policy wants. `moment` is that of the
    choice (milliseconds since 1970), of which only `pointsman.failover.calm` knows anything; None where time is to play
    no part.
    """

    drained: Mapping[int, Order] = field(default_factory=dict)
    pinned: Mapping[int, Order] = field(default_factory=dict)
    restless: frozenset[int] = frozenset()
    moment: int | None = None


NO_FACTS = Facts()
"""Nothing is known, so nothing is moved."""


class Rank(NamedTuple):
    """The places in their order: what is true ranks before what is false, a lower position before a higher one."""

    healthy: bool
    """It has a healthy instance."""

    reachable: bool
    """There is a way to it through well gateways, or the policy does not ask for one."""

    undrained: bool
    """No order takes traffic from it."""

    heard: bool
    """A source that is not silent tells of one of its healthy instances."""

    pinned: bool
    """An order sends traffic to it, or to no target."""

    enough: bool
    """As many of its instances are healthy as the policy wants, or none."""

    calm: bool
    """It has been healthy for as long as the policy wants."""

    position: int
    """Its place in the plan, from 0."""

    @property
    def order(self) -> tuple[int, ...]:
        """A sort key: the target that ranks first has the least."""
        healthy, reachable, undrained, heard, pinned, enough, calm, position = self
        return (not healthy, not reachable, not undrained, not heard, not pinned, not enough, not calm, position)


PLACES = Rank._fields[:-1]
"""The names of the places, without the position."""


def ranks(
    plan: SidecarPlan, measured: Sequence[Measured], instances: Instances, facts: Facts = NO_FACTS
) -> tuple[Rank, ...]:
    """The ranks of the targets of `plan`, in the order of the plan. `measured` are counted from `instances`."""
    reachable = _reachable(plan, measured, instances)
    return tuple([_rank(plan, i, each, reachable[i], facts=facts) for i, each in enumerate(measured)])


def _rank(plan: SidecarPlan, i: int, measured: Measured, reachable: bool, *, facts: Facts) -> Rank:
    return Rank(
        healthy=measured.healthy > 0,
        reachable=reachable,
        undrained=i not in facts.drained,
        heard=measured.heard,
        pinned=not facts.pinned or i in facts.pinned,
        # Of a target without a healthy instance place 1 says enough: if there is no other, the primary stays.
        enough=not measured.healthy or measured.healthy >= plan.policy.needed(len(measured.instances)),
        calm=i not in facts.restless,
        position=i,
    )


def _reachable(plan: SidecarPlan, measured: Sequence[Measured], instances: Instances) -> list[bool]:
    """Of each target, whether a gateway of each datacenter on the way can be used, or the policy does not ask."""
    if plan.policy.gateways != "require":
        return [True for _ in measured]
    cut = cut_from(plan.datacenter, instances)
    return [is_open(each.target.way(plan.datacenter), plan.datacenter, instances, cut) for each in measured]


def as_tier(rank: Rank, measured: Measured) -> Rank:
    """The rank of a target as a tier: without the health of its instances, by which Envoy itself chooses."""
    return rank._replace(healthy=True, heard=not measured.silent)


def deciding(ahead: Rank, behind: Rank) -> str:
    """The place by which one rank is ahead of another."""
    for place, one, other in zip(PLACES, ahead, behind, strict=False):
        if one != other:
            return place
    return "position"
