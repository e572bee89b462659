"""Writes that sources are silent, and settles what that moves (docs/architecture.md, "Leases")."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pointsman.model.cause import by_lapse
from pointsman.model.keys import is_paths_key
from pointsman.model.lease import Lease, Place, heard_again, published_again, silenced
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.config import Root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.load import readers_of
from pointsman.pipeline.renewals import read_lease_object
from pointsman.pipeline.rosters import remote_jobs
from pointsman.pipeline.settle import Settled, settle
from pointsman.pipeline.silences import swap_silences
from pointsman.store import keys


@dataclass(frozen=True, slots=True)
class Lapsed:
    """What was written: the leases of the sources that are silent now, and of those that are silent no more; and the
    heads that were settled for it."""

    silent: tuple[Lease, ...]
    heard: tuple[Lease, ...]
    settled: Settled


def lapse(engine: Engine, seen: Mapping[str, Place], heard: Iterable[Lease] = ()) -> Lapsed:
    """Write that the sources of the leases under the keys of `seen` are silent, and that those of `heard` are not, and
    settle every head that reads what they say.

    `seen` has where each was last heard, as the caller saw it for a whole lease. A source that was heard since is left
    out. The lease is read once more after the write: if its source was heard in between, the write is taken back,
    because the renewal may not have seen it. Doing it again changes nothing, and sends the notices again that a crash
    may have kept back. Raises StoreError.
    """
    leases = _still(engine, seen)
    swap_silences(engine, leases.values(), partial(silenced, since=engine.now()))
    after = _read(engine, list(leases))
    back = [lease for key, lease in after.items() if lease is not None and lease.heard != leases[key].heard]
    back += heard
    swap_silences(engine, back, heard_again)
    engine.refresh()
    concerned = [*leases.values(), *heard]
    cause = by_lapse(tuple(leases.values()), tuple(heard))
    settled = settle(
        engine,
        lambda root: {key: job for lease in concerned for key, job in readers_of_lease(engine, root, lease).items()},
        why=lambda key: cause,
    )
    if news := settled.notices():
        engine.notify(news)
    swap_silences(engine, back, published_again)
    still = {(lease.source, lease.datacenter) for lease in back}
    silent = tuple(lease for lease in leases.values() if (lease.source, lease.datacenter) not in still)
    return Lapsed(silent, tuple(heard), settled)


def _still(engine: Engine, seen: Mapping[str, Place]) -> dict[str, Lease]:
    """The leases under these keys whose sources were not heard since."""
    return {
        key: lease
        for key, lease in sorted(_read(engine, list(seen)).items())
        if lease and lease.lease_ms and lease.heard == seen[key]
    }


def _read(engine: Engine, wanted: Sequence[str]) -> dict[str, Lease | None]:
    found, now = engine.store.get_many(wanted), engine.now()
    return {key: read_lease_object(stored, now).lease for key, stored in found.items()}


def readers_of_lease(engine: Engine, root: Root, lease: Lease) -> Mapping[str, PlanEntry]:
    """The plans of `root` in scope whose choice may depend on whether the source of `lease` is silent."""
    catalogs: Iterable[str]
    if lease.catalogs is None:
        listed = engine.store.list(f"{keys.CATALOG}{lease.datacenter}/")
        catalogs = [keys.source_of(each.key) for each in listed]
    else:
        catalogs = lease.catalogs
    jobs: dict[str, PlanEntry] = {}
    for catalog in catalogs:
        jobs |= readers_of(engine.objects, root, catalog)
        if is_paths_key(catalog):
            jobs |= remote_jobs(engine, root, lease.datacenter)
    return engine.scope.of({key: job for key, job in jobs.items() if lease.datacenter in job.plan.silences()})
