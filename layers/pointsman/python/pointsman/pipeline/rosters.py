"""Rosters: what the mesh gateways of a datacenter forward to, which grows with the catalogs."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from pointsman.chain.plan import GatewayRemotePlan, GatewayServicePlan, PlanTarget
from pointsman.model.era import Era
from pointsman.model.errors import PointsmanError
from pointsman.model.keys import (
    PATHS,
    cluster_of,
    datacenter_of,
    gateway_plan_key,
    is_gateway_plan_key,
    is_gateways_key,
    service_in,
)
from pointsman.model.names import ServiceName, Target
from pointsman.model.stored import NewerSchema
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.config import Config, Root
from pointsman.pipeline.config_head import Behind, WentBack, raise_above, raise_epoch
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.manifests import moved_manifest
from pointsman.pipeline.moved import MovedManifest
from pointsman.pipeline.objects import seal
from pointsman.pipeline.settle import Settled, settle
from pointsman.store import keys
from pointsman.store.protocol import Write
from pointsman.xds.manifest import GatewaysManifest, manifest_json

MOST_PASSED_ON = 10_000
"""Services, and other datacenters, that the mesh gateways of one datacenter forward to.

Both only grow: a catalog is never deleted, because it has to recognize late statements about its instances.
"""


class RosterFull(PointsmanError):
    """The gateways of a datacenter cannot forward to another cluster, because they already forward to too many."""

    def __init__(self, datacenter: str, cluster: str) -> None:
        super().__init__(
            f"the mesh gateways of {datacenter} do not forward to {cluster}: they already forward to "
            f"{MOST_PASSED_ON:,} services or datacenters; split the mesh, or start with a new store"
        )


def service_job(root: Root, datacenter: str, service: ServiceName) -> PlanEntry | None:
    """The plan of a service for the gateways of its datacenter; None if there are none."""
    if datacenter not in root.gateways or service.namespace not in root.namespaces or service == PATHS:
        return None
    generation = max(root.gateways[datacenter], root.namespaces[service.namespace])
    target = Target(service.name, "", service.namespace, datacenter)
    return PlanEntry(GatewayServicePlan(PlanTarget(target)), generation)


def remote_job(root: Root, datacenter: str, remote: str) -> PlanEntry | None:
    """The plan of another datacenter's gateways for those of `datacenter`; None if there are none."""
    if datacenter not in root.gateways or remote == datacenter:
        return None
    return PlanEntry(GatewayRemotePlan(datacenter, remote), root.gateways[datacenter])


def remote_jobs(engine: Engine, root: Root, datacenter: str) -> dict[str, PlanEntry]:
    """The plans of all other datacenters' gateways that the roster of `datacenter` names, by key: those that change
    with how they are reached from there. Raises StoreUnavailable."""
    if datacenter not in root.gateways:
        return {}
    try:
        roster = engine.rosters.read(engine.store.get(keys.gateways_manifest(datacenter)), engine.now())
    except NewerSchema:
        return {}
    return _remote(root, datacenter=datacenter, remotes=roster.manifest.datacenters if roster.manifest else ())


@dataclass(slots=True)
class PublishedRoster:
    """A roster as it is now (None: none is needed), whether it changed just now, and what was settled for it."""

    stands: MovedManifest | None = None
    changed: bool = False
    settled: Settled = field(default_factory=Settled)


def publish_roster(
    engine: Engine, datacenter: str, since: int | None = None, new: "Appeared | None" = None
) -> PublishedRoster:
    """Bring the roster of a datacenter up to the config and the catalogs, its heads first.

    With `new`, only up to these: what else the roster names stays, and the store is neither listed nor the config read.
    That is enough for an event, because a change of config publishes rosters itself, and everything that appeared
    earlier came with an event of its own.

    Heads that it newly names are settled before. With `since`, so are those that gateways have for a service or another
    datacenter since a later generation: if it already names them, a crash or a lost notice may have kept them from
    followers.
    """
    out = PublishedRoster()
    fresh: set[str] = set()
    name = keys.gateways_manifest(datacenter)
    for _ in range(ATTEMPTS):
        stored = engine.store.get_many([keys.CONFIG_HEAD, name])
        head = engine.look(stored.get(keys.CONFIG_HEAD))
        root = engine.root
        try:
            roster = engine.rosters.read(stored.get(name), engine.now())
            old, serial, etag = roster.manifest, roster.serial, roster.etag
            if old is not None and old.at > head.at:
                # Config head and roster were read at two moments: another writer has a newer config, or the store went
                # back.
                out.settled.warnings += filter(None, [raise_above(engine, old.at, name)])
                continue
        except (NewerSchema, WentBack) as error:
            out.settled.failed[name] = error
            return out
        if datacenter not in root.gateways:
            wanted = _ended(old, root, head.era)
        else:
            if new is not None and old is not None and not old.retired and old.era == head.era:
                wanted, left_out = _grown(root, datacenter, old, new)
            else:
                appeared = _appeared(engine, datacenter)
                if old is not None and old.era == head.era and (gone := appeared.vanished(old)):
                    # The roster was read before the catalogs were listed, and no catalog is ever deleted.
                    why = f"it names {gone}, of which there is no catalog any more"
                    out.settled.warnings += filter(None, [raise_epoch(engine, [Behind(name, why, head.era.epoch)])])
                    continue
                wanted, left_out = _current(engine, root, datacenter, era=head.era, old=old, appeared=appeared)
            for cluster in left_out:
                out.settled.failed[gateway_plan_key(datacenter, cluster)] = RosterFull(datacenter, cluster)
            known = old if old is not None and not old.retired else None
            out.settled += settle(engine, _jobs(engine, datacenter, wanted, known=known, since=since))
            wanted = _nameable(wanted, old, datacenter, out.settled.absent)
        if engine.root is not root:
            # The heads were settled for a newer config than the roster was made for: it might name too many.
            continue
        if wanted == old:
            if fresh:
                # Who told how they are reached may have read the roster before it named them.
                jobs = partial(_remote, datacenter=datacenter, remotes=fresh)
                out.settled = out.settled.then(settle(engine, jobs))
            there = stored.get(name)
            out.stands = moved_manifest(name, there.data) if there is not None and old is not None else None
            return out
        assert wanted is not None
        fresh |= set(wanted.datacenters) - set(old.datacenters if old else ())
        # Even a write that won is checked once more: if the config changed just before it, its writer may have found
        # nothing to change.
        write = Write(name, seal(manifest_json(wanted), serial + 1, engine.nonce()), etag)
        out.changed |= engine.store.put(write).etag is not None
    raise Contended(f"the manifest of the gateways of {datacenter} is contended; run the event again")


def _remote(root: Root, *, datacenter: str, remotes: Iterable[str]) -> dict[str, PlanEntry]:
    found = [remote_job(root, datacenter, each) for each in sorted(remotes)]
    return {job.plan.key: job for job in found if job is not None}


def _ended(old: GatewaysManifest | None, root: Root, era: Era) -> GatewaysManifest | None:
    if old is None or old.retired:
        return old
    return GatewaysManifest(root.generation, old.trust_domain, (), old.services, old.datacenters, True, era)


def _grown(root: Root, datacenter: str, old: GatewaysManifest, new: "Appeared") -> tuple[GatewaysManifest, list[str]]:
    """`old` with what is new, and the clusters that it has no room for."""
    unknown = sorted(new.services - set(old.services))
    jobs = {each: service_job(root, datacenter, ServiceName.of(each)) for each in unknown}
    services = {each: job.plan.cluster_id for each, job in jobs.items() if job is not None}
    remotes = sorted(new.datacenters - set(old.datacenters))
    named = list(services)[: max(0, MOST_PASSED_ON - len(old.services))]
    known = remotes[: max(0, MOST_PASSED_ON - len(old.datacenters))]
    left_out = [services[each] for each in services if each not in named] + remotes[len(known) :]
    if not named and not known:
        return old, left_out
    return replace(
        old,
        generation=root.generation,
        clusters=tuple(sorted({*old.clusters, *(services[each] for each in named), *known})),
        services=tuple(sorted({*old.services, *named})),
        datacenters=tuple(sorted({*old.datacenters, *known})),
    ), left_out


def _current(
    engine: Engine, root: Root, datacenter: str, *, era: Era, old: GatewaysManifest | None, appeared: "Appeared"
) -> tuple[GatewaysManifest, list[str]]:
    """The roster for the config and the catalogs, and the clusters that it has no room for."""
    jobs = {service: service_job(root, datacenter, ServiceName.of(service)) for service in appeared.services}
    services = {service: job.plan.cluster_id for service, job in jobs.items() if job is not None}
    named = _most(services, old.services if old else ())
    remotes = _most(appeared.datacenters, old.datacenters if old else ())
    left_out = [services[each] for each in sorted(services.keys() - named)] + sorted(appeared.datacenters - remotes)
    clusters = {*_static_clusters(engine.config(root), datacenter), *(services[each] for each in named), *remotes}
    new = GatewaysManifest(
        generation=root.generation,
        trust_domain=root.trust_domain,
        clusters=tuple(sorted(clusters)),
        services=tuple(sorted(named)),
        datacenters=tuple(sorted(remotes)),
        era=era,
    )
    return (old if old is not None and replace(old, generation=new.generation) == new else new), left_out


def _most(names: Iterable[str], first: Iterable[str]) -> set[str]:
    """At most MOST_PASSED_ON of `names`, those in `first` before the others."""
    known = set(first)
    return set(sorted(names, key=lambda name: (name not in known, name))[:MOST_PASSED_ON])


def _nameable(
    new: GatewaysManifest, old: GatewaysManifest | None, datacenter: str, absent: Container[str]
) -> GatewaysManifest:
    """`new` without clusters that have no head."""
    if new is old or not any(gateway_plan_key(datacenter, cluster) in absent for cluster in new.clusters):
        return new
    services = {name: _service_cluster(datacenter, name) for name in new.services}
    left = replace(
        new,
        clusters=tuple(each for each in new.clusters if gateway_plan_key(datacenter, each) not in absent),
        services=tuple(
            name for name, cluster in services.items() if gateway_plan_key(datacenter, cluster) not in absent
        ),
        datacenters=tuple(each for each in new.datacenters if gateway_plan_key(datacenter, each) not in absent),
    )
    return old if old is not None and replace(old, generation=left.generation) == left else left


def _service_cluster(datacenter: str, service: str) -> str:
    name = ServiceName.of(service)
    return Target(name.name, "", name.namespace, datacenter).id


def _static_clusters(config: Config, datacenter: str) -> set[str]:
    """The clusters that the gateways have because of the config alone."""
    return {cluster_of(key) for key in config.plans.keys_alone() if is_gateway_plan_key(key, datacenter)}


@dataclass(frozen=True, slots=True)
class Appeared:
    """What the gateways of a datacenter could forward to: its `services` with a catalog, as `namespace/name`, and the
    other `datacenters` whose gateways have one."""

    services: set[str]
    datacenters: set[str]

    def vanished(self, roster: GatewaysManifest) -> str:
        """The first service or datacenter of `roster` without a catalog; "" if all have one."""
        gone = [*(set(roster.services) - self.services), *(set(roster.datacenters) - self.datacenters)]
        return min(gone, default="")


def _appeared(engine: Engine, datacenter: str) -> Appeared:
    """The services and datacenters with a catalog; catalogs are never deleted."""
    services: set[str] = set()
    remotes: set[str] = set()
    for listed in engine.store.list(keys.CATALOG):
        source = keys.source_of(listed.key)
        where, service = datacenter_of(source), service_in(source)
        if is_gateways_key(source):
            remotes |= {where} - {datacenter}
        elif where == datacenter and service is not None:
            services.add(str(service))
    return Appeared(services, remotes)


def _jobs(
    engine: Engine, datacenter: str, roster: GatewaysManifest, *, known: GatewaysManifest | None, since: int | None
) -> Callable[[Root], Mapping[str, PlanEntry]]:
    """The plans that `roster` names and `known` does not, and with `since` those of appeared things that came later."""
    clusters = set(roster.clusters) - set(known.clusters if known else ())
    services, datacenters = set(roster.services), set(roster.datacenters)
    if known is not None and since is None:
        services, datacenters = services - set(known.services), datacenters - set(known.datacenters)

    def jobs(root: Root) -> dict[str, PlanEntry]:
        out: dict[str, PlanEntry] = {}
        appeared = [service_job(root, datacenter, ServiceName.of(service)) for service in sorted(services)]
        appeared += [remote_job(root, datacenter, remote) for remote in sorted(datacenters)]
        for job in appeared:
            if job and (job.plan.cluster_id in clusters or (since is not None and job.generation > since)):
                out[job.plan.key] = job
        plans = engine.config(root).plans
        for key in (gateway_plan_key(datacenter, cluster) for cluster in sorted(clusters)):
            if (entry := plans.get(key)) is not None:
                out[key] = entry
        return out

    return jobs
