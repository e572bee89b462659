"""What a list of ECS tasks says that the catalogs do not know yet (docs/sources.md, "A look at what runs")."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pointsman.model.catalog import Catalog, order_of
from pointsman.model.events import HealthEvent, Statement
from pointsman.model.keys import datacenter_of, service_in
from pointsman.model.lease import Lease
from pointsman.model.sources.reading import Reading, TaskList
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.recording import catalog_key
from pointsman.pipeline.renewals import read_lease_object
from pointsman.pipeline.settle import BATCH
from pointsman.store import keys
from pointsman.store.protocol import StoreError

SETTLED_SECONDS: Final = 300
"""How long before a look a task was last spoken of that is gone because the look did not find it. ECS lists a task that
it just started a little late."""


def expanded(engine: Engine, reading: Reading) -> Reading:
    """`reading` with the events that it comes to here.

    Of a list of tasks these are: a renewal of the lease in each datacenter of which the cluster speaks, the tasks that
    the catalogs do not know at that version, and removals of those that the list does not have and of which nobody
    spoke since SETTLED_SECONDS before the look. Tombstones as old as that end: nothing that was said before brings a
    task back then, and what runs all the same is in the next list. A list that comes after a newer one says nothing.
    Any other reading stays as it is.

    Reads the catalogs that the source has spoken of; where that is unknown, as at the first list, all. Raises
    StoreError.
    """
    if (listed := reading.task_list) is None:
        return reading
    leases = _leases(engine, listed.source)
    if any(each.heard > (0, listed.looked_at) for each in leases.values()):
        late = f"a list of {listed.source} is late: a look that began after it was taken in already"
        return reading._replace(events=(), ignored=(late,))
    datacenters = sorted({*leases, *(event.datacenter for event in reading.events)})
    names = {catalog_key(event) for event in reading.events}
    # A source without a lease was not looked at before, so nobody has noted of which services it speaks.
    for datacenter in datacenters if leases else [""]:
        lease = leases.get(datacenter)
        names |= {*_all(engine, datacenter)} if lease is None or lease.catalogs is None else {*lease.catalogs}
    catalogs = _read(engine, sorted(names))
    events = [_renewal(listed, datacenter) for datacenter in datacenters if listed.lease_ms is not None]
    events += (event for event in reading.events if _is_news(event, catalogs, leases.get(event.datacenter)))
    for key, catalog in catalogs.items():
        events += _gone(listed, key, catalog)
        events += _forgotten(listed, key, catalog)
    return reading._replace(events=tuple(events))


def _leases(engine: Engine, source: str) -> dict[str, Lease]:
    """The leases of `source`, by datacenter."""
    found: dict[str, Lease] = {}
    names = [each.key for each in engine.store.list(keys.LEASES)]
    mine = [name for name in names if name == keys.lease(keys.datacenter_of(name), source)]
    for key, stored in engine.store.get_many(mine).items():
        if (lease := read_lease_object(stored, engine.now()).lease) is not None:
            found[keys.datacenter_of(key)] = lease
    return found


def _all(engine: Engine, datacenter: str) -> Iterator[str]:
    for each in engine.store.list(keys.catalog(f"{datacenter}/" if datacenter else "")):
        yield keys.source_of(each.key)


def _read(engine: Engine, names: Sequence[str]) -> dict[str, Catalog]:
    found: dict[str, Catalog] = {}
    for start in range(0, len(names), BATCH):
        for key, stored in engine.store.get_many([keys.catalog(each) for each in names[start : start + BATCH]]).items():
            name = keys.source_of(key)
            with contextlib.suppress(StoreError):  # a damaged one, which whatever is ingested into it tells of
                found[name] = engine.readings.read(name, stored).catalog
    return found


def _renewal(listed: TaskList, datacenter: str) -> HealthEvent:
    return HealthEvent(
        id="",
        time="",
        source=listed.source,
        epoch=0,
        index=listed.looked_at,
        datacenter=datacenter,
        service=None,
        full=False,
        statements=(),
        lease_ms=listed.lease_ms,
        is_alive=True,
    )


def _is_news(event: HealthEvent, catalogs: Mapping[str, Catalog], lease: Lease | None) -> bool:
    """Whether the catalogs do not know the task at that version, or the lease does not name its catalog yet."""
    key = catalog_key(event)
    is_noted = lease is not None and (lease.catalogs is None or key in lease.catalogs)
    if event.lease_ms is not None and not is_noted:
        return True
    (statement,) = event.statements
    known = _instances(catalogs.get(key), event.source).get(statement.node, {}).get(statement.id, {})
    return max(_places(known), default=(-1, -1)) < (event.epoch, event.index)


def _gone(listed: TaskList, key: str, catalog: Catalog) -> Iterator[HealthEvent]:
    """Removals of the tasks in this catalog that the list does not have.

    Each is at the place after what is known of the task, so the next word of ECS itself outranks it.
    """
    for node, id_, registers in _lacking(listed, catalog):
        if _is_there(registers):
            epoch, index = max(_places(registers))
            gone = (Statement(node, id_, None, None),)
            yield _about(listed, key, gone)._replace(
                epoch=epoch,
                index=index + 1,
                moment=listed.looked_at,
                lease_ms=listed.lease_ms,
            )


def _forgotten(listed: TaskList, key: str, catalog: Catalog) -> Iterator[HealthEvent]:
    """The event by which the tombstones of tasks that the list does not have end."""
    gone = tuple(
        Statement(node, id_, None, None)
        for node, id_, registers in _lacking(listed, catalog)
        if not _is_there(registers)
    )
    if gone:
        yield _about(listed, key, gone)._replace(moment=_settled(listed), forgets=True)


def _lacking(listed: TaskList, catalog: Catalog) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The tasks that the list does not have, and of which nobody spoke of late: node, id and registers."""
    for node, ids in _instances(catalog, listed.source).items():
        for id_, registers in ids.items():
            moments = [order_of(registers[name])[1] for name in ("d", "c") if name in registers]
            if moments and listed.lacks(id_) and max(moments) <= _settled(listed):
                yield node, id_, registers


def _settled(listed: TaskList) -> int:
    return listed.looked_at - SETTLED_SECONDS * 1000


def _is_there(registers: Mapping[str, Any]) -> bool:
    return "d" in registers and registers["d"][3] is not None


def _about(listed: TaskList, key: str, statements: tuple[Statement, ...]) -> HealthEvent:
    return HealthEvent(
        id="",
        time="",
        source=listed.source,
        epoch=0,
        index=0,
        datacenter=datacenter_of(key),
        service=service_in(key),
        full=False,
        statements=statements,
        listed=True,
    )


def _instances(catalog: Catalog | None, source: str) -> Mapping[str, Any]:
    found = catalog.sources.get(source) if catalog is not None else None
    return found["instances"] if found else {}


def _places(registers: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    return ((registers[name][0], registers[name][1]) for name in ("d", "c") if name in registers)
