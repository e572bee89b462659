"""The catalog of one service in one datacenter: what its sources say of its instances, merged.

Merging is idempotent and commutative, so the order and the number of deliveries do not matter (docs/architecture.md,
"Catalog"): description and checks of an instance are two last-writer-wins registers, and a full list leaves a floor
below which every instance that is not in it is gone.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pointsman.model.canonical import canonical
from pointsman.model.instance import Instance, read_instance
from pointsman.model.stored import Damaged, Kind, check_kind, mapping, number, shown, tagged

if TYPE_CHECKING:
    from pointsman.model.events import HealthEvent, Statement

# A register is [epoch, index, rank, value]: rank 0 for a statement in a list, 1 for one about a single instance.
Register = list[Any]
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Catalog:
    """One catalog object, as it is stored.

    `revision` grows by one whenever what the instances say changed, and only then. `sources` has, by source, its
    `floor` ([epoch, index] of its newest full list, or null) and its `instances` by node and id, each with the
    registers `d` (description; null: gone) and `c` (checks).
    """

    revision: int
    sources: Mapping[str, Body]

    def visible(self) -> Iterator[Body]:
        """The instances that are there, in health shape, ordered by source, node and id."""
        for source in sorted(self.sources):
            yield from _visible(self.sources[source])

    def instances(self, service: str) -> list[Instance]:
        """The instances that count as ones of `service` ("" for mesh gateways)."""
        read = (read_instance(raw, service) for raw in self.visible())
        return [instance for instance in read if instance.counts]


EMPTY = Catalog(0, {})


def _visible(source: Body) -> Iterator[Body]:
    for node in sorted(source["instances"]):
        for id_ in sorted(source["instances"][node]):
            shown = _shown(source["instances"][node][id_])
            if shown is not None:
                yield {**shown[0], "Checks": shown[1]}


def _shown(registers: Body) -> tuple[Body, list[Any]] | None:
    """What the registers of an instance say: its description and its checks; None if it is not there."""
    description = registers.get("d")
    if description is None or description[3] is None:
        return None
    checks = registers.get("c")
    return description[3], checks[3] if checks and checks[3] is not None else []


def merge(catalog: Catalog, event: "HealthEvent") -> Catalog:
    """`catalog` after `event`; the same object if the event says nothing new.

    What the event does not touch is neither compared nor copied, but for one table of the source's nodes: a statement
    about one of ten thousand instances costs no more than one about one of three.
    """
    before = catalog.sources.get(event.source) or {"floor": None, "instances": {}}
    floor = before["floor"]
    raised = event.full and (floor is None or [event.epoch, event.index] > floor)
    if raised:
        floor = [event.epoch, event.index]
    known: dict[str, Body] = before["instances"]
    written: dict[tuple[str, str], Body] = {}
    for statement in event.statements:
        key = statement.node, statement.id
        old = written[key] if key in written else known.get(statement.node, {}).get(statement.id, {})
        written[key] = _above(floor, _with(old, event, statement))
    if raised:
        others = ((node, id_) for node in known for id_ in known[node] if (node, id_) not in written)
        written |= {(node, id_): _above(floor, known[node][id_]) for node, id_ in others}
    differences = [
        (node, id_, old, new)
        for (node, id_), new in written.items()
        if (old := known.get(node, {}).get(id_, {})) != new
    ]
    if not raised and not differences:
        return catalog
    changed = any(_shown(old) != _shown(new) for _, _, old, new in differences)
    after = {"floor": floor, "instances": _replaced(known, ((node, id_, new) for node, id_, _, new in differences))}
    return Catalog(catalog.revision + changed, {**catalog.sources, event.source: after})


def effective(source: Body, node: str, id_: str, name: str) -> Register | None:
    """What holds for the register `name` of an instance of `source`, where it has none of its own: the floor's "gone".

    None where nothing was ever said.
    """
    register: Register | None = source["instances"].get(node, {}).get(id_, {}).get(name)
    if register is None and source["floor"] is not None:
        return [*source["floor"], 0, None]
    return register


def vanished(before: Catalog, after: Catalog, source: str) -> int:
    """How many of the instances that `source` had `before` it does not have `after`, if those are most of them; else 0.

    One list that takes most of a catalog away is what a producer sends that was restarted with an empty memory. It may
    be true all the same, so it is taken in, and told aloud: summed over the catalogs it tells a fleet from a service.
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
    """`known` with the registers of some instances replaced; where none are left nothing is kept."""
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


def _with(registers: Body, event: "HealthEvent", statement: "Statement") -> Body:
    """`registers` after what `event` states of their instance."""
    stamp = [event.epoch, event.index, 0 if event.full else 1]
    registers = dict(registers)
    if not event.checks_only:
        _write(registers, "d", [*stamp, statement.description])
    if statement.checks is not None or statement.description is None:
        _write(registers, "c", [*stamp, statement.checks])
    return registers


def _write(registers: Body, name: str, new: Register) -> None:
    old = registers.get(name)
    if old is None or _greater(new, old):
        registers[name] = new


def _greater(one: Register, other: Register) -> bool:
    if one[:3] != other[:3]:
        return bool(one[:3] > other[:3])
    if one[3] is None or other[3] is None:
        return one[3] is not None and other[3] is None
    return one[3] != other[3] and canonical(one[3]) > canonical(other[3])


def _above(floor: list[int] | None, registers: Body) -> Body:
    """`registers` without those that the floor's "gone" outranks: [epoch, index, 0, null] stands in their place."""
    if floor is None:
        return registers
    gone: Register = [*floor, 0, None]
    return {name: value for name, value in registers.items() if _greater(value, gone)}


def catalog_json(catalog: Catalog) -> Body:
    """`catalog` as plain JSON values; `read_catalog` is its inverse."""
    return tagged(Kind.CATALOG, {"revision": catalog.revision, "sources": catalog.sources})


def read_catalog(body: object) -> Catalog:
    """The catalog that `catalog_json` wrote. Raises Damaged or NewerSchema for anything else.

    What stands inside a description or a check is left to who reads it: all of it is what `model.events` let in.
    """
    body = check_kind(body, Kind.CATALOG)
    sources = mapping(body, "sources")
    for name, source in sources.items():
        sound = type(source) is dict and _is_floor(source.get("floor")) and _are_instances(source.get("instances"))
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
            if type(registers) is not dict or not registers.keys() <= _REGISTERS.keys():
                return False
            for name, value in registers.items():
                if type(value) is not list or len(value) != 4 or type(value[3]) not in _REGISTERS[name]:
                    return False
                if not (type(value[0]) is type(value[1]) is type(value[2]) is int):
                    return False
    return True


_REGISTERS: Mapping[str, tuple[type, ...]] = {"d": (dict, type(None)), "c": (list, type(None))}
"""By the name of a register, what can stand in it."""
