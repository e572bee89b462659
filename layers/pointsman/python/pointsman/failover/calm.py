"""How long a target waits before traffic returns to it: the seventh place of the rank, and the only one that reads a
clock (docs/failover.md, "When a target has just recovered").

A target that needs so many healthy instances *qualifies* since that many have been healthy: an instance that flaps
disqualifies itself. It waits for the policy's `FailbackAfter` from then on, but only behind a target that is listed
after it, has qualified for longer, and is as good in every place of the rank before. So what is needed is used at once,
and after an outage of all of them nobody leaves a healthy primary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.measured import Instances, Measured
from pointsman.failover.rank import PLACES, Facts, Rank, as_tier, ranks

_BEFORE = PLACES.index("calm")
"""How many places of a rank come before this one."""


class Ranked(NamedTuple):
    """The `ranks` of the targets of a plan at one moment, in the order of the plan, and the `facts` that ranked them.

    `waits` has, for each target that waits or has waited behind another one, until when (milliseconds since 1970).
    """

    ranks: tuple[Rank, ...]
    facts: Facts
    waits: Mapping[int, int]


def ranked(plan: SidecarPlan, measured: Sequence[Measured], instances: Instances, facts: Facts) -> Ranked:
    """The ranks of the targets of `plan` at the moment of `facts`. Without a moment nobody waits."""
    found = ranks(plan, measured, instances, facts)
    if facts.moment is None or not plan.policy.failback_after_ms:
        return Ranked(found, facts, {})
    waits = _waits(plan, measured, found)
    if waiting := frozenset(i for i, until in waits.items() if until > facts.moment):
        facts = replace(facts, restless=facts.restless | waiting)
        found = ranks(plan, measured, instances, facts)
    return Ranked(found, facts, waits)


def _waits(plan: SidecarPlan, measured: Sequence[Measured], found: Sequence[Rank]) -> dict[int, int]:
    since = [_qualified_since(plan, each) for each in measured]
    as_good = found if plan.measured else [as_tier(rank, each) for rank, each in zip(found, measured, strict=True)]
    before = [each.order[:_BEFORE] for each in as_good]
    waits = {}
    for i, mine in enumerate(since):
        if mine is None:
            continue
        others = ((before[j], since[j]) for j in range(i + 1, len(since)))
        if any(place == before[i] and other is not None and other < mine for place, other in others):
            waits[i] = mine + plan.policy.failback_after_ms
    return waits


def _qualified_since(plan: SidecarPlan, measured: Measured) -> int | None:
    """Since when as many instances are healthy as the target needs (milliseconds since 1970); None if they are not."""
    needed = plan.policy.needed(len(measured.instances))
    since = sorted(instance.since for instance, healthy, _ in measured.instances if healthy)
    return since[needed - 1] if len(since) >= needed else None
