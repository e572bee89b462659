"""What users write and producers send, ingested by the engine's own operations: the control plane without its
processes."""

import itertools
from collections.abc import Container, Mapping
from typing import Any

from pointsman.model.events import parse_event
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.store.protocol import Store

from tests.adapter.published import TRUST_DOMAIN

Document = dict[str, Any]


class Control:
    """The verbs on `store`."""

    def __init__(self, store: Store) -> None:
        self._engine = Engine(store)
        self._indexes = itertools.count(1)

    def apply(self, *documents: Document) -> None:
        """Write config entries and registrations."""
        configure(self._engine, parse_documents(documents), trust_domain=TRUST_DOMAIN)

    def report(self, service: str, *instances: Document, dc: str = "dc1") -> None:
        """The full list of a service's instances in a datacenter."""
        self._ingest({"Service": service}, instances, dc)

    def report_gateways(
        self, places: Mapping[str, tuple[str, int]], *, dc: str, ill: Container[str] = frozenset()
    ) -> None:
        """The full list of a datacenter's mesh gateways: where each listens, by its id; the check of those that are
        `ill` is critical."""
        gateways = [
            {
                "Node": {"Node": f"node-{id_}", "Address": ip},
                "Service": {"ID": id_, "Kind": "mesh-gateway", "Address": ip, "Port": port},
                "Checks": [{"CheckID": "alive", "Status": "critical"}] if id_ in ill else [],
            }
            for id_, (ip, port) in places.items()
        ]
        self._ingest({"Kind": "mesh-gateway"}, gateways, dc)

    def _ingest(self, what: Mapping[str, Any], instances: Any, dc: str) -> None:
        about = {"Source": "test", "Index": next(self._indexes), "Datacenter": dc}
        ingest(self._engine, parse_event({**about, **what, "Instances": list(instances)}))


def instance(service: str, place: tuple[str, int], status: str = "passing", **meta: str) -> Document:
    """The sidecar of `service` at a place, in health shape."""
    ip, port = place
    return {
        "Node": {"Node": f"node-{ip}", "Address": ip},
        "Service": {
            "ID": f"{service}-{port}",
            "Service": f"{service}-sidecar",
            "Kind": "connect-proxy",
            "Address": ip,
            "Port": port,
            "Meta": meta,
            "Proxy": {"DestinationServiceName": service},
        },
        "Checks": [{"CheckID": "alive", "Status": status}],
    }


def s1(**upstreams: int) -> Document:
    """The registration of the sidecar of s1 in dc1: its upstreams, each with its port on 127.0.0.1."""
    listed = [{"DestinationName": name, "LocalBindPort": port} for name, port in upstreams.items()]
    proxy = {"DestinationServiceName": "s1", "Upstreams": listed}
    return {"Datacenter": "dc1", "Service": {"Kind": "connect-proxy", "ID": "s1-sidecar", "Proxy": proxy}}


def resolver(service: str, **fields: Any) -> Document:
    """A service-resolver."""
    return {"Kind": "service-resolver", "Name": service, **fields}


def policy(**fields: Any) -> Document:
    """The failover-policy of all services."""
    return {"Kind": "failover-policy", "Name": "global", **fields}


def defaults(service: str, **fields: Any) -> Document:
    """A service-defaults entry."""
    return {"Kind": "service-defaults", "Name": service, **fields}


def proxy_defaults(mode: str) -> Document:
    """The gateway mode of the whole mesh."""
    return {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": mode}}
