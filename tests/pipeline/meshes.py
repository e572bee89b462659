"""Small documents and events, as users and producers write them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

from pointsman.model.events import HealthEvent, parse_event
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.moved import Notify
from pointsman.pipeline.scope import Scope
from pointsman.store.protocol import Store

Document = dict[str, Any]

BEGINNING = 1_700_000_000
"""When the time in these tests begins, in seconds since 1970."""


def engine_on(store: Store, notify: Notify = lambda moved: None, scope: Scope | None = None) -> Engine:
    """An engine whose clock takes a second for every look at it."""
    return Engine(
        store,
        clock=lambda: datetime.fromtimestamp(BEGINNING + next(_seconds), UTC),
        nonce=lambda: f"nonce {next(_nonces)}",
        identity=lambda: f"{next(_identities):016x}",
        notify=notify,
        scope=scope,
    )


_seconds, _nonces, _identities = count(), count(), count(1)


def resolver(name: str, *, namespace: str = "default", **fields: Any) -> Document:
    """A service-resolver; `fields` as Consul names them."""
    return _entry("service-resolver", name, namespace, fields)


def defaults(name: str, *, namespace: str = "default", **fields: Any) -> Document:
    """A service-defaults entry."""
    return _entry("service-defaults", name, namespace, fields)


def splitter(name: str, *splits: Mapping[str, Any]) -> Document:
    """A service-splitter."""
    return _entry("service-splitter", name, "default", {"Splits": list(splits)})


def router(name: str, *routes: Mapping[str, Any]) -> Document:
    """A service-router."""
    return _entry("service-router", name, "default", {"Routes": list(routes)})


def proxy_defaults(protocol: str = "", mode: str = "") -> Document:
    """The mesh's defaults."""
    config = {"protocol": protocol} if protocol else {}
    return {"Kind": "proxy-defaults", "Name": "global", "Config": config, "MeshGateway": {"Mode": mode}}


def policy(name: str = "global", **fields: Any) -> Document:
    """A failover-policy."""
    return _entry("failover-policy", name, "default", fields)


def intentions(name: str, *sources: tuple[str, str], namespace: str = "default") -> Document:
    """Who may call: each source with its action."""
    told = [{"Name": source, "Action": action} for source, action in sources]
    return _entry("service-intentions", name, namespace, {"Sources": told})


def namespace(name: str) -> Document:
    """A namespace."""
    return {"Kind": "namespace", "Name": name}


def _entry(kind: str, name: str, namespace: str, fields: Mapping[str, Any]) -> Document:
    return {"Kind": kind, "Name": name, "Namespace": namespace, **fields}


def sidecar(
    service: str, *upstreams: "str | Mapping[str, Any]", dc: str = "dc1", namespace: str = "default", mode: str = ""
) -> Document:
    """The registration of a service's sidecar; an upstream is a service's name, or a mapping with more to say."""
    listed = []
    for port, upstream in enumerate(upstreams, start=9191):
        more = {"DestinationName": upstream} if isinstance(upstream, str) else dict(upstream)
        listed.append({"LocalBindPort": port, **more})
    return {
        "Datacenter": dc,
        "Service": {
            "Kind": "connect-proxy",
            "ID": f"{service}-sidecar",
            "Service": f"{service}-sidecar",
            "Namespace": namespace,
            "Proxy": {"DestinationServiceName": service, "Upstreams": listed, "MeshGateway": {"Mode": mode}},
        },
    }


def gateway(dc: str, id_: str = "gw", port: int = 8443) -> Document:
    """The registration of a mesh gateway."""
    body = {"Kind": "mesh-gateway", "ID": id_, "Service": "mesh-gateway", "Address": "10.9.0.1", "Port": port}
    return {"Datacenter": dc, "Service": body}


def instance(
    service: str, number: int = 1, status: str = "passing", *, version: str = "v1", output: str = "", address: str = ""
) -> Document:
    """A sidecar that serves `service`, in health shape."""
    return {
        "Node": {"Node": f"node{number}", "Address": f"10.0.0.{number}"},
        "Service": {
            "ID": f"{service}-{number}",
            "Service": f"{service}-sidecar",
            "Kind": "connect-proxy",
            "Address": address or f"10.1.0.{number}",
            "Port": 2000,
            "Meta": {"version": version},
            "Proxy": {"DestinationServiceName": service},
        },
        "Checks": [{"CheckID": "alive", "Status": status, "Output": output}],
    }


def gateway_instance(number: int = 1, status: str = "passing") -> Document:
    """A mesh gateway, in health shape."""
    return {
        "Node": {"Node": f"edge{number}", "Address": f"10.8.0.{number}"},
        "Service": {
            "ID": f"gw-{number}",
            "Service": "mesh-gateway",
            "Kind": "mesh-gateway",
            "Address": f"10.9.0.{number}",
            "Port": 8443,
            "TaggedAddresses": {"wan": {"Address": f"203.0.113.{number}", "Port": 443}},
        },
        "Checks": [{"CheckID": "alive", "Status": status}],
    }


def path(number: int = 1, status: str = "passing") -> Document:
    """The mesh gateway of this number, as an observer elsewhere reaches it."""
    return {
        "Node": {"Node": "observer", "Address": "10.7.0.1"},
        "Service": {
            "ID": f"203.0.113.{number}:443",
            "Service": "gateway-paths",
            "Connect": {"Native": True},
            "Address": f"203.0.113.{number}",
            "Port": 443,
        },
        "Checks": [{"CheckID": "tcp", "Status": status}],
    }


def event(
    service: str | None,
    index: int,
    instances: Iterable[Mapping[str, Any]] | None = None,
    *,
    one: Mapping[str, Any] | None = None,
    removed: Mapping[str, Any] | None = None,
    dc: str = "dc1",
    namespace: str = "default",
    source: str = "consul",
    epoch: int = 0,
    lease: str = "",
    at: int | None = None,
) -> HealthEvent:
    """A health event: the full list of `instances`, or `one`, or `removed`; service None: of mesh gateways.

    It is from second `at` of the time in these tests; by default long before, the later the greater its index is.
    """
    body: Document = {"Source": source, "Epoch": epoch, "Index": index, "Datacenter": dc, "Namespace": namespace}
    body |= {"Lease": lease} if lease else {}
    body |= {"Kind": "mesh-gateway"} if service is None else {"Service": service}
    if instances is not None:
        body["Instances"] = list(instances)
    if one is not None:
        body["Instance"] = one
    if removed is not None:
        body["Removed"] = {"Node": removed["Node"]["Node"], "ID": removed["Service"]["ID"]}
    seconds = BEGINNING + at if at is not None else BEGINNING - 1_000_000 + 1000 * epoch + index
    return parse_event(body)._replace(at=seconds * 1000)


def alive(index: int, *, dc: str = "dc1", source: str = "consul", lease: str = "30s") -> HealthEvent:
    """An event that does nothing but renew the lease of its source."""
    detail = {"Source": source, "Index": index, "Datacenter": dc, "Lease": lease}
    return parse_event({"detail-type": "Source Alive", "detail": detail})
