"""What the pipeline would have published, written by hand: plans, their contents, heads and manifests in a store."""

import itertools
from collections.abc import Container, Iterable, Mapping
from typing import Any

import orjson
from pointsman.chain.plan import (
    GatewayRemotePlan,
    GatewayServicePlan,
    Plan,
    PlanTarget,
    SidecarPlan,
)
from pointsman.failover.measured import Instances
from pointsman.model.canonical import canonical
from pointsman.model.era import NO_ERA, Era, era_json
from pointsman.model.instance import Instance, read_instance
from pointsman.model.keys import gateways_key, service_key
from pointsman.model.names import ServiceName, Target
from pointsman.model.upstream_config import Mode
from pointsman.store import keys
from pointsman.store.protocol import Store, Write
from pointsman.xds.content import Content, compute
from pointsman.xds.manifest import Manifest, manifest_json
from pointsman.xds.snapshot import Provenance, Snapshot, snapshot_json

TRUST_DOMAIN = "mesh.example"
DATACENTERS = {"dc1": "127.0.0.1", "dc2": "127.0.0.2", "dc3": "127.0.0.3"}

_nonces = itertools.count()


def sidecar_plan(
    mode: Mode = "remote", service: str = "s2", *, failover: Iterable[str] = ("dc2", "dc3")
) -> SidecarPlan:
    """A service of dc1 as seen from there, failing over to other datacenters through gateways of `mode`."""
    targets = [PlanTarget(Target(service, "", "default", "dc1"))]
    targets += [PlanTarget(Target(service, "", "default", each), mode=mode) for each in failover]
    return SidecarPlan("dc1", "tcp", "", 5000, tuple(targets))


def gateway_plans() -> list[GatewayServicePlan | GatewayRemotePlan]:
    """What the gateways of dc1 pass on: s2 here, and whatever is in dc2."""
    return [GatewayServicePlan(PlanTarget(Target("s2", "", "default", "dc1"))), GatewayRemotePlan("dc1", "dc2")]


def instances(
    healthy: Iterable[str],
    gateways: Mapping[str, int] | None = None,
    service: str = "s2",
    port: int = 8000,
    named: Container[str] = frozenset(),
) -> Instances:
    """One instance of the service in every datacenter, healthy in some; one gateway in each, on `gateways`' ports, with
    a host name where it is `named`."""
    found: dict[str, list[Instance]] = {}
    healthy = set(healthy)
    for datacenter, ip in DATACENTERS.items():
        sidecar = {
            "Kind": "connect-proxy",
            "Address": ip,
            "Port": port,
            "Proxy": {"DestinationServiceName": service},
        }
        check = {"CheckID": "alive", "Status": "passing" if datacenter in healthy else "critical"}
        raw = {"Node": {"Node": datacenter}, "Service": sidecar, "Checks": [check]}
        found[service_key(datacenter, ServiceName("default", service))] = [read_instance(raw, service)]
        host = gateway_name(datacenter) if datacenter in named else ip
        gateway = {"Kind": "mesh-gateway", "Address": host, "Port": (gateways or {}).get(datacenter, 9000)}
        found[gateways_key(datacenter)] = [read_instance({"Node": {"Node": datacenter}, "Service": gateway}, "")]
    return found


def gateway_name(datacenter: str) -> str:
    """The host name of a datacenter's gateway."""
    return f"gateways.{datacenter}.test"


def content(
    healthy: Iterable[str] = DATACENTERS,
    mode: Mode = "remote",
    service: str = "s2",
    named: Container[str] = frozenset(),
) -> Content:
    """The plan of `sidecar_plan`, computed with the service healthy in these datacenters; the gateways of those that
    are `named` have host names."""
    found = instances(healthy, service=service, named=named)
    return compute(sidecar_plan(mode, service), found, TRUST_DOMAIN)


def snapshot(of: Content, version: int = 1) -> Snapshot:
    """`of` as a version of its cluster."""
    return Snapshot(version, of, Provenance(0, 1, {}), "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")


class Publisher:
    """Writes heads and manifests into `store`, each with the next version and serial, in the `era` of the moment."""

    def __init__(self, store: Store, era: Era = NO_ERA) -> None:
        self._store = store
        self.era = era

    def head(self, plan: Plan, of: Content, version: int | None = None) -> None:
        """Move the head of `plan`, to `version` if one is given."""
        body = self.body(keys.snapshot(plan.key)) or {"version": 0}
        self.put(
            keys.snapshot(plan.key), snapshot_json(snapshot(of, version or body["version"] + 1)) | era_json(self.era)
        )

    def manifest(self, key: str, manifest: Manifest) -> None:
        """Put a manifest under `key`."""
        self.put(key, manifest_json(manifest) | era_json(self.era))

    def body(self, key: str) -> dict[str, Any] | None:
        """What stands under `key`."""
        stored = self._store.get(key)
        return orjson.loads(stored.data) if stored else None

    def put(self, key: str, body: dict[str, Any], serial: int | None = None) -> None:
        """Put any body under `key`, sealed as the pipeline seals."""
        before = self.body(key) or {"serial": 0}
        serial = serial or before["serial"] + 1
        self.garbage(key, canonical({**body, "serial": serial, "nonce": str(next(_nonces))}))

    def garbage(self, key: str, data: bytes) -> None:
        """Put any bytes under `key`."""
        stored = self._store.get(key)
        assert self._store.put(Write(key, data, stored.etag if stored else None)).etag
