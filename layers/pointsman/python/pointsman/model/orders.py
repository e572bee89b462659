"""Orders of operators: where traffic is not to go, or is to stay, until when, why, and who said so.

An order is in force from the write that begins it to the write that ends it. Selection reads only what is written and
no clock, so an order whose end has come is in force until somebody writes that it ended (docs/orders.md).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from pointsman.model.errors import InvalidInput
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName
from pointsman.model.stored import Body, Damaged, Kind, check_kind, mapping, number, numbers, shown, tagged, text, truth

MOST_IN_FORCE: Final = 100
"""Orders in force at a time."""

MOST_ENDED: Final = 50
"""Orders that are shown after their end."""

MOST_SCOPES: Final = 1_000
"""Scopes of which it is known when an order about them last began, changed or ended."""

LONGEST_ORDER_SECONDS: Final = 30 * 86_400
"""Seconds for which an order may be given."""

LONGEST_REASON: Final = 200
"""Characters of an order's reason, and of the name of who gave it."""


class Verb(StrEnum):
    """What an order does."""

    DRAIN = "drain"
    PIN = "pin"
    FREEZE = "freeze"


@dataclass(frozen=True, slots=True)
class Subject:
    """What an order is about.

    `datacenter` is the one that is drained, or to which a pin leads ("" for a freeze). `service` is the service it
    concerns, None for all of them. A pin counts for the callers in the datacenter `caller`, for all callers if that is
    "".
    """

    verb: Verb
    datacenter: str = ""
    service: ServiceName | None = None
    caller: str = ""

    @property
    def scope(self) -> str:
        """What at most one order in force can be about."""
        match self.verb:
            case Verb.DRAIN:
                return drain_scope(self.datacenter, self.service)
            case Verb.PIN:
                assert self.service is not None
                return pin_scope(self.service, self.caller)
            case Verb.FREEZE:
                return freeze_scope(self.service)

    def __str__(self) -> str:
        named = "everything" if self.service is None else _plain(self.service)
        match self.verb:
            case Verb.DRAIN:
                return f"drain {self.datacenter}" if self.service is None else f"drain {named} in {self.datacenter}"
            case Verb.PIN:
                return f"pin {named} to {self.datacenter}" + (f" for callers in {self.caller}" if self.caller else "")
            case Verb.FREEZE:
                return f"freeze {named}"


def _plain(service: ServiceName) -> str:
    return service.name if service.namespace == DEFAULT_NAMESPACE else str(service)


def drain_scope(datacenter: str, service: ServiceName | None = None) -> str:
    """The scope of a drain of a datacenter, or of a service in one."""
    return f"drain/{datacenter}" if service is None else f"drain/{datacenter}/{service}"


def pin_scope(service: ServiceName, caller: str = "") -> str:
    """The scope of a pin of a service, for the callers of one datacenter or for all."""
    return f"pin/{service}/{caller}" if caller else f"pin/{service}"


def freeze_scope(service: ServiceName | None = None) -> str:
    """The scope of a freeze of a service, or of everything."""
    return "freeze" if service is None else f"freeze/{service}"


def service_of(scope: str) -> ServiceName | None:
    """The service that orders about `scope` concern, None for all of them."""
    match scope.split("/"):
        case ["drain", _, namespace, name] | ["pin" | "freeze", namespace, name] | ["pin", namespace, name, _]:
            return ServiceName(namespace, name)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Order:
    """An order. Times are RFC 3339 in UTC with milliseconds, as the clock of the process that wrote them had them.

    It was given `at`, by whom `by` says, and ends when somebody writes that `until` is past. `forced` is whether it was
    given although it was refused at first. `frozen` is the digest of the list of pins of a freeze, "" for other orders.
    `revision` is that of the orders when it began or last changed.
    """

    id: str
    subject: Subject
    at: str
    until: str
    reason: str
    by: str
    forced: bool = False
    frozen: str = ""
    revision: int = 0

    def __str__(self) -> str:
        return f"order {self.id} until {short_time(self.until)} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Ended:
    """An order that is over: `at` when that was written, and `by` whom it was ended early, "" if its time was up."""

    order: Order
    at: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Orders:
    """All orders: those in force by their scopes, and those that ended lately, the last one first.

    `revision` grows by one with every change. `changed` has, by scope, the revision in which an order about it last
    began, changed or ended. Of scopes that are not there any more, `floor` is the newest such revision. `wake` is the
    moment of the message that was sent last to wake a function on AWS (milliseconds since 1970), 0 if none was; it is
    no part of the revision.
    """

    revision: int = 0
    in_force: Mapping[str, Order] = field(default_factory=dict)
    ended: tuple[Ended, ...] = ()
    changed: Mapping[str, int] = field(default_factory=dict)
    floor: int = 0
    wake: int = 0

    def __iter__(self) -> Iterator[Order]:
        """The orders in force, as they began."""
        return iter(sorted(self.in_force.values(), key=lambda each: each.revision))

    def of(self, scopes: Iterable[str]) -> tuple[Order, ...]:
        """The orders in force about any of these scopes, the newest last."""
        if not self.in_force:  # as nearly always
            return ()
        found = (self.in_force.get(scope) for scope in scopes)
        return tuple(sorted(filter(None, found), key=lambda each: each.revision))

    def revisions(self, scopes: Iterable[str]) -> dict[str, int]:
        """What a provenance has of these scopes: it grows with every order about them that begins, changes or ends."""
        if not self.changed and not self.floor:
            return {}
        found = ((scope, max(self.changed.get(scope, 0), self.floor)) for scope in scopes)
        return {f"{PROVENANCE}{scope}": revision for scope, revision in found if revision}

    def named(self, id_: str) -> Order | None:
        """The order in force with this id."""
        return next((each for each in self.in_force.values() if each.id == id_), None)

    def ended_since(self, before: "Orders") -> "tuple[Ended, ...]":
        """The orders that are over and were not so `before`."""
        return tuple(each for each in self.ended if each not in before.ended)

    def due(self, now: str) -> tuple[Order, ...]:
        """The orders in force whose end has come."""
        return tuple(each for each in self if each.until <= now)

    @property
    def next_end(self) -> str:
        """When the next order ends, "" if none is in force."""
        return min((each.until for each in self.in_force.values()), default="")


PROVENANCE: Final = "orders/"
"""What the keys of scopes in a provenance begin with."""

NO_ORDERS = Orders()


@dataclass(frozen=True, slots=True)
class Wish:
    """An order as somebody wants to give it. `frozen` as in Order."""

    subject: Subject
    until: str
    reason: str
    by: str
    forced: bool = False
    frozen: str = ""


def begun(orders: Orders, wish: Wish, now: str) -> tuple[Orders, Order]:
    """`orders` with the one that `wish` asks for, and that order.

    An order in force about the same subject is changed and keeps its id; a pin to another datacenter takes the place of
    the one before. Raises InvalidInput if there are MOST_IN_FORCE.
    """
    scope, revision = wish.subject.scope, orders.revision + 1
    known = orders.in_force.get(scope)
    if known is None and len(orders.in_force) >= MOST_IN_FORCE:
        raise InvalidInput.single(
            str(wish.subject), "", f"{MOST_IN_FORCE} orders are in force, more cannot be; end one with `pointsman end`"
        )
    same = known is not None and known.subject == wish.subject
    order = Order(
        id=known.id if known is not None and same else f"{wish.subject.verb[0]}-{revision}",
        subject=wish.subject,
        at=known.at if known is not None and same else now,
        until=wish.until,
        reason=wish.reason,
        by=wish.by,
        forced=wish.forced or (known is not None and same and known.forced),
        frozen=wish.frozen,
        revision=revision,
    )
    over = (Ended(known, now, wish.by), *orders.ended) if known is not None and not same else orders.ended
    in_force = {**orders.in_force, scope: order}
    changed = {**orders.changed, scope: revision}
    after = replace(orders, revision=revision, in_force=in_force, ended=over, changed=changed)
    return _bounded(after), order


def ended(orders: Orders, some: Iterable[Order], now: str, by: str = "") -> Orders:
    """`orders` without `some` of those in force, which are over; the same object if none of them is in force.

    `by` is who ends them early, "" if their time is up.
    """
    gone = [each for each in some if orders.in_force.get(each.subject.scope) == each]
    if not gone:
        return orders
    revision = orders.revision + 1
    scopes = {each.subject.scope for each in gone}
    return _bounded(
        replace(
            orders,
            revision=revision,
            in_force={scope: each for scope, each in orders.in_force.items() if scope not in scopes},
            ended=(*(Ended(each, now, by) for each in reversed(gone)), *orders.ended),
            changed={**orders.changed, **dict.fromkeys(scopes, revision)},
        )
    )


def over(orders: Orders, now: str) -> Orders:
    """`orders` without those whose end has come; the same object if there are none."""
    return ended(orders, orders.due(now), now)


def _bounded(orders: Orders) -> Orders:
    """`orders`, of which no more is kept than the bounds allow.

    Scopes that are forgotten count as changed with the newest of them: the provenance of every plan with a choice may
    grow then, but of none does it go down.
    """
    past = orders.ended[:MOST_ENDED]
    if len(orders.changed) <= MOST_SCOPES:
        return replace(orders, ended=past)
    newest = sorted(orders.changed.items(), key=lambda each: -each[1])
    kept, forgotten = newest[: MOST_SCOPES // 2], newest[MOST_SCOPES // 2 :]
    return replace(orders, ended=past, changed=dict(kept), floor=max(orders.floor, forgotten[0][1]))


def checked_reason(value: str, field: str = "--reason") -> str:
    """The reason in `value`. Raises InvalidInput, with this `field`, unless it is one line of LONGEST_REASON characters
    at most."""
    reason = value.strip()
    if not reason:
        raise InvalidInput.single("the order", field, "is required: say why, for those who see it later")
    if len(reason) > LONGEST_REASON:
        raise InvalidInput.single(
            "the order", field, f"has {len(reason)} characters, {LONGEST_REASON} are the most; shorten it"
        )
    if not reason.isprintable():
        raise InvalidInput.single("the order", field, "has a character that cannot be printed; write one line")
    return reason


def checked_name(value: str) -> str:
    """`value` as the name of who gives an order: printable, LONGEST_REASON characters at most."""
    return "".join(char if char.isprintable() else "?" for char in value)[:LONGEST_REASON] or "unknown"


def short_time(moment: str) -> str:
    """A moment (RFC 3339 in UTC) for people: `2026-11-27 14:00:05 UTC`, without seconds that are zero."""
    date, _, clock = moment.partition("T")
    return f"{date} {clock[:8].removesuffix(':00')} UTC"


def order_line(order: Order) -> str:
    """All of an order in one line, for people."""
    forced = ", forced" if order.forced else ""
    return (
        f"{order.id}: {order.subject} until {short_time(order.until)} ({order.reason}), given by {order.by} at "
        f"{short_time(order.at)}{forced}"
    )


def orders_json(orders: Orders) -> Body:
    """`orders` as plain JSON values; `read_orders` is its inverse."""
    return tagged(
        Kind.ORDERS,
        {
            "revision": orders.revision,
            "in_force": [order_json(each) for each in orders],
            "ended": [ended_json(each) for each in orders.ended],
            "changed": dict(orders.changed),
            "floor": orders.floor,
            "wake": orders.wake,
        },
    )


def order_json(order: Order) -> Body:
    """An order as plain JSON values."""
    subject = order.subject
    return {
        "id": order.id,
        "verb": subject.verb.value,
        "datacenter": subject.datacenter,
        "service": None if subject.service is None else str(subject.service),
        "caller": subject.caller,
        "at": order.at,
        "until": order.until,
        "reason": order.reason,
        "by": order.by,
        "forced": order.forced,
        "frozen": order.frozen,
        "revision": order.revision,
    }


def ended_json(each: Ended) -> Body:
    """An order that is over as plain JSON values."""
    return order_json(each.order) | {"ended": each.at, "ended_by": each.by}


def read_orders(body: object) -> Orders:
    """The orders that `orders_json` wrote. Raises Damaged or NewerSchema for anything else."""
    body = check_kind(body, Kind.ORDERS)
    found = [read_order(each) for each in _objects(body, "in_force")]
    past = [read_ended(each) for each in _objects(body, "ended")]
    return Orders(
        number(body, "revision"),
        {each.subject.scope: each for each in found},
        tuple(past),
        numbers(body, "changed"),
        number(body, "floor"),
        number(body, "wake"),
    )


def _objects(body: Body, name: str) -> list[Body]:
    match body.get(name):
        case list(found):
            return [mapping({name: each}, name) for each in found]
        case other:
            raise Damaged(f"its {name} are {shown(other)}, which is not a list")


def read_order(body: Body) -> Order:
    """The order that `order_json` wrote. Raises Damaged for anything else."""
    return Order(
        id=text(body, "id"),
        subject=_subject(body),
        at=text(body, "at"),
        until=text(body, "until"),
        reason=text(body, "reason"),
        by=text(body, "by"),
        forced=truth(body, "forced"),
        frozen=text(body, "frozen"),
        revision=number(body, "revision"),
    )


def read_ended(body: Body) -> Ended:
    """The order that is over, as `ended_json` wrote it. Raises Damaged for anything else."""
    return Ended(read_order(body), text(body, "ended"), text(body, "ended_by"))


def _subject(body: Body) -> Subject:
    try:
        service = None if body.get("service") is None else ServiceName.of(text(body, "service"))
        found = Subject(Verb(text(body, "verb")), text(body, "datacenter"), service, text(body, "caller"))
    except ValueError:
        what = f"{shown(body.get('verb'))} {shown(body.get('service'))}"
        raise Damaged(f"one of its orders is {what}, which is none") from None
    if found.verb is Verb.PIN and found.service is None:
        raise Damaged("one of its pins is about no service")
    return found


def frozen_json(pins: Mapping[str, str], at: str) -> Body:
    """The list of pins of a freeze, given `at`: the id of the target that serves, by the key of each plan.

    Its time makes it another list than any before.
    """
    return tagged(Kind.FROZEN, {"at": at, "pins": dict(pins)})


def read_frozen(body: Body) -> dict[str, str]:
    """The pins that `frozen_json` wrote. Raises Damaged."""
    pins = mapping(body, "pins")
    return {key: text(pins, key) for key in pins}
