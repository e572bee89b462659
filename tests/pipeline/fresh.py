"""What a store has to hold in the end, computed afresh from the final config and catalogs alone."""

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import orjson
from pointsman.chain.entryset import EntrySet
from pointsman.chain.plan import Plan, SidecarPlan
from pointsman.failover.ordered import ordered
from pointsman.failover.rank import NO_FACTS, Facts
from pointsman.model.catalog import NO_SOURCE, Catalog, read_catalog
from pointsman.model.events import HealthEvent, Statement
from pointsman.model.instance import Instance
from pointsman.model.keys import datacenter_of, is_gateways_key, service_in
from pointsman.model.lease import Silence, marked, read_silence
from pointsman.model.orders import read_frozen
from pointsman.model.since import MARKS
from pointsman.pipeline.config import Config
from pointsman.pipeline.configure import Batch, configure
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.orders import read_orders_object
from pointsman.pipeline.scope import EVERYWHERE, Scope
from pointsman.store import keys
from pointsman.store.protocol import Stored
from pointsman.xds.gateway_listener import gateway_listener
from pointsman.xds.manifest import manifest_json, read_manifest
from pointsman.xds.rendered import render_gateway, render_sidecar
from pointsman.xds.snapshot import read_snapshot

from tests.pipeline.memory import Connection, MemoryStore
from tests.pipeline.meshes import engine_on

_T = TypeVar("_T")

Published = dict[str, Any]

Delivered = dict[str, tuple[dict[str, bytes], list[bytes]]]
"""By manifest key, clusters with their assignments (by name), and listeners."""


def config_in(store: MemoryStore) -> Config:
    """The config that `store` has accepted."""
    engine = engine_on(Connection(store))
    engine.refresh()
    return engine.config(engine.root)


def catalogs_in(store: MemoryStore) -> dict[str, Catalog]:
    """Every catalog of `store`, by its key."""
    found = store.under("catalog/").items()
    return {key.removeprefix("catalog/"): read_catalog(orjson.loads(stored.data)) for key, stored in found}


def published(store: MemoryStore) -> Published:
    """What `store` publishes, retired things apart: contents of heads by key, manifests without what tells of their
    past. What is damaged and was not mended, since nothing needs it, is not published either."""
    out: Published = {}
    for key, stored in _sound(store, "snapshots/"):
        snapshot = read_snapshot(orjson.loads(stored.data))
        if not snapshot.retired:
            out[key] = snapshot.content
    for key, stored in _sound(store, "manifests/"):
        body = manifest_json(read_manifest(orjson.loads(stored.data)))
        if not body["retired"]:
            out[key] = {
                name: value for name, value in body.items() if name not in ("store", "epoch", "generation", "change")
            }
    return out


def _sound(store: MemoryStore, prefix: str) -> list[tuple[str, Stored]]:
    return [(key, stored) for key, stored in store.under(prefix).items() if key not in store.damaged]


def rebuilt(store: MemoryStore, config: Config | None = None, scope: Scope = EVERYWHERE) -> Published:
    """What an empty store publishes when it gets the final state of `store` at once. `config` is the store's, if the
    caller has it, and `scope` is the store's scope; both also apply to `rendered` and `delivered`."""
    config, catalogs = config or config_in(store), catalogs_in(store)

    def rebuild() -> Published:
        other = MemoryStore()
        engine = engine_on(Connection(other), scope=scope)
        if config.root.digest:
            registrations = list(config.registrations.values())
            configure(engine, Batch(list(config.entries), registrations), trust_domain=config.root.trust_domain)
        other.objects |= {keys.silence(dc): stored for dc, stored in _silences_in(store).items()}
        other.objects |= {key: store.objects[key] for key in _orders_in(store)}
        for key, catalog in sorted(catalogs.items()):
            for source, body in sorted(catalog.sources.items()) or [("nobody", NO_SOURCE)]:
                ingest(engine, _all_of(key, source, list(Catalog(1, {source: body}).visible())))
        return published(other)

    return dict(_computed("rebuilt", store, config, catalogs, scope, rebuild))


def _orders_in(store: MemoryStore) -> list[str]:
    """The keys of the orders, and of the lists of pins that they refer to."""
    found = read_orders_object(store.objects.get(keys.ORDERS)).orders
    lists = [keys.config_object(order.frozen) for order in found if order.frozen]
    return [keys.ORDERS, *lists] if keys.ORDERS in store.objects else []


def facts_in(store: MemoryStore) -> Callable[[Plan], Facts]:
    """What the orders in `store` say of the targets of a plan."""
    found = read_orders_object(store.objects.get(keys.ORDERS)).orders
    frozen = {
        order.frozen: read_frozen(orjson.loads(store.objects[keys.config_object(order.frozen)].data))
        for order in found
        if order.frozen
    }
    return lambda plan: ordered(plan, found.of(plan.orders), frozen) if isinstance(plan, SidecarPlan) else NO_FACTS


def _silences_in(store: MemoryStore) -> dict[str, Stored]:
    """The objects that say which sources are silent, by datacenter."""
    found = store.under(keys.LEASES).items()
    return {keys.datacenter_of(key): stored for key, stored in found if keys.is_silence(key)}


def _computed(
    what: str,
    store: MemoryStore,
    config: Config,
    catalogs: dict[str, Catalog],
    scope: Scope,
    compute: Callable[[], _T],
) -> _T:
    """The result of `compute`, made once for the same config and instances: many tests end in the same state."""
    seen: Any = {
        key: [
            catalog.revision,
            *((source, *Catalog(1, {source: body}).visible()) for source, body in sorted(catalog.sources.items())),
        ]
        for key, catalog in catalogs.items()
    }
    seen = [seen, {dc: stored.data.decode() for dc, stored in _silences_in(store).items()}]
    seen += [store.objects[key].data.decode() for key in _orders_in(store)]
    key = (what, config.root.digest, scope, orjson.dumps(seen, option=orjson.OPT_SORT_KEYS))
    if key not in _memory:
        if len(_memory) == _MOST_REMEMBERED:
            _memory.clear()
        _memory[key] = compute()
    found: _T = _memory[key]
    return found


_MOST_REMEMBERED = 64
_memory: dict[tuple[str, str, Scope, bytes], Any] = {}


def _all_of(key: str, source: str, instances: Sequence[dict[str, Any]]) -> HealthEvent:
    statements = tuple(
        Statement(f"n{number}", str(number), {k: v for k, v in raw.items() if k != "Checks"}, raw["Checks"])
        for number, raw in enumerate(instances)
    )
    return HealthEvent(
        "", "", source, 0, 1, datacenter_of(key), service_in(key), full=True, statements=statements, at=1
    )


def rendered(store: MemoryStore, config: Config | None = None, scope: Scope = EVERYWHERE) -> Delivered:
    """By manifest key, the clusters (with their assignments, by name) and listeners of every registered proxy."""
    config, catalogs = config or config_in(store), catalogs_in(store)
    silences = {
        datacenter: read_silence(orjson.loads(stored.data)) for datacenter, stored in _silences_in(store).items()
    }
    instances = {
        key: marked(_instances(key, catalog), silences.get(datacenter_of(key), Silence()))
        for key, catalog in catalogs.items()
    }
    return dict(
        _computed(
            "rendered", store, config, catalogs, scope, lambda: _rendered(instances, config, scope, facts_in(store))
        )
    )


def _rendered(
    instances: Mapping[str, Sequence[Instance]], config: Config, scope: Scope, facts: Callable[[Plan], Facts]
) -> Delivered:
    passed_on = {key: each for key, each in instances.items() if _exists(config.entries, key)}
    out = {}
    for key in scope.keys(config.registrations):
        registration = config.registrations[key]
        if registration.is_gateway:
            resources = render_gateway(config.entries, registration, passed_on, config.root.trust_domain)
        else:
            resources = render_sidecar(config.entries, registration, instances, config.root.trust_domain, facts)
        clusters = {
            cluster.name: cluster.SerializeToString(deterministic=True) + load.SerializeToString(deterministic=True)
            for cluster, load in zip(resources.clusters, resources.endpoints, strict=True)
        }
        out[key] = (clusters, [each.SerializeToString(deterministic=True) for each in resources.listeners])
    return out


def delivered(store: MemoryStore, config: Config | None = None, scope: Scope = EVERYWHERE) -> Delivered:
    """The same, put together from the manifests and heads of `store`."""
    config, found = config or config_in(store), published(store)
    trust_domain = config.root.trust_domain
    out = {}
    for key in scope.keys(config.registrations):
        registration = config.registrations[key]
        own, datacenter = found[f"manifests/{key}"], registration.datacenter
        if registration.is_gateway:
            shared = found[f"manifests/{datacenter}/gateways"]
            heads = _heads(found, f"{datacenter}/gateway", shared["clusters"], trust_domain)
            place = own["address"], own["port"]
            listener = gateway_listener(place, shared["datacenters"], trust_domain, own["access_log_path"])
            out[key] = heads, [bytes(listener.SerializeToString(deterministic=True))]
        else:
            heads = _heads(found, f"{datacenter}/sidecar", own["clusters"], trust_domain)
            out[key] = heads, [b64decode(each) for each in own["listeners"]]
    return out


def _heads(found: Published, where: str, clusters: Iterable[str], trust_domain: str) -> dict[str, bytes]:
    heads = {each: found[f"snapshots/{where}/{each}"] for each in clusters}
    return {f"{each}.internal.{trust_domain}": head.cluster + head.assignment for each, head in heads.items()}


def _instances(key: str, catalog: Catalog) -> list[Instance]:
    service = service_in(key)
    return catalog.instances(service.name if service else "")


def _exists(entries: EntrySet, key: str) -> bool:
    """Whether gateways pass on what is under the catalog key `key`: services of namespaces that were created."""
    service = service_in(key)
    return is_gateways_key(key) or (service is not None and service.namespace in entries.namespaces())


def unmarked(catalog: Catalog) -> dict[str, Any]:
    """The sources of a catalog without the marks that say since when an instance is healthy."""
    return {
        name: source
        | {
            "instances": {
                node: {
                    id_: {key: value for key, value in registers.items() if key not in MARKS}
                    for id_, registers in ids.items()
                }
                for node, ids in source["instances"].items()
            }
        }
        for name, source in catalog.sources.items()
    }
