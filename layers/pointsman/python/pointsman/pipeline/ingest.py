"""Ingest: one health event, from the catalog to the published heads."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from pointsman.model.catalog import catalog_json, merge, vanished
from pointsman.model.errors import InvalidInput
from pointsman.model.events import HealthEvent
from pointsman.model.index_doubt import index_doubt
from pointsman.model.keys import gateways_key, service_key
from pointsman.model.stale import Stale, stale
from pointsman.model.stored import NewerSchema
from pointsman.pipeline.config import PlanEntry, Root, read_config_head
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.load import readers_of
from pointsman.pipeline.manifests import moved_manifest
from pointsman.pipeline.moved import Moved, MovedManifest
from pointsman.pipeline.objects import seal
from pointsman.pipeline.rosters import covers, publish_roster, read_roster, remote_job, service_job
from pointsman.pipeline.settle import settle
from pointsman.store import keys
from pointsman.store.protocol import Write

MOST_CATALOG_BYTES: Final = 64 * 1024 * 1024
"""Bytes of the instances of one service in one datacenter, of all sources together."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What one event did.

    `revision` is the catalog's now. `new` says whether the catalog recorded anything of it, `changed` whether what is
    known of the instances changed by it: a list that says the same at a greater index is new and changes nothing.
    `stale` is what of it is outranked by what its source said before, `doubt` what is suspicious about its index.

    All heads that the event touches were recomputed: `moved` are those with a new version, `stood` those that covered
    the event already, `stamped` those that came to the same version from it. `vanished` counts the instances that a
    full list took away, if those were most of what its source had. `failed` are the heads that cannot be computed, each
    with the reason: the event is in the catalog, and they stay as they are until a later event or reconcile can compute
    them. `warnings` say what else people should know, that the store went back for one.
    """

    revision: int
    new: bool
    changed: bool = False
    stale: Stale | None = None
    doubt: str = ""
    moved: list[Moved] = field(default_factory=list)
    stood: list[Moved] = field(default_factory=list)
    stamped: list[Moved] = field(default_factory=list)
    vanished: int = 0
    failed: dict[str, Exception] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def catalog_key(event: HealthEvent) -> str:
    """The catalog that `event` belongs to."""
    if event.service is None:
        return gateways_key(event.datacenter)
    return service_key(event.datacenter, event.service)


def ingest(engine: Engine, event: HealthEvent) -> Ingested:
    """Take `event` in; when this returns, every head that it touches covers it, or cannot, and it may be acknowledged.

    First the catalog is written; only then config head, the plans' other inputs and the current heads are read. An
    event that says nothing new skips its write and none of the rest, so that a redelivery repairs what a crash left.
    Raises StoreUnavailable when the store cannot be reached: run it again. Raises InvalidInput, and nothing was
    changed, when its catalog would be larger than MOST_CATALOG_BYTES.
    """
    done = _record(engine, catalog_key(event), event)

    def rosters(root: Root) -> list[str]:
        return [keys.gateways_manifest(datacenter) for datacenter in _gateways_of(engine, root, event)]

    settled = settle(engine, lambda root: jobs_of(engine, root, event), rosters)
    root = engine.root
    told: list[MovedManifest] = []
    for datacenter in _gateways_of(engine, root, event):
        stored = settled.beside.get(keys.gateways_manifest(datacenter))
        try:
            manifest, _, _ = read_roster(stored, engine.now())
        except NewerSchema as error:
            settled.failed[keys.gateways_manifest(datacenter)] = error
            continue
        if not covers(root, manifest, event.service, event.datacenter):
            published = publish_roster(engine, datacenter)
            settled += published.settled
            told += [published.stands] if published.stands else []
        elif not done.new and stored is not None:
            told.append(moved_manifest(stored.key, stored.data))
    # A crash can have fallen before the notice only if this event was here before.
    if heads := settled.notices(stamped=not done.new):
        engine.notify(heads)
    if told:
        engine.notify(told)
    return replace(
        done,
        moved=settled.moved,
        stood=settled.stood,
        stamped=settled.stamped,
        failed=settled.failed,
        warnings=tuple(settled.warnings),
    )


def jobs_of(engine: Engine, root: Root, event: HealthEvent) -> dict[str, PlanEntry]:
    """The plans of `root` in scope that read what `event` is about."""
    jobs = dict(readers_of(engine.objects, root, catalog_key(event)))
    if event.service is not None:
        extra = [service_job(root, event.datacenter, event.service)]
    else:
        extra = [remote_job(root, datacenter, event.datacenter) for datacenter in root.gateways]
    return engine.scope.of(jobs | {job.plan.key: job for job in extra if job is not None})


def _gateways_of(engine: Engine, root: Root, event: HealthEvent) -> list[str]:
    """The datacenters whose gateways have to know the event's service, or its datacenter."""
    if event.service is not None:
        found = [event.datacenter] if service_job(root, event.datacenter, event.service) else []
    else:
        found = [datacenter for datacenter in root.gateways if datacenter != event.datacenter]
    return engine.scope.keys(found)


def _record(engine: Engine, key: str, event: HealthEvent) -> Ingested:
    """What the event did to its catalog, durably; no head is computed yet."""
    for _ in range(ATTEMPTS):
        read = engine.store.get_many([keys.catalog(key), keys.CONFIG_HEAD])
        engine.take(read_config_head(read.get(keys.CONFIG_HEAD)))
        reading = engine.readings.read(key, read.get(keys.catalog(key)))
        before, merged = reading.catalog, merge(reading.catalog, event)
        outranked = stale(merged, event)
        doubt = index_doubt(before, event, datetime.fromisoformat(engine.now()))
        if merged is before and reading.etag is not None:
            return Ingested(merged.revision, new=False, stale=outranked, doubt=doubt)
        serial = reading.serial + 1
        data = seal(catalog_json(merged), serial, engine.nonce())
        stored = read.get(keys.catalog(key))
        if len(data) > max(MOST_CATALOG_BYTES, len(stored.data) if stored else 0):
            reason = f"with this event its catalog {key} is larger than {MOST_CATALOG_BYTES} bytes; nothing was changed"
            raise InvalidInput.single(f'event of "{event.source}"', "", f"{reason}; remove instances from it first")
        written = engine.store.put(Write(keys.catalog(key), data, reading.etag))
        if written.etag is not None:
            engine.readings.keep(key, merged, serial, written.etag)
            return Ingested(
                merged.revision,
                new=True,
                changed=merged.revision > before.revision,
                stale=outranked,
                doubt=doubt,
                vanished=vanished(before, merged, event.source) if event.full else 0,
            )
    raise Contended(f"the catalog {key} is contended; run the event again")
