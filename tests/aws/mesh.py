"""A small mesh, in its users' config and its producers' events: s1 in dc1 calls s2, which dc2 has as well."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from tests.aws.harness import Aws
from tests.pipeline.meshes import gateway, gateway_instance, instance, proxy_defaults, resolver, sidecar

Json = dict[str, Any]

RESOLVER = resolver("s2", Failover={"*": {"Datacenters": ["dc2"]}})
CONFIG = [proxy_defaults(mode="local"), RESOLVER, sidecar("s1", "s2"), gateway("dc1"), gateway("dc2")]

_indexes = itertools.count(1)


def health(service: str | None, instances: Iterable[Mapping[str, Any]], dc: str = "dc1", index: int = 0) -> Json:
    """The event that tells all about a service in a datacenter; None: about its mesh gateways."""
    what: Json = {"Kind": "mesh-gateway"} if service is None else {"Service": service}
    detail = {"Source": f"consul-{dc}", "Index": index or next(_indexes), "Datacenter": dc, **what}
    return {"detail-type": "Service Health Changed", "detail": {**detail, "Instances": list(instances)}}


def s2(status: str = "passing", dc: str = "dc1", count: int = 3) -> Json:
    """An event about s2: so many instances with this status."""
    return health("s2", [instance("s2", number, status) for number in range(1, count + 1)], dc)


def start(aws: Aws) -> None:
    """The config is written, and everything in both datacenters is healthy and published."""
    code, answer = aws.request("Configure", "PUT", "/v1/config", CONFIG)
    assert code == 200, answer
    for dc in ("dc1", "dc2"):
        aws.put_event(health(None, [gateway_instance()], dc))
        aws.put_event(s2(dc=dc))
    assert aws.pump() == 0


def active(aws: Aws) -> str:
    """Which datacenter serves s2 to the sidecars of dc1, as the status says."""
    (resolver_,) = aws.request("Configure", "GET", "/v1/status")[1]["resolvers"]
    return str(resolver_["active"].rpartition(".")[2])
