"""Keys of instances, clusters and proxies: all are built and parsed here.

A key begins with the datacenter, then the kind of thing. Datacenters, namespaces and services are DNS labels, ids of
gateways are identifiers (`model/names.py`): none contains a slash. So no two catalogs, proxies or clusters share a key,
and no key lies under another, as `a/b` lies under `a`: object stores that keep objects as files cannot hold both.

| key | what it names |
|---|---|
| `dc1/service/default/web` | the instances of a service in a datacenter |
| `dc1/gateways` | a datacenter's mesh gateways: their instances, and what their proxies share |
| `dc1/service/default/gateway-paths` | the mesh gateways of other datacenters, as they are reached from this one |
| `dc1/silent` | the silent sources of a datacenter |
| `dc1/sidecar/default/web` | the sidecars of a service in a datacenter |
| `dc1/gateway/gw-1` | one mesh gateway |
| `dc1/sidecar/web.default.dc1` | a cluster as the sidecars of a datacenter see it |
| `dc1/gateway/web.default.dc1` | a cluster as the mesh gateways of a datacenter see it |
"""

from pointsman.model.names import DEFAULT_NAMESPACE, GATEWAY_PATHS, ServiceName, is_identifier, is_label

PATHS = ServiceName(DEFAULT_NAMESPACE, GATEWAY_PATHS)
"""The service whose instances say which mesh gateways of other datacenters are reached. Nobody calls it."""


def service_key(datacenter: str, service: ServiceName) -> str:
    """The key of a service's instances in a datacenter: `dc1/service/default/web`."""
    return f"{datacenter}/service/{service.namespace}/{service.name}"


def gateways_key(datacenter: str) -> str:
    """The key of a datacenter's mesh gateways: `dc1/gateways`."""
    return f"{datacenter}/gateways"


def paths_key(datacenter: str) -> str:
    """The key of what observers in a datacenter say of the mesh gateways of others."""
    return service_key(datacenter, PATHS)


def silence_key(datacenter: str) -> str:
    """The key of the silent sources of a datacenter: `dc1/silent`."""
    return f"{datacenter}/silent"


MOMENT = "moment"
"""In a provenance, the moment of a choice that depends on one (milliseconds since 1970)."""


def sidecar_key(datacenter: str, service: ServiceName) -> str:
    """The key of the sidecars of a service in a datacenter: `dc1/sidecar/default/web`."""
    return f"{datacenter}/sidecar/{service.namespace}/{service.name}"


def gateway_key(datacenter: str, gateway_id: str) -> str:
    """The key of one mesh gateway: `dc1/gateway/gw-1`."""
    return f"{datacenter}/gateway/{gateway_id}"


def registration_key(datacenter: str, namespace: str, name: str) -> str:
    """The key of a registration as people name it: a sidecar's by its service, a mesh gateway's as `gateway/ID`."""
    kind, slash, gateway_id = name.partition("/")
    if slash and kind == "gateway":
        return gateway_key(datacenter, gateway_id)
    return sidecar_key(datacenter, ServiceName(namespace, name))


def sidecar_plan_key(datacenter: str, cluster_id: str) -> str:
    """The key of a cluster as the sidecars of a datacenter see it: `dc1/sidecar/web.default.dc1`."""
    return f"{datacenter}/sidecar/{cluster_id}"


def gateway_plan_key(datacenter: str, cluster_id: str) -> str:
    """The key of a cluster as the mesh gateways of a datacenter see it: `dc1/gateway/web.default.dc1`."""
    return f"{datacenter}/gateway/{cluster_id}"


def datacenter_of(key: str) -> str:
    """The datacenter that any of these keys begins with."""
    return key.partition("/")[0]


def cluster_of(plan_key: str) -> str:
    """The cluster id at the end of a plan's key."""
    return plan_key.rpartition("/")[2]


def end_of(cluster_id: str) -> ServiceName:
    """The service at which the chain ends that a sidecar's cluster comes from: that of its first target."""
    _, name, namespace, _ = f".{cluster_id.rpartition(':')[2]}".rsplit(".", 3)
    return ServiceName(namespace, name)


def is_gateway_plan_key(plan_key: str, datacenter: str) -> bool:
    """Whether the plan under this key is for the mesh gateways of `datacenter`."""
    return plan_key.startswith(f"{datacenter}/gateway/")


def is_gateways_key(key: str) -> bool:
    """Whether `key` is that of a datacenter's mesh gateways."""
    datacenter, _, rest = key.partition("/")
    return rest == "gateways" and is_label(datacenter)


def is_paths_key(key: str) -> bool:
    """Whether `key` is that of what observers in a datacenter say of the mesh gateways of others."""
    return service_in(key) == PATHS


def service_in(key: str) -> ServiceName | None:
    """The service whose instances have this key; None for any other key."""
    return _service(key, "service")


def sidecar_in(key: str) -> ServiceName | None:
    """The service whose sidecars have this key; None for any other key."""
    return _service(key, "sidecar")


def gateway_in(key: str) -> str | None:
    """The id of the mesh gateway with this key; None for any other key."""
    match key.split("/"):
        case [datacenter, "gateway", gateway_id] if is_label(datacenter) and is_identifier(gateway_id):
            return gateway_id
        case _:
            return None


def _service(key: str, kind: str) -> ServiceName | None:
    match key.split("/"):
        case [datacenter, found, namespace, name] if found == kind and all(
            map(is_label, (datacenter, namespace, name))
        ):
            return ServiceName(namespace, name)
        case _:
            return None
