"""Meshes of any size, as their users write them, and the events about them."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Document = dict[str, Any]

DATACENTERS = ("dc1", "dc2", "dc3")
INSTANCES = 3
"""Of each service in each datacenter."""

UPSTREAMS = 500
"""Of one sidecar, at most."""


def documents(services: int, callers: Sequence[str] = DATACENTERS[:1], mode: str = "remote") -> list[Document]:
    """So many services with a resolver each that fails over to the other datacenters, and sidecars in the datacenters
    of `callers` that call all of them."""
    return [defaults(mode), *(resolver(each) for each in names(services)), *sidecars(services, callers)]


def names(services: int) -> list[str]:
    """The services' names."""
    return [f"s{number}" for number in range(services)]


def defaults(mode: str) -> Document:
    """The mesh's defaults, with this gateway mode."""
    return {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": mode}}


def resolver(service: str, targets: Sequence[str] = DATACENTERS[1:]) -> Document:
    """A service's resolver, which fails over to the datacenters of `targets`."""
    failover = {"*": {"Datacenters": list(targets)}}
    return {"Kind": "service-resolver", "Name": service, "Failover": failover}


def sidecars(services: int, callers: Iterable[str], port: int = 5000) -> Iterator[Document]:
    """Sidecars of these datacenters that together call every service, each on ports from `port` on."""
    for datacenter in callers:
        for first in range(0, services, UPSTREAMS):
            called = names(services)[first : first + UPSTREAMS]
            upstreams = [{"DestinationName": each, "LocalBindPort": port + i} for i, each in enumerate(called)]
            name = f"web{first // UPSTREAMS}"
            proxy = {"DestinationServiceName": name, "Upstreams": upstreams}
            service = {"Kind": "connect-proxy", "Service": f"{name}-sidecar-proxy", "ID": name, "Port": 20000}
            yield {"Datacenter": datacenter, "Address": "10.0.0.1", "Service": {**service, "Proxy": proxy}}


def instance(service: str, datacenter: str, number: int, status: str) -> Document:
    """One instance as Consul's health API lists it."""
    address = f"10.{DATACENTERS.index(datacenter)}.{number // 250}.{number % 250 + 1}"
    proxy = {"DestinationServiceName": service}
    return {
        "Node": {"Node": f"n{number}", "Address": address, "Datacenter": datacenter},
        "Service": {"Kind": "connect-proxy", "ID": f"{service}-{number}", "Port": 8000, "Proxy": proxy},
        "Checks": [{"CheckID": "alive", "Status": status}],
    }


def event(service: str, index: int, number: int, status: str) -> Document:
    """The health of one instance in dc1. Everything else of it stays."""
    detail = {"Source": "dc1", "Index": index, "Datacenter": "dc1", "Service": service}
    found = {**detail, "Instance": instance(service, "dc1", number, status)}
    return {"detail-type": "Instance Health Changed", "detail": found}


def lists(services: int, instances: int = INSTANCES, datacenters: Iterable[str] = DATACENTERS) -> Iterator[Document]:
    """What everything is like at first: one event for the gateways and one for each service, in each datacenter."""
    for datacenter in datacenters:
        gateway = {"Kind": "mesh-gateway", "ID": "g", "Service": "mesh-gateway", "Port": 443}
        node = {"Node": "g", "Address": f"10.{DATACENTERS.index(datacenter)}.200.1"}
        yield _list(datacenter, {"Kind": "mesh-gateway"}, [{"Node": node, "Service": gateway}])
        for service in names(services):
            yield service_list(service, datacenter, instances)


def service_list(service: str, datacenter: str, instances: int) -> Document:
    """All instances of one service, passing."""
    found = [instance(service, datacenter, number, "passing") for number in range(instances)]
    return _list(datacenter, {"Service": service}, found)


def _list(datacenter: str, what: Document, instances: list[Document]) -> Document:
    detail = {"Source": datacenter, "Index": 1, "Datacenter": datacenter, **what, "Instances": instances}
    return {"detail-type": "Service Health Changed", "detail": detail}


def events(services: int, first: int = 2) -> Iterator[Document]:
    """For ever, one instance after the other goes and comes: each says something new, and moves an assignment."""
    indexes = itertools.count(first)
    for status in itertools.cycle(("critical", "passing")):
        for number in range(INSTANCES):
            for service in range(services):
                yield event(f"s{service}", next(indexes), number, status)
