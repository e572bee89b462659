"""The part of a bootstrap that fetches over gRPC."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pointsman.bootstrap.parts import Address, UnixSocket
from pointsman.bootstrap.server import AdapterTls, adapter_cluster, adapter_problems
from pointsman.delivery.endpoint_source import XDS_CLUSTER

RETRY = {"base_interval": "0.5s", "max_interval": "5s"}
"""How long an Envoy waits before it opens the next stream after one that failed. By itself it would wait up to 30 s
where the adapter was away for a while, and a failover with it."""


@dataclass(frozen=True, slots=True)
class FetchGrpc:
    """Fetch on one gRPC stream (ADS) from the adapter at `at`; `tls` where that is not on this machine.

    With `delta` only what changed travels, and an Envoy that comes back tells the version of everything it has.
    """

    at: Address | UnixSocket
    tls: AdapterTls | None = None
    delta: bool = True


def grpc_dynamic_resources(fetch: FetchGrpc) -> dict[str, Any]:
    """Everything on one stream."""
    # The static listeners of an Envoy open when this is over, so that it cannot be for ever.
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "5s"}
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC" if fetch.delta else "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": {"retry_back_off": RETRY}}}],
            "set_node_on_first_message_only": True,  # it has 77 KB
        },
        "cds_config": source,
        "lds_config": source,
    }


def grpc_cluster(fetch: FetchGrpc) -> dict[str, Any]:
    """The cluster of the adapter itself."""
    # A server that is gone without a word would otherwise be noticed when the kernel gives up, after minutes.
    http2 = {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}
    return adapter_cluster(fetch.at, fetch.tls, {"http2_protocol_options": http2}, "h2")


def grpc_problems(fetch: FetchGrpc) -> Iterator[tuple[str, str]]:
    """What is wrong with `fetch`: a field and a reason each."""
    yield from adapter_problems("gRPC", fetch.at, fetch.tls)
