"""A small mesh with a failover in it, as a page shows it."""

from tests.fleet.control_plane import Pointsman
from tests.pipeline.meshes import (
    Document,
    gateway,
    gateway_instance,
    instance,
    proxy_defaults,
    resolver,
    router,
    sidecar,
    splitter,
)

HOSTILE = "</pre><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"

MESH = [
    proxy_defaults("http", "local"),
    resolver("web", Failover={"*": {"Datacenters": ["dc2"]}}),
    resolver("api", Failover={"*": {"Datacenters": ["dc2"]}}),
    splitter("shop", {"Weight": 90, "Service": "web"}, {"Weight": 10, "Service": "api"}),
    router("shop", {"Match": {"HTTP": {"PathPrefix": "/<b>"}}, "Destination": {"Service": "api"}}),
    *(sidecar("client", "web", "api", "shop", dc=dc) for dc in ("dc1", "dc2")),
    *(gateway(dc, f"gw-{dc}") for dc in ("dc1", "dc2")),
]
"""web and api, which fail over to dc2, and shop in front of them."""


def told(service: str, index: int, dc: str, *instances: Document) -> Document:
    """An event with all instances of a service; "" stands for mesh gateways."""
    about = {"Source": "consul", "Index": index, "Datacenter": dc, "Instances": list(instances)}
    return about | ({"Service": service} if service else {"Kind": "mesh-gateway"})


def fail_over(pointsman: Pointsman) -> None:
    """web fails over to dc2, where it is served, and api has nobody anywhere."""
    for dc in ("dc1", "dc2"):
        pointsman.send(told("", 1, dc, gateway_instance()))
        pointsman.send(told("web", 1, dc, instance("web")))
        pointsman.send(told("api", 1, dc, instance("api")))
    pointsman.send(told("web", 2, "dc1", instance("web", status="critical", output=HOSTILE)))
    for dc in ("dc1", "dc2"):
        pointsman.send(told("api", 2, dc, instance("api", status="critical")))
