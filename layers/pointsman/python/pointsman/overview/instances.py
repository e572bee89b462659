"""The instances of a service: how each is, what its checks printed, who said so and when."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from pointsman.failover.health import health_and_weight
from pointsman.model.catalog import Catalog
from pointsman.model.errors import InvalidInput
from pointsman.model.instance import Raw, read_instance
from pointsman.model.keys import datacenter_of, gateways_key, is_gateways_key, service_key
from pointsman.model.lease import Lease, Silence
from pointsman.model.names import GATEWAYS, ServiceName
from pointsman.model.since import since_of
from pointsman.pipeline.config import load_root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.known import known_names
from pointsman.pipeline.renewals import read_lease_object
from pointsman.pipeline.silences import DamagedSilence, read_silence_object
from pointsman.store import keys

SCHEMA: Final = 1
"""The number of the form of what is here as JSON: it grows when a field goes or changes its meaning."""

_WORST_FIRST: Final = ("critical", "warning", "passing")


@dataclass(frozen=True, slots=True)
class CheckView:
    """A check of an instance: `of_node` is whether it is one of its node. `output` is what it printed when its source
    last told of it."""

    id: str
    name: str
    status: str
    output: str
    of_node: bool


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One instance, as its source states it.

    `status` is the worst of its checks. It `counts` if it can get traffic of the mesh at all: it is a sidecar of the
    service, or a mesh gateway. `healthy_since`, and `ill_at`, when the newest statement that it is critical was made,
    are RFC 3339 in UTC, "" if they do not apply or are not known. `epoch` and `index` are those of the newest statement
    about it. `lease_ms` is the lease of its source, 0 without one, which was last heard at `heard_at`, and is silent
    since `silent_since`, "" if it is not.
    """

    datacenter: str
    node: str
    id: str
    address: str
    status: str
    healthy: bool
    counts: bool
    weight: int
    healthy_since: str
    ill_at: str
    checks: tuple[CheckView, ...]
    source: str
    epoch: int
    index: int
    lease_ms: int = 0
    heard_at: str = ""
    silent_since: str = ""


@dataclass(frozen=True, slots=True)
class ServiceInstances:
    """The instances of a service, or of all mesh gateways (`mesh-gateway`): by datacenter, the worst first."""

    service: str
    namespace: str
    instances: tuple[InstanceView, ...]

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "schema": SCHEMA,
            "service": self.service,
            "namespace": self.namespace,
            "instances": [asdict(each) for each in self.instances],
        }


def instances_in(
    datacenter: str, service: str, catalog: Catalog, silence: Silence, leases: Mapping[str, Lease]
) -> list[InstanceView]:
    """The instances of `catalog`, one of `service` ("" for mesh gateways) in `datacenter`, the worst first.

    `silence` has the silent sources there, `leases` those with a lease, by name.
    """
    found = [
        _told(view, leases.get(view.source), silence)
        for source, body in sorted(catalog.sources.items())
        for view in _views(datacenter, service, source, body["instances"])
    ]
    return sorted(found, key=lambda each: (_WORST_FIRST.index(each.status), each.node, each.id))


def _told(view: InstanceView, lease: Lease | None, silence: Silence) -> InstanceView:
    since = silence.sources[view.source].since if silence.has(view.source) else ""
    if lease is None:
        return replace(view, silent_since=since)
    return replace(view, lease_ms=lease.lease_ms, heard_at=lease.at, silent_since=since)


def _views(datacenter: str, service: str, source: str, nodes: Mapping[str, Any]) -> Iterator[InstanceView]:
    for node, ids in nodes.items():
        for id_, registers in ids.items():
            described, checked = registers.get("d"), registers.get("c")
            if described is None or described[3] is None:
                continue  # gone, or only its checks are known
            checks = (checked[3] if checked else None) or []
            raw = {**described[3], "Checks": checks}
            instance = read_instance(raw, service, source, since_of(registers))
            healthy, weight = health_and_weight(instance, only_passing=False)
            bad = registers.get("b")
            epoch, index = max(each[:2] for each in (described, checked) if each is not None)
            yield InstanceView(
                datacenter=datacenter,
                node=node,
                id=id_,
                address=_place(*instance.local),
                status="critical" if instance.critical else "warning" if instance.warning else "passing",
                healthy=healthy,
                counts=instance.counts,
                weight=weight,
                healthy_since=_time(instance.since),
                ill_at=_time(bad[3]) if bad is not None and instance.critical else "",
                checks=_checks(checks),
                source=source,
                epoch=epoch,
                index=index,
            )


def _checks(found: list[Raw]) -> tuple[CheckView, ...]:
    views = [
        CheckView(
            str(each.get("CheckID") or ""),
            str(each.get("Name") or ""),
            str(each.get("Status")),
            str(each.get("Output") or ""),
            of_node=not each.get("ServiceID") and bool(each.get("Node")),
        )
        for each in found
    ]
    return tuple(sorted(views, key=lambda each: (_WORST_FIRST.index(each.status), each.id)))


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _time(moment_ms: int) -> str:
    if not moment_ms:
        return ""
    found = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_instances(engine: Engine, service: ServiceName, datacenter: str = "") -> ServiceInstances:
    """The instances of `service` in all datacenters, or in one, as the store has them now; those of mesh gateways for a
    service of that name.

    Raises InvalidInput if nothing names the service or the datacenter, and StoreError, also for a damaged catalog.
    """
    listed = [keys.source_of(each.key) for each in engine.store.list(keys.CATALOG)]
    mine = {datacenter_of(key): key for key in listed if key == _key(datacenter_of(key), service)}
    mine = {where: key for where, key in mine.items() if datacenter in ("", where)}
    if not mine and service.name != GATEWAYS:
        known = known_names(engine, engine.config(load_root(engine.objects, engine.refresh().root)))
        known.check_service(f'service "{service.name}"', service)
    if datacenter and all(datacenter_of(key) != datacenter for key in listed):
        reason = "nobody told of an instance there yet"
        raise InvalidInput.single("instances", "--dc", f'"{datacenter}": {reason}')
    stored = engine.store.get_many([keys.catalog(key) for key in mine.values()])
    out: list[InstanceView] = []
    for where, key in sorted(mine.items()):
        catalog = engine.readings.read(key, stored.get(keys.catalog(key))).catalog
        names = [keys.silence(where), *(keys.lease(where, source) for source in catalog.sources)]
        beside = engine.store.get_many(names)
        silence, told = Silence(), beside.pop(keys.silence(where), None)
        with contextlib.suppress(DamagedSilence):  # the next event with a lease writes it anew
            silence = read_silence_object(where, told).silence
        leases = (read_lease_object(each, engine.now()).lease for each in beside.values())
        by_source = {each.source: each for each in leases if each is not None}
        out += instances_in(where, "" if is_gateways_key(key) else service.name, catalog, silence, by_source)
    return ServiceInstances(service.name, service.namespace, tuple(out))


def _key(datacenter: str, service: ServiceName) -> str:
    return gateways_key(datacenter) if service.name == GATEWAYS else service_key(datacenter, service)
