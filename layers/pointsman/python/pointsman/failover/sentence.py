"""Why a target serves, as a sentence."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from pointsman.chain.plan import PlanTarget, SidecarPlan
from pointsman.failover.measured import Measured
from pointsman.failover.rank import Rank, deciding
from pointsman.failover.selection import Selection
from pointsman.model.orders import Order, Verb

_THAT = {
    "reachable": " that can be reached",
    "undrained": " that is not drained",
    "heard": " that is heard of",
    "enough": ", and enough of them",
    "calm": " for long enough",
}
"""What the first healthy target has that others lack, by the place that decides."""


def sentence(plan: SidecarPlan, selection: Selection) -> str:
    """The reason for the selection, as one clause per target, up to the one that serves.

    `dc1: 0 of 3 healthy; dc2: first with a healthy instance, through the local gateways`. Targets are named by
    datacenter if they differ in nothing else, otherwise by id.
    """
    labels = plan.labels
    serving = selection.ranks[selection.active]
    clauses = []
    lacking: set[str] = set()
    for i, (label, each) in enumerate(zip(labels, selection.measured, strict=True)):
        if not each.healthy:
            clauses.append(f"{label}: {_counted(each)}")
            continue
        rank = selection.ranks[i]
        serves = i == selection.active
        order = selection.facts.drained.get(i)
        pinned = selection.facts.pinned.get(i) if serves else None
        reasons = shortfalls(plan, each, rank, order, selection.waits.get(i, 0))
        but = "".join(f", but {reason}" for reason in reasons)
        if i and serves:
            # That it is not heard of is said only of those before it, which would serve otherwise.
            but = "".join(f", but {reason}" for reason in shortfalls(plan, each, rank._replace(heard=True), order))
            clauses.append(f"{label}: {_first(lacking, pinned)}, {_way(each.target)}{but}")
        else:
            way = f", {_way(each.target)}" if serves and each.target.mode in ("local", "remote") else ""
            clauses.append(f"{label}: {_counted(each)}{f', {_kept(pinned)}' if pinned else ''}{way}{but}")
            lacking.add(deciding(serving, rank))
        if serves:
            break
    else:
        clauses.append(_none_healthy(labels, selection))
    if selection.active in selection.facts.drained and len(labels) > 1 and selection.measured[selection.active].healthy:
        clauses.append("no healthy target is left that is not drained")
    clauses += _without_effect(plan, labels, selection)
    if len(labels) > 1 and not plan.measured:
        clauses.append("Envoy itself chooses among these tiers")
    return "; ".join(clauses)


def shortfalls(
    plan: SidecarPlan, measured: Measured, rank: Rank, drained: Order | None, until: int = 0
) -> Iterator[str]:
    """What keeps a target with healthy instances from ranking higher, in words, place by place. `drained` is the order
    that drains it, if one does, `until` the moment until which it waits (milliseconds since 1970), 0 if unknown."""
    if not rank.reachable:
        yield "no way through well gateways leads to it"
    if not rank.undrained:
        yield f"it is drained by {drained}"
    if not rank.heard:
        yield "nobody who tells of it is heard"
    if not rank.enough:
        yield f"{plan.policy.needed(len(measured.instances))} are needed"
    if not rank.calm:
        yield "not for long enough" + (f" until {_clock(until)}" if until else "")


def _clock(moment: int) -> str:
    """A moment as the time of day, rounded up to whole seconds."""
    return f"{datetime.fromtimestamp(-(-moment // 1000), UTC):%H:%M:%S}Z"


def _first(lacking: set[str], pinned: Order | None) -> str:
    """What makes the target that serves the first one; those before it lack the places `lacking` to it. `pinned` is the
    order that pins it, if one does."""
    if pinned is not None:
        return _kept(pinned)
    return "first with a healthy instance" + (_THAT.get(min(lacking), "") if len(lacking) == 1 else "")


def _kept(order: Order) -> str:
    """That a target is pinned, in words."""
    return f"{'frozen' if order.subject.verb is Verb.FREEZE else 'pinned'} by {order}"


def _without_effect(plan: SidecarPlan, labels: Sequence[str], selection: Selection) -> Iterator[str]:
    """A clause for each target that is pinned while another one serves."""
    pinned = selection.facts.pinned
    if selection.active in pinned:
        return
    for i, order in sorted(pinned.items()):
        each = selection.measured[i]
        reasons = list(shortfalls(plan, each, selection.ranks[i], selection.facts.drained.get(i)))
        why = reasons[0] if each.healthy and reasons else _counted(each)
        yield f"{labels[i]}: {_kept(order)}, but {why}"


def _none_healthy(labels: Sequence[str], selection: Selection) -> str:
    if len(labels) == 1:
        return "there is no other target"
    stays = f"{labels[selection.active]} ranks first" if selection.active else "the primary stays"
    return f"no target has a healthy instance, so {stays}"


def _counted(measured: Measured) -> str:
    return f"{measured.healthy} of {len(measured.instances)} healthy" if measured.instances else "no instances"


def _way(target: PlanTarget) -> str:
    if target.mode == "local":
        return "through the local gateways"
    if target.mode == "remote":
        return f"through the gateways of {target.target.datacenter}"
    return "reached directly"
