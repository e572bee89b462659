"""What the orders in force say of the targets of one plan (docs/orders.md)."""

from collections.abc import Mapping, Sequence

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.rank import NO_FACTS, Facts
from pointsman.model.orders import Order, Verb, drain_scope

Frozen = Mapping[str, Mapping[str, str]]
"""The lists of pins of freezes, by their digests: the id of the target that is kept, by the key of each plan."""


def ordered(plan: SidecarPlan, orders: Sequence[Order], frozen: Frozen) -> Facts:
    """What `orders`, those in force about the scopes of `plan` and the newest last, say of its targets.

    Of several pins and freezes the one given last counts, of those that name a target of the plan.
    """
    if not orders:
        return NO_FACTS
    drains = {each.subject.scope: each for each in orders if each.subject.verb is Verb.DRAIN}
    drained = {}
    for i, each in enumerate(plan.targets):
        target = each.target
        found = drains.get(drain_scope(target.datacenter)) or drains.get(drain_scope(target.datacenter, target.name))
        if found is not None:
            drained[i] = found
    pins = (dict.fromkeys(_pinned(plan, order, frozen), order) for order in reversed(orders))
    return Facts(drained, next(filter(None, pins), {}))


def _pinned(plan: SidecarPlan, order: Order, frozen: Frozen) -> list[int]:
    """The positions of the targets of `plan` that `order` prefers."""
    targets = list(enumerate(each.target for each in plan.targets))
    match order.subject.verb:
        case Verb.PIN:
            return [i for i, each in targets if each.datacenter == order.subject.datacenter]
        case Verb.FREEZE:
            kept = frozen[order.frozen].get(plan.key)
            return [i for i, each in targets if each.id == kept]
        case Verb.DRAIN:
            return []
