"""Reads from the store what is shown of now."""

from collections.abc import Iterable, Mapping
from itertools import islice

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.measured import Instances
from pointsman.model.keys import datacenter_of, paths_key, service_in
from pointsman.model.names import ServiceName
from pointsman.overview.now import Gateways, Now, ResolverNow, gateways_on, resolver_now, trouble_of, worst_first
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.config import Config, ConfigHead, load_root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.findings import find
from pointsman.pipeline.heard import sources
from pointsman.pipeline.inputs import InputReadings
from pointsman.pipeline.known import known_names
from pointsman.pipeline.load import readers_of
from pointsman.pipeline.orders import read_orders_object
from pointsman.pipeline.settle import BATCH
from pointsman.pipeline.troubles import troubles
from pointsman.store import keys
from pointsman.store.protocol import StoreError, StoreUnavailable


def read_now(engine: Engine, service: ServiceName | None = None, datacenter: str = "") -> Now:
    """What is true now, of all services or one, as all sidecars see it or those of one datacenter.

    Of one service it is also compared with what it is computed from, and there are no findings. Raises InvalidInput if
    nothing names the service or the datacenter, and StoreError.
    """
    head = engine.refresh()
    config = engine.config(load_root(engine.objects, head.root))
    plans = {
        key: each
        for key, each in sidecar_plans(engine, config, service).items()
        if datacenter in ("", each.plan.datacenter)
    }
    if not plans and (service or datacenter):
        known = known_names(engine, config)
        if service:
            known.check_service(f'service "{service.name}"', service)
        if datacenter:
            known.check_datacenter("status", "dc", datacenter)
    found: list[ResolverNow] = []
    gateways = _Gateways(engine)
    left = iter(plans.items())
    while some := dict(islice(left, BATCH)):
        found += _resolvers(engine, head, some, gateways, thorough=service is not None)
    told, met = sources(engine), troubles(engine)
    silent = [(each.datacenter, each.source, each.silent_since) for each in told if each.silent_since]
    return Now(
        config.root.trust_domain,
        head.generation,
        head.propagated,
        engine.scope.datacenters,
        engine.notices_beside(head),
        worst_first(found),
        told,
        tuple(read_orders_object(engine.store.get(keys.ORDERS)).orders),
        met,
        find(engine, config, silent, met) if service is None else (),
    )


def sidecar_plans(engine: Engine, config: Config, service: ServiceName | None = None) -> dict[str, PlanEntry]:
    """The plans in scope that the sidecars use: all, or those of one service."""
    found: Mapping[str, PlanEntry] = config.plans
    if service is not None:
        about = sorted(key for key in config.index.keys_alone() if service_in(key) == service)
        found = {key: each for source in about for key, each in readers_of(engine.objects, config.root, source).items()}
    return {
        key: each
        for key, each in sorted(engine.scope.of(found).items())
        if isinstance(each.plan, SidecarPlan) and service in (None, each.plan.targets[0].target.name)
    }


def _resolvers(
    engine: Engine, head: ConfigHead, some: Mapping[str, PlanEntry], gateways: "_Gateways", *, thorough: bool
) -> Iterable[ResolverNow]:
    plans = {key: each.plan for key, each in some.items() if isinstance(each.plan, SidecarPlan)}
    wanted = list(map(keys.snapshot, some))
    if thorough:
        wanted += sorted({keys.catalog(source) for plan in plans.values() for source in plan.inputs()})
        wanted += sorted({keys.silence(each) for plan in plans.values() for each in plan.silences()})
        wanted.append(keys.ORDERS)
    stored = engine.store.get_many(wanted)
    read, now = InputReadings(engine, stored), engine.now()
    for key, plan in plans.items():
        generation = some[key].generation
        reading = engine.heads.read(key, stored.get(keys.snapshot(key)), now)
        snapshot = reading.snapshot
        trouble, revisions = "", None
        if snapshot is not None and not reading.data:
            snapshot = None
            trouble = "its snapshot is damaged: run `pointsman reconcile`; Envoys keep what they have until then"
        elif thorough:
            try:
                revisions = read.of(plan.inputs(), plan.silences(), plan.orders).revisions
            except StoreUnavailable:
                raise
            except StoreError as error:
                trouble = f"cannot be computed: {error}"
        trouble = trouble or trouble_of(snapshot, generation, head, revisions)
        usable = snapshot if snapshot is not None and not snapshot.retired else None
        yield resolver_now(plan, generation, usable, gateways.on, trouble=trouble)


class _Gateways:
    """The mesh gateways on ways from a datacenter to another, each way looked at once: all services share them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._of: dict[str, Instances] = {}
        self._on: dict[tuple[tuple[str, ...], str], tuple[Gateways, ...]] = {}

    def on(self, way: tuple[str, ...], datacenter: str) -> tuple[Gateways, ...]:
        """Those on a `way` from `datacenter`, which is keys of catalogs."""
        if not way:
            return ()
        if (way, datacenter) not in self._on:
            instances = dict(self._read(paths_key(datacenter)))
            for key in way:
                instances |= self._read(key)
            self._on[way, datacenter] = gateways_on(way, datacenter, instances)
        return self._on[way, datacenter]

    def _read(self, source: str) -> Instances:
        if source not in self._of:
            where = datacenter_of(source)
            stored = self._engine.store.get_many([keys.catalog(source), keys.silence(where)])
            try:
                self._of[source] = InputReadings(self._engine, stored).of([source], [where]).instances()
            except StoreUnavailable:
                raise
            except StoreError:
                self._of[source] = {}  # what is damaged is told of where it is computed with
        return self._of[source]
