"""The catalog of one service in one datacenter: what its sources say of its instances, merged.

Merging is idempotent and commutative, so the order and the number of deliveries do not matter (docs/architecture.md,
"Catalog"): description and checks of an instance are two last-writer-wins registers, and a full list leaves a floor
below which every instance that is not in it is gone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pointsman.model.canonical import canonical
from pointsman.model.events import HealthEvent
from pointsman.model.instance import Instance, read_instance

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
            registers = source["instances"][node][id_]
            description = registers.get("d")
            if description is not None and description[3] is not None:
                checks = registers.get("c")
                yield {**description[3], "Checks": checks[3] if checks and checks[3] is not None else []}


def merge(catalog: Catalog, event: HealthEvent) -> Catalog:
    """`catalog` after `event`; the same object if the event says nothing new."""
    before = catalog.sources.get(event.source) or {"floor": None, "instances": {}}
    after = _merge_source(before, event)
    if after == before:
        return catalog
    changed = list(_visible(before)) != list(_visible(after))
    return Catalog(catalog.revision + changed, {**catalog.sources, event.source: after})


def _merge_source(source: Body, event: HealthEvent) -> Body:
    rank = 0 if event.full else 1
    floor = source["floor"]
    instances = {node: dict(ids) for node, ids in source["instances"].items()}
    if event.full and (floor is None or [event.epoch, event.index] > floor):
        floor = [event.epoch, event.index]
    for statement in event.statements:
        registers = dict(instances.get(statement.node, {}).get(statement.id, {}))
        stamp = [event.epoch, event.index, rank]
        if not event.checks_only:
            _write(registers, "d", [*stamp, statement.description])
        if statement.checks is not None or statement.description is None:
            _write(registers, "c", [*stamp, statement.checks])
        instances.setdefault(statement.node, {})[statement.id] = registers
    return {"floor": floor, "instances": _above(floor, instances)}


def _write(registers: Body, name: str, new: Register) -> None:
    old = registers.get(name)
    if old is None or _greater(new, old):
        registers[name] = new


def _greater(one: Register, other: Register) -> bool:
    if one[:3] != other[:3]:
        return bool(one[:3] > other[:3])
    if one[3] is None or other[3] is None:
        return one[3] is not None and other[3] is None
    return canonical(one[3]) > canonical(other[3])


def _above(floor: list[int] | None, instances: dict[str, Body]) -> dict[str, Body]:
    """`instances` without the registers that the floor's "gone" outranks: [epoch, index, 0, null] in its place."""
    if floor is None:
        return instances
    gone: Register = [*floor, 0, None]
    out: dict[str, Body] = {}
    for node, ids in instances.items():
        for id_, registers in ids.items():
            kept = {name: value for name, value in registers.items() if _greater(value, gone)}
            if kept:
                out.setdefault(node, {})[id_] = kept
    return out


def catalog_json(catalog: Catalog) -> Body:
    """`catalog` as plain JSON values; `read_catalog` is its inverse."""
    return {"revision": catalog.revision, "sources": catalog.sources}


def read_catalog(body: Mapping[str, Any]) -> Catalog:
    """The catalog that `catalog_json` wrote."""
    return Catalog(body["revision"], body["sources"])
