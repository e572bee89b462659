"""The catalog of one service in one datacenter: what its sources state of its instances, merged.

Merging is idempotent and commutative, so the order and the number of deliveries do not matter (docs/architecture.md,
"Catalog"): description and checks of an instance are two registers in which the newest statement wins, and a full list
leaves a floor: every instance below it that the list does not name is gone.

An instance that is gone leaves a tombstone, so that no late statement brings it back. Of each source the newest
MOST_GONE stay. Of the others the catalog keeps only the place of the newest in the source's order; a statement that is
not newer than that brings no instance back either.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pointsman.model.canonical import canonical
from pointsman.model.instance import Instance, read_instance
from pointsman.model.since import MARKS, marks, since_of
from pointsman.model.stored import Damaged, Kind, check_kind, mapping, number, shown, tagged

if TYPE_CHECKING:
    from pointsman.model.events import HealthEvent, Statement

# A register is [epoch, index, rank, value]: rank 0 for a statement in a list, 1 for one about a single instance. If the
# source counts its indexes by instance, the moment of the statement follows (HealthEvent.moment).
Register = list[Any]
Body = dict[str, Any]
Stamp = list[int]

MOST_GONE: Final = 1000
"""Tombstones of each source of a catalog: about these instances a late statement is recognized, whatever its index."""

MOST_ORPHANS: Final = 20_000
"""Instances of each source of a catalog of which only the checks are known, and no address."""


class Catalog(NamedTuple):
    """One catalog object, as it is stored.

    `revision` grows by one when the instances, their checks or since when they are healthy change, and only then.
    `sources` has, by source:

    - `floor`, the [epoch, index] of its newest full list, or null;
    - `forgotten`, the [epoch, index], or [0, moment], of the newest tombstone that was removed; absent if none was;
    - `instances`, by node and id: the registers `d` (description; null: gone) and `c` (checks), `f`, a floor of its
      own for an instance that newer lists named but that was refused there, and the marks `b` and `g`, since when it is
      healthy (model/since.py).
    """

    revision: int
    sources: Mapping[str, Body]

    def visible(self) -> Iterator[Body]:
        """The instances that exist, in health shape, ordered by source, node and id."""
        return (raw for raw, _ in self.seen())

    def seen(self) -> Iterator[tuple[Body, int]]:
        """What selection can see of the catalog: the instances of `visible`, each with the milliseconds since 1970 at
        which it became healthy, 0 if that is unknown or it is critical."""
        for _, source in sorted(self.sources.items()):
            for _, ids in sorted(source["instances"].items()):
                yield from _seen_on(ids)

    def instances(self, service: str) -> list[Instance]:
        """The instances that count for `service` ("" for mesh gateways)."""
        return counting(self, service).instances


EMPTY = Catalog(0, {})
NO_SOURCE: Final[Body] = {"floor": None, "instances": {}}


def _seen_on(ids: Body) -> Iterator[tuple[Body, int]]:
    """The instances of one node, by its instances' registers."""
    for id_ in sorted(ids):
        shown = _shown(ids[id_])
        if shown is not None:
            yield {**shown[0], "Checks": shown[1]}, shown[2]


def _shown(registers: Body) -> tuple[Body, list[Any], int] | None:
    """The description, the checks and since when it is healthy in an instance's registers; None if it is gone."""
    description = registers.get("d")
    if description is None or description[3] is None:
        return None
    checks = registers.get("c")
    return description[3], checks[3] if checks and checks[3] is not None else [], since_of(registers)


class Counting(NamedTuple):
    """The instances of one catalog that count for its `service` ("" for mesh gateways), ordered by source, node and id.

    `nodes` has, by source and node, the registers of the node's instances, and those of them that count.
    """

    service: str
    instances: list[Instance]
    nodes: Mapping[str, Mapping[str, tuple[Body, list[Instance]]]]


def counting(catalog: Catalog, service: str, before: Counting | None = None) -> Counting:
    """The instances of `catalog` that count for `service` ("" for mesh gateways).

    Nodes that `before`, of an earlier state of the catalog, has with the same registers are taken from there:
    after one of ten thousand instances changed, one is read.
    """
    nodes: dict[str, dict[str, tuple[Body, list[Instance]]]] = {}
    instances: list[Instance] = []
    for source in sorted(catalog.sources):
        body = catalog.sources[source]
        known: Mapping[str, Body] = body["instances"]
        earlier = before.nodes.get(source, {}) if before is not None else {}
        if known.keys() == earlier.keys():
            ours = dict(earlier)  # ordered
            changed = [node for node, (ids, _) in earlier.items() if known[node] is not ids]
        else:
            ours = {node: earlier.get(node, _UNREAD) for node in sorted(known)}
            changed = [node for node, (ids, _) in ours.items() if known[node] is not ids]
        for node in changed:
            read = [read_instance(raw, service, source, since) for raw, since in _seen_on(known[node])]
            ours[node] = known[node], [instance for instance in read if instance.counts]
        nodes[source] = ours
        for _, found in ours.values():
            instances += found
    return Counting(service, instances, nodes)


_UNREAD: Final[tuple[Body, list[Instance]]] = ({}, [])


def merge(catalog: Catalog, event: "HealthEvent") -> Catalog:
    """`catalog` after `event`; the same object if the event says nothing new.

    What the event does not touch is neither compared nor copied, except for one table of the source's nodes: a
    statement about one of ten thousand instances costs no more than one about one of three. (If an instance is gone,
    the tombstones are counted.)
    """
    before = catalog.sources.get(event.source) or NO_SOURCE
    known: dict[str, Body] = before["instances"]
    if event.forgets:
        return _forgetting(catalog, event, before)
    floor, forgotten = before["floor"], before.get("forgotten")
    is_list = event.states_absence
    left_out = event.left_out if is_list else frozenset[tuple[str, str]]()
    if is_list:
        floor = _later(floor, [event.epoch, event.index])

    def after(node: str, id_: str, registers: Body, statement: "Statement | None" = None) -> Body:
        old_floor = own = registers.get("f", before["floor"])
        speaks = is_list and (node, id_) not in left_out
        if speaks:
            own = _later(own, [event.epoch, event.index])
        now = _with(registers, event, statement, forgotten) if statement is not None else registers
        found = _above(own, now)
        if speaks or statement is not None:
            found |= marks(registers, found, event, statement, old_floor)
        elif found:
            found |= {name: registers[name] for name in MARKS & registers.keys()}
        if own != floor:
            found["f"] = own
        return found

    written: dict[tuple[str, str], Body] = {}
    for statement in event.statements:
        key = statement.node, statement.id
        old = written[key] if key in written else known.get(statement.node, {}).get(statement.id, {})
        written[key] = after(*key, old, statement)
    if is_list:
        others = {(node, id_) for node in known for id_ in known[node]} | left_out
        for node, id_ in others - written.keys():
            written[node, id_] = after(node, id_, known.get(node, {}).get(id_, {}))
    differences: list[tuple[str, str, Body]] = []
    changed = leaves_tombstones = False
    for (node, id_), new in written.items():
        old = known.get(node, {}).get(id_, {})
        if old != new:
            differences.append((node, id_, new))
            shown = _shown(new)
            changed = changed or _shown(old) != shown
            leaves_tombstones = leaves_tombstones or bool(new and shown is None)
    if floor == before["floor"] and not differences:
        return catalog
    instances = _replaced(known, differences)
    if leaves_tombstones:
        instances, forgotten = _bounded(instances, forgotten)
    source: Body = {"floor": floor, "instances": instances}
    if forgotten is not None:
        source["forgotten"] = forgotten
    if source == before:
        return catalog
    return Catalog(catalog.revision + changed, {**catalog.sources, event.source: source})


def _forgetting(catalog: Catalog, event: "HealthEvent", before: Body) -> Catalog:
    """`catalog` without the tombstones that `event` names, those that are not newer than its moment. `before` is what
    it has of the event's source."""
    dropped: list[tuple[str, str, Body]] = []
    forgotten = before.get("forgotten")
    for statement in event.statements:
        registers = before["instances"].get(statement.node, {}).get(statement.id, {})
        stamps = [order_of(registers[name]) for name in ("d", "c") if name in registers]
        if stamps and _shown(registers) is None and max(stamps) <= [0, event.moment or 0]:
            dropped.append((statement.node, statement.id, {}))
            forgotten = _later(forgotten, max(stamps))
    if not dropped:
        return catalog
    source = {**before, "instances": _replaced(before["instances"], dropped), "forgotten": forgotten}
    return Catalog(catalog.revision, {**catalog.sources, event.source: source})


def _bounded(instances: dict[str, Body], forgotten: Stamp | None) -> tuple[dict[str, Body], Stamp | None]:
    """`instances` with at most MOST_GONE tombstones and MOST_ORPHANS without a description, the newest of each.

    Also the place, in the source's order, up to which some were removed.
    """
    kinds: tuple[list[tuple[Stamp, str, str]], ...] = ([], [])
    for node, ids in instances.items():
        for id_, registers in ids.items():
            stamps = [order_of(registers[name]) for name in ("d", "c") if name in registers]
            if stamps and _shown(registers) is None:
                kinds["d" not in registers].append((max(stamps), node, id_))
    dropped: list[tuple[str, str, Body]] = []
    for each, most in zip(kinds, (MOST_GONE, MOST_ORPHANS), strict=True):
        for stamp, node, id_ in sorted(each)[: max(len(each) - most, 0)]:
            dropped.append((node, id_, {name: own for name, own in instances[node][id_].items() if name == "f"}))
            forgotten = _later(forgotten, stamp)
    return (_replaced(instances, dropped) if dropped else instances), forgotten


def order_of(register: Register) -> Stamp:
    """The place of `register` among all statements of its source, about any instance."""
    return [0, register[4]] if len(register) > 4 else register[:2]


def _later(one: Stamp | None, other: Stamp | None) -> Stamp | None:
    return other if one is None or (other is not None and other > one) else one


def is_forgotten(forgotten: Stamp | None, register: Register) -> bool:
    """Whether `register`, of an instance without one, may be a late statement about an instance whose tombstone was
    removed."""
    return forgotten is not None and order_of(register) <= forgotten


def vanished(before: Catalog, after: Catalog, source: str) -> int:
    """How many instances of `source` that were there `before` are gone `after`, if those are most of them; else 0.

    A producer restarted with an empty memory sends a list that removes most of a catalog. It may be true all the same,
    so it is taken in and reported; the sum over all catalogs shows whether one service or a whole fleet vanished.
    """
    earlier, later = (
        {(node, id_) for node, ids in _instances(each, source).items() for id_ in ids if _shown(ids[id_]) is not None}
        for each in (before, after)
    )
    gone = len(earlier - later)
    return gone if gone * 2 > len(earlier) else 0


def _instances(catalog: Catalog, source: str) -> Mapping[str, Body]:
    found = catalog.sources.get(source)
    return found["instances"] if found else {}


def _replaced(known: Mapping[str, Body], changes: Iterable[tuple[str, str, Body]]) -> dict[str, Body]:
    """`known` with the registers of some instances replaced; an instance without registers is removed."""
    nodes = dict(known)
    copied: set[str] = set()
    for node, id_, registers in changes:
        if node not in copied:
            nodes[node] = dict(nodes.get(node, {}))
            copied.add(node)
        if registers:
            nodes[node][id_] = registers
        else:
            nodes[node].pop(id_, None)
        if not nodes[node]:
            del nodes[node]
            copied.discard(node)
    return nodes


def _with(registers: Body, event: "HealthEvent", statement: "Statement", forgotten: Stamp | None) -> Body:
    """`registers` after what `event` states of their instance."""
    registers = dict(registers)
    for name, new in stated(event, statement):
        old = registers.get(name)
        if old is None:
            if not is_forgotten(forgotten, new):
                registers[name] = new
        elif new != old and _greater(new, old):
            registers[name] = new
    return registers


def stated(event: "HealthEvent", statement: "Statement") -> list[tuple[str, Register]]:
    """What `event` writes into which registers of the instance that `statement` is about."""
    epoch, index, rank = event.epoch, event.index, event.rank
    moment = [] if event.moment is None else [event.moment]
    written: list[tuple[str, Register]] = []
    if not event.checks_only:
        written.append(("d", [epoch, index, rank, statement.description, *moment]))
    if statement.checks is not None or statement.description is None:
        written.append(("c", [epoch, index, rank, statement.checks, *moment]))
    return written


def _greater(one: Register, other: Register) -> bool:
    mine, its = one[:3], other[:3]
    if mine != its:
        return bool(mine > its)
    if one[3] is None or other[3] is None:
        return (one[3] is not None, one[4:]) > (other[3] is not None, other[4:])
    return (canonical(one[3]), one[4:]) > (canonical(other[3]), other[4:])


def _above(floor: Stamp | None, registers: Body) -> Body:
    """The registers that `floor` does not outrank. A floor counts as [epoch, index, 0, null]: gone."""
    found: Body = {name: registers[name] for name in ("d", "c") if name in registers}
    if floor is None:
        return found
    gone: Register = [*floor, 0, None]
    return {name: register for name, register in found.items() if _greater(register, gone)}


def catalog_json(catalog: Catalog) -> Body:
    """`catalog` as plain JSON values; `read_catalog` is its inverse."""
    return tagged(Kind.CATALOG, {"revision": catalog.revision, "sources": catalog.sources})


def read_catalog(body: object) -> Catalog:
    """The catalog that `catalog_json` wrote. Raises Damaged or NewerSchema for anything else.

    The content of descriptions and checks is not checked again: `model.events` checked it when it came in.
    """
    body = check_kind(body, Kind.CATALOG)
    sources = mapping(body, "sources")
    for name, source in sources.items():
        sound = (
            type(source) is dict
            and "floor" in source
            and all(_is_floor(source.get(place)) for place in ("floor", "forgotten"))
            and _are_instances(source.get("instances"))
        )
        if not sound:
            raise Damaged(f"what it has of the source {shown(name)} is not a floor and instances")
    return Catalog(number(body, "revision"), sources)


def _is_floor(floor: object) -> bool:
    return floor is None or (type(floor) is list and len(floor) == 2 and all(type(each) is int for each in floor))


def _are_instances(nodes: object) -> bool:
    """Whether these are registers by node and id."""
    if type(nodes) is not dict:
        return False
    for ids in nodes.values():
        if type(ids) is not dict:
            return False
        for registers in ids.values():
            if type(registers) is not dict or not registers.keys() <= _REGISTERS.keys() | MARKS | {"f"}:
                return False
            if not _is_floor(registers.get("f")) or not all(_is_mark(registers.get(name)) for name in MARKS):
                return False
            if not all(_is_register(name, registers[name]) for name in _REGISTERS.keys() & registers.keys()):
                return False
    return True


def _is_mark(mark: object) -> bool:
    return mark is None or (type(mark) is list and len(mark) == 4 and all(type(each) is int for each in mark))


def _is_register(name: str, value: object) -> bool:
    return (
        type(value) is list
        and len(value) in (4, 5)
        and type(value[3]) in _REGISTERS[name]
        and all(type(each) is int for each in (*value[:3], *value[4:]))
    )


_REGISTERS: Mapping[str, tuple[type, ...]] = {"d": (dict, type(None)), "c": (list, type(None))}
"""By the name of a register, the types of its value."""
