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
    """Fetch on one gRPC stream (ADS) from the adapter at `at`; `tls` if that is on another machine.

    With `delta` only changes are sent, and a returning Envoy sends the versions of everything it has.
    """

    at: Address | UnixSocket
    tls: AdapterTls | None = None
    delta: bool = True


def grpc_dynamic_resources(fetch: FetchGrpc) -> dict[str, Any]:
    """The sources of everything: one stream."""
    # Envoy opens its static listeners when this is over, so it must be limited.
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "5s"}
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC" if fetch.delta else "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": {"retry_back_off": RETRY}}}],
            "set_node_on_first_message_only": True,  # a node has 77 KB
        },
        "cds_config": source,
        "lds_config": source,
    }


def grpc_cluster(fetch: FetchGrpc) -> dict[str, Any]:
    """The cluster for the adapter itself."""
    # Otherwise only the kernel would notice a silent loss of the server, after minutes.
    http2 = {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}
    return adapter_cluster(fetch.at, fetch.tls, {"http2_protocol_options": http2}, "h2")


def grpc_problems(fetch: FetchGrpc) -> Iterator[tuple[str, str]]:
    """The problems of `fetch`: a field and a reason each."""
    yield from adapter_problems("gRPC", fetch.at, fetch.tls)
