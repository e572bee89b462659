"""Instances given as Consul's catalog registrations, for rendering without events."""

from collections.abc import Iterable, Mapping
from typing import Any

Raw = Mapping[str, Any]


def health_shapes(registrations: Iterable[Raw]) -> list[Raw]:
    """The instances of `registrations` in the shape of the health API, each with its own and its node's checks.

    All `registrations` are of one datacenter; a later one replaces an earlier one with the same node and service id.
    """
    nodes: dict[str, Raw] = {}
    services: dict[tuple[str, str], Raw] = {}
    checks: dict[tuple[str, str, str], Raw] = {}
    for raw in registrations:
        name = str(raw.get("Node") or "")
        nodes[name] = {
            "Node": name,
            "Address": raw.get("Address") or "",
            "Datacenter": raw.get("Datacenter") or "",
            "TaggedAddresses": raw.get("TaggedAddresses") or {},
            "Meta": raw.get("NodeMeta") or {},
        }
        service = raw.get("Service")
        if service:
            services[name, str(service.get("ID") or service.get("Service") or "")] = service
        for check in [*(raw.get("Checks") or ()), *([raw["Check"]] if raw.get("Check") else ())]:
            checks[name, str(check.get("ServiceID") or ""), str(check.get("CheckID") or check.get("Name"))] = check
    return [
        {
            "Node": nodes[node],
            "Service": service,
            "Checks": [check for (on, of, _), check in checks.items() if on == node and of in ("", service_id)],
        }
        for (node, service_id), service in services.items()
    ]


def service_of(raw: Raw) -> tuple[str, str]:
    """(namespace, service) that an instance in health shape may serve; ("", "") for a mesh gateway."""
    body: Raw = raw.get("Service") or {}
    if body.get("Kind") == "mesh-gateway":
        return "", ""
    name = body.get("Service") or ""
    if body.get("Kind") == "connect-proxy":
        name = (body.get("Proxy") or {}).get("DestinationServiceName") or ""
    return str(body.get("Namespace") or "default"), str(name)
