"""Watches for Consul's agents, which tell Pointsman of the health of what was imported."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.registration import Registration

JSON = dict[str, Any]

_TIMEOUT = "10s"


def watches(registrations: Iterable[tuple[str, Registration]], url: str) -> dict[str, JSON]:
    """By datacenter: the settings of an agent that watches all its sidecars and mesh gateways, and posts what it sees
    to the `pointsman up` at `url`.

    Beside each registration stands the name of its datacenter in Consul.
    """
    found: dict[str, dict[tuple[str, str], JSON]] = {}
    for datacenter, each in registrations:
        name, namespace = each.service.service, each.service.namespace
        if name:
            found.setdefault(datacenter, {})[name, namespace] = _watch(each, f"{url.rstrip('/')}/v1/consul/watch")
    return {
        datacenter: {"watches": [{**each, "datacenter": datacenter} for _, each in sorted(of_it.items())]}
        for datacenter, of_it in found.items()
    }


def _watch(registration: Registration, url: str) -> JSON:
    query = {"type": "service", "dc": registration.datacenter}
    if registration.is_gateway:
        query["kind"] = "mesh-gateway"
    else:
        query["service"] = registration.destination.name
    watch: JSON = {"type": "service", "service": registration.service.service}
    if registration.service.namespace != DEFAULT_NAMESPACE:
        query["namespace"] = watch["namespace"] = registration.service.namespace
    posted = {"path": f"{url}?{urlencode(query)}", "method": "POST", "timeout": _TIMEOUT}
    return {**watch, "handler_type": "http", "http_handler_config": posted}
