"""The mesh that the samples in events/ are about: web in dc1 calls api, which fails over to dc2, then to dc3."""

from pathlib import Path
from typing import Any

import orjson

SAMPLES = Path(__file__).parents[2] / "events"

DOCUMENTS: list[dict[str, Any]] = [
    {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "local"}},
    {"Kind": "service-resolver", "Name": "api", "Failover": {"*": {"Datacenters": ["dc2", "dc3"]}}},
    {
        "Datacenter": "dc1",
        "Node": "web-1.dc1",
        "Service": {
            "Kind": "connect-proxy",
            "ID": "web-1-sidecar-proxy",
            "Service": "web-sidecar-proxy",
            "Port": 21000,
            "Proxy": {
                "DestinationServiceName": "web",
                "Upstreams": [{"DestinationName": "api", "LocalBindPort": 9191}],
            },
        },
    },
]

API = "dc1/sidecar/api.default.dc1"
"""The snapshot of api as the sidecars of dc1 see it."""


def sample(name: str) -> Any:
    """A file of events/, parsed."""
    return orjson.loads((SAMPLES / f"{name}.json").read_bytes())


def sample_text(name: str) -> str:
    """A file of events/, as it is."""
    return (SAMPLES / f"{name}.json").read_text()
