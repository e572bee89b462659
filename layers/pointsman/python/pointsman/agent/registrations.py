"""The registrations of a host's sidecars and gateways, which are the same on every host of a service."""

from collections.abc import Iterator
from typing import Any

from pointsman.agent.definition import Definitions, ServiceDefinition, SidecarService
from pointsman.agent.statement import Host
from pointsman.model.registration import Registration, parse_registration


def registrations(host: Host, definitions: Definitions) -> Iterator[Registration]:
    """One for each service with a sidecar, and one for each gateway. Raises InvalidInput if one is not valid.

    A sidecar's is that of all hosts of its service in the datacenter, so it says nothing of this one: neither its
    address nor the port of its sidecar. If a host has several instances of a service, the first counts.
    """
    seen: set[str] = set()
    for service in definitions.services.values():
        sidecar = service.connect.sidecar_service
        if service.kind:
            body = _gateway(host, service)
        elif sidecar is not None and service.name not in seen:
            seen.add(service.name)
            body = _sidecar(service, sidecar)
        else:
            continue
        yield parse_registration({"Datacenter": host.datacenter, "Service": body})


def _gateway(host: Host, service: ServiceDefinition) -> dict[str, Any]:
    return {
        "Kind": service.kind,
        "ID": service.key,
        "Service": service.name,
        "Address": service.address or host.address,
        "Port": service.port,
        "Proxy": {"Config": service.proxy.config},
    }


def _sidecar(service: ServiceDefinition, sidecar: SidecarService) -> dict[str, Any]:
    proxy = sidecar.proxy
    return {
        "Kind": "connect-proxy",
        "Service": f"{service.name}-sidecar-proxy",
        "Proxy": {
            "DestinationServiceName": service.name,
            "LocalServiceAddress": proxy.local_service_address or "127.0.0.1",
            "LocalServicePort": proxy.local_service_port or service.port,
            "Upstreams": [each.model_dump(by_alias=True, exclude_defaults=True) for each in proxy.upstreams],
            "MeshGateway": proxy.mesh_gateway.model_dump(by_alias=True, exclude_defaults=True),
            "Expose": proxy.expose.model_dump(by_alias=True, exclude_defaults=True),
            "Config": proxy.config,
        },
    }


def document(registration: Registration) -> dict[str, Any]:
    """A registration as `pointsman apply` takes it."""
    return registration.model_dump(by_alias=True, exclude_defaults=True)


def route(registration: Registration) -> str:
    """Where the API shows what is registered in its place."""
    name = f"gateway/{registration.service.id}" if registration.is_gateway else registration.destination.name
    return f"/v1/config/registration/{name}?dc={registration.datacenter}"
