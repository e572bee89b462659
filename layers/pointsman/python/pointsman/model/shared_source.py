"""Finds out that two producers use the name of one source.

Two rules, each of which no restart and no redelivery meets:

- *One index, two statements.* A producer uses an index once. If the same source states two different things of the same
  instances under the same `Epoch` and `Index`, two producers count for themselves.
- *Back and forth.* A producer may say who it is (`Sender`), anew at each start. Once another sender took over, the
  earlier one is gone; if it speaks again with an index that is greater than the other's, both are there. (What it said
  before, and comes late, has a smaller index.)
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pointsman.model.catalog import NO_SOURCE, Catalog, stated

if TYPE_CHECKING:
    from pointsman.model.events import HealthEvent
    from pointsman.model.lease import Lease

_WAY_OUT = "give each its own Source"


def contradiction(before: Catalog, event: "HealthEvent") -> str:
    """What `event` states otherwise than its source did under the same index, according to the catalog `before`, as a
    sentence; "" if nothing."""
    if event.moment is not None or event.is_alive:
        return ""  # ECS counts by task, and nobody else uses its names
    first = next(_contradicted(before.sources.get(event.source) or NO_SOURCE, event), None)
    if first is None:
        return ""
    return (
        f'"{event.source}" stated two different things of "{first[1]}" on node "{first[0]}" under epoch '
        f"{event.epoch}, index {event.index}: do two producers use this name? Then {_WAY_OUT}; one that is alone has "
        "to use each index once"
    )


def _contradicted(source: Mapping[str, Any], event: "HealthEvent") -> Iterator[tuple[str, str]]:
    place = [event.epoch, event.index, event.rank]
    instances: Mapping[str, Any] = source["instances"]
    for statement in event.statements:
        known = instances.get(statement.node, {}).get(statement.id)
        if known is None:
            # A list under this index was there already, and did not have it.
            if event.full and source["floor"] == place[:2]:
                yield statement.node, statement.id
            continue
        for name, said in stated(event, statement):
            was = known.get(name)
            # That it is gone, and that it is there, may be two steps of one act; and no checks are as good as none.
            if was is not None and was[:3] == place and was[3] and said[3] and was[3] != said[3]:
                yield statement.node, statement.id
    if event.states_absence:
        said_of = event.left_out | {(statement.node, statement.id) for statement in event.statements}
        for node, ids in instances.items():
            for id_, registers in ids.items():
                there = registers.get("d")
                if there is not None and there[3] is not None and there[:3] == place and (node, id_) not in said_of:
                    yield node, id_


def back_and_forth(lease: "Lease | None", event: "HealthEvent") -> str:
    """That the sender of `event` was replaced by another one before, according to the lease of its source, as a
    sentence; "" if it was not."""
    if lease is None or (event.epoch, event.index) <= lease.heard or event.sender not in lease.replaced:
        return ""
    return (
        f'"{event.source}" is the name of two producers: "{event.sender}" speaks again after "{lease.sender}" took '
        f"over; {_WAY_OUT}, or end one of them"
    )
