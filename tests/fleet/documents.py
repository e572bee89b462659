"""What the mesh is made of, as its users write it: config entries, registrations, health events. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fleet.judge import Mode

NAMESPACE = "default"

# As a person would write it: s2 fails over to the second datacenter, then to the third.
RESOLVER = """\
Kind = "service-resolver"
Name = "s2"
Failover = {
  "*" = {
    Datacenters = ["dc2", "dc3"]
  }
}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """One datacenter: everything in it has the address `ip` and a port of its own."""

    datacenter: str
    ip: str
    app: int
    sidecar: int
    sidecar_admin: int
    gateway: int
    gateway_admin: int
    wan: int = 0
    """Where others reach its mesh gateway, if that is another port."""

    @property
    def gateway_id(self) -> str:
        """The registered ID of its mesh gateway."""
        return f"gateway-{self.datacenter}"


@dataclass(frozen=True, slots=True)
class Caller:
    """The service s1 beside a site's others: `upstream` is where it finds s2; nothing calls s1 itself."""

    site: Site
    upstream: int
    public: int
    admin: int


def proxy_defaults(mode: Mode) -> dict[str, Any]:
    """The gateway mode of the whole mesh."""
    return {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": mode}}


def service_defaults(service: str, protocol: str) -> dict[str, Any]:
    """What a service speaks."""
    return {"Kind": "service-defaults", "Name": service, "Protocol": protocol}


def s2_sidecar(site: Site, access_log: Path) -> dict[str, Any]:
    """The registration of s2's sidecar, which logs its incoming connections."""
    service = _s2_service(site)
    service["Proxy"]["Config"] = {"access_log_path": str(access_log)}
    return _registration(site, service)


def s1_sidecar(caller: Caller) -> dict[str, Any]:
    """The registration of s1's sidecar, with s2 as its upstream."""
    site = caller.site
    upstream = {"DestinationName": "s2", "LocalBindAddress": site.ip, "LocalBindPort": caller.upstream}
    proxy = {
        "DestinationServiceName": "s1",
        "LocalServiceAddress": site.ip,
        "LocalServicePort": caller.public,
        "Upstreams": [upstream],
    }
    return _registration(site, _sidecar("s1", site, caller.public, proxy))


def mesh_gateway(site: Site, access_log: Path) -> dict[str, Any]:
    """The registration of a mesh gateway that logs its connections."""
    service = _gateway_service(site)
    service["Proxy"] = {"Config": {"access_log_path": str(access_log)}}
    return _registration(site, service)


def definitions(site: Site) -> dict[str, Any]:
    """What the agent of a datacenter checks, every second: s2, its sidecar, and the mesh gateway."""

    def check(id_: str, port: int, **how: str) -> dict[str, Any]:
        return {"id": id_, "interval": "1s", "timeout": "1s", **(how or {"tcp": f"{site.ip}:{port}"})}

    beside = {"port": site.sidecar, "check": check("sidecar", site.sidecar)}
    s2 = {
        "name": "s2",
        "address": site.ip,
        "port": site.app,
        "check": check("s2", site.app, http=f"http://{site.ip}:{site.app}/"),
        "connect": {"sidecar_service": beside},
    }
    gateway = {
        "name": "mesh-gateway",
        "id": site.gateway_id,
        "kind": "mesh-gateway",
        "address": site.ip,
        "port": site.gateway,
        "tagged_addresses": {"wan": {"address": site.ip, "port": site.wan or site.gateway}},
        "check": check("gateway", site.gateway),
    }
    return {"services": [s2, gateway]}


def s2_health(site: Site, status: str, index: int) -> dict[str, Any]:
    """The event that tells all about s2 in a datacenter: its one instance, `passing` or `critical`."""
    return _health_event(site, "service", "s2", [_instance(site, _s2_service(site), status)], index)


def gateway_health(site: Site, index: int, status: str = "passing") -> dict[str, Any]:
    """The event that tells all about the mesh gateways of a datacenter: its one gateway, with this status."""
    instance = _instance(site, _gateway_service(site), status)
    return _health_event(site, "mesh-gateway", "mesh-gateway", [instance], index)


def _registration(site: Site, service: dict[str, Any]) -> dict[str, Any]:
    return {"Datacenter": site.datacenter, "Node": f"node-{site.datacenter}", "Address": site.ip, "Service": service}


def _s2_service(site: Site) -> dict[str, Any]:
    proxy = {"DestinationServiceName": "s2", "LocalServiceAddress": site.ip, "LocalServicePort": site.app}
    return _sidecar("s2", site, site.sidecar, proxy)


def _sidecar(service: str, site: Site, port: int, proxy: dict[str, Any]) -> dict[str, Any]:
    return {
        "Kind": "connect-proxy",
        "ID": f"{service}-sidecar-{site.datacenter}",
        "Service": f"{service}-sidecar-proxy",
        "Address": site.ip,
        "Port": port,
        "Proxy": proxy,
    }


def _gateway_service(site: Site) -> dict[str, Any]:
    return {
        "Kind": "mesh-gateway",
        "ID": site.gateway_id,
        "Service": "mesh-gateway",
        "Address": site.ip,
        "Port": site.gateway,
        "TaggedAddresses": {"wan": {"Address": site.ip, "Port": site.wan or site.gateway}},
    }


def _instance(site: Site, service: dict[str, Any], status: str) -> dict[str, Any]:
    return {
        "Node": {"Node": f"node-{site.datacenter}", "Address": site.ip, "Datacenter": site.datacenter},
        "Service": service,
        "Checks": [{"CheckID": f"alive:{service['ID']}", "Status": status, "ServiceID": service["ID"]}],
    }


def _health_event(
    site: Site, kind: str, service: str, instances: Sequence[dict[str, Any]], index: int
) -> dict[str, Any]:
    source = f"consul-{site.datacenter}"
    return {
        "version": "0",
        "id": f"{source}-{index}",
        "detail-type": "Service Health Changed",
        "source": "mesh.health",
        "time": "2026-01-01T00:00:00Z",
        "detail": {
            "Source": source,
            "Index": index,
            "Datacenter": site.datacenter,
            "Namespace": NAMESPACE,
            "Kind": kind,
            "Service": service,
            "Instances": list(instances),
        },
    }
