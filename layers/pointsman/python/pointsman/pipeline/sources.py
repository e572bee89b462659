"""The sources of health in a store: of what each tells, and how one that is gone is forgotten."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.events import HealthEvent, parse_event
from pointsman.model.keys import datacenter_of, is_gateways_key, service_in
from pointsman.model.stored import LARGEST
from pointsman.model.trouble import Trouble
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.heard import SourceStatus, sources
from pointsman.pipeline.ingest import Ingested, ingest_all
from pointsman.pipeline.settle import BATCH
from pointsman.pipeline.troubles import forget_trouble, troubles
from pointsman.store import keys

FORGOTTEN_AT_ONCE: Final = 100
"""Instances that one pass removes."""

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Told:
    """One instance of which a source tells: in the catalog under `catalog`, and the greatest epoch and index of what
    the source stated of it."""

    catalog: str
    node: str
    id: str
    place: Place


@dataclass(frozen=True, slots=True)
class KnownSource:
    """A source and what it tells of in one datacenter. `lease` is None for one without a lease; `troubles` is what was
    wrong with what it sent within the last day."""

    source: str
    datacenter: str
    told: tuple[Told, ...]
    lease: SourceStatus | None
    troubles: tuple[Trouble, ...] = ()

    @property
    def catalogs(self) -> dict[str, int]:
        """Of how many instances it tells, by catalog."""
        found: dict[str, int] = {}
        for each in self.told:
            found[each.catalog] = found.get(each.catalog, 0) + 1
        return found

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "source": self.source,
            "datacenter": self.datacenter,
            "instances": len(self.told),
            "catalogs": self.catalogs,
            "lease": None if self.lease is None else self.lease.json(),
            "troubles": [each.json() for each in self.troubles],
        }


def known_sources(engine: Engine, datacenter: str = "") -> list[KnownSource]:
    """All sources, or those of one datacenter, that have instances or a lease, by datacenter and name.

    Reads every catalog. Raises StoreError, also for a damaged one.
    """
    told: dict[tuple[str, str], list[Told]] = {}
    prefix = keys.catalog(f"{datacenter}/" if datacenter else "")
    names = [each.key for each in engine.store.list(prefix)]
    for start in range(0, len(names), BATCH):
        for key, stored in engine.store.get_many(names[start : start + BATCH]).items():
            catalog_key = key.removeprefix(keys.CATALOG)
            catalog = engine.readings.read(catalog_key, stored).catalog
            for source, body in catalog.sources.items():
                told.setdefault((datacenter_of(catalog_key), source), []).extend(_told(catalog_key, body))
    leases = {(each.datacenter, each.source): each for each in sources(engine)}
    met: dict[tuple[str, str], list[Trouble]] = {}
    for each in troubles(engine):
        met.setdefault((each.datacenter, each.source), []).append(each)
    wanted = {each for each, some in told.items() if some} | leases.keys()
    return [
        KnownSource(
            source,
            where,
            tuple(told.get((where, source), ())),
            leases.get((where, source)),
            tuple(met.get((where, source), ())),
        )
        for where, source in sorted(wanted)
        if datacenter in ("", where)
    ]


def _told(catalog: str, body: Mapping[str, Any]) -> Iterator[Told]:
    for node, ids in sorted(body["instances"].items()):
        for id_, registers in sorted(ids.items()):
            if registers.get("d", [0, 0, 0, None])[3] is not None:
                places = [(each[0], each[1]) for name, each in registers.items() if name in ("d", "c")]
                yield Told(catalog, node, id_, max(places))


class NoSuchSource(InvalidInput):
    """A source that tells of nothing, and has no lease."""


def find_source(engine: Engine, source: str, datacenter: str) -> KnownSource:
    """The source of that name. Raises NoSuchSource, or InvalidInput if there are several and no `datacenter`."""
    found = [each for each in known_sources(engine, datacenter) if each.source == source]
    if not found:
        where = f" in {datacenter}" if datacenter else ""
        reason = f"tells of nothing{where}, and has no lease; `pointsman source list` shows those that are known"
        raise NoSuchSource([Problem(f'source "{source[:80]}"', "", reason)])
    if len(found) > 1:
        reason = f"is required: it tells of {', '.join(each.datacenter for each in found[:10])}"
        raise InvalidInput.single(f'source "{source[:80]}"', "dc", reason)
    return found[0]


def forget(engine: Engine, source: KnownSource) -> list[Ingested]:
    """Take away all instances of which `source` tells, then its lease, as if it had said so itself.

    Each instance is removed at the place after its last statement, so what the source says later counts. Raises
    StoreError, or the first error that kept an event from being taken in; then it can be repeated.
    """
    done: list[Ingested] = []
    events = [_removal(source, each) for each in source.told]
    if source.lease is not None:
        events.append(_end_of_lease(source, source.lease))
    for start in range(0, len(events), FORGOTTEN_AT_ONCE):
        for outcome in ingest_all(engine, events[start : start + FORGOTTEN_AT_ONCE]):
            if isinstance(outcome, Exception):
                raise outcome
            done.append(outcome)
    forget_trouble(engine, source.datacenter, source.source)
    return done


def _removal(source: KnownSource, told: Told) -> HealthEvent:
    service = service_in(told.catalog)
    of: dict[str, Any] = (
        {"Kind": "mesh-gateway"}
        if service is None and is_gateways_key(told.catalog)
        else {"Namespace": service.namespace, "Service": service.name}
        if service is not None
        else {}
    )
    return _event(source, told.place, of | {"Removed": {"Node": told.node, "ID": told.id}})


def _end_of_lease(source: KnownSource, lease: SourceStatus) -> HealthEvent:
    return _event(source, (lease.epoch, lease.index), {"Lease": "0s"}, "Source Alive")


def _event(
    source: KnownSource, place: Place, detail: Mapping[str, Any], kind: str = "Instance Health Changed"
) -> HealthEvent:
    epoch, index = place if place[1] < LARGEST else (place[0] + 1, -1)
    said = {"Source": source.source, "Epoch": epoch, "Index": index + 1, "Datacenter": source.datacenter}
    return parse_event({"detail-type": kind, "detail": said | dict(detail)})


def moved(done: Sequence[Ingested]) -> list[str]:
    """The keys of the clusters that moved, each once."""
    return sorted({each.plan_key for outcome in done for each in outcome.moved})
