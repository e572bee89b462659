"""The part of a bootstrap that fetches over gRPC."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pointsman.bootstrap.server import AdapterTls, Place, adapter_cluster, adapter_problems, are_several
from pointsman.delivery.endpoint_source import XDS_CLUSTER

RETRY = {"base_interval": "0.5s", "max_interval": "5s"}
"""How long an Envoy waits before it opens the next stream after one that failed. By itself it would wait up to 30 s
where the adapter was away for a while, and a failover with it."""

RETRY_ELSEWHERE = {"base_interval": "0.2s", "max_interval": "2s"}
"""The same where there is another adapter to go to."""

KEEPALIVE = {"interval": "30s", "timeout": "5s"}
"""How often an Envoy asks whether the adapter is there, and how long it waits for the answer: so long it stays with one
that stands still, or that the network lost."""

KEEPALIVE_ELSEWHERE = {"interval": "5s", "timeout": "3s"}
"""The same where there is another adapter to go to."""


@dataclass(frozen=True, slots=True)
class FetchGrpc:
    """Fetch on one gRPC stream (ADS) from the adapter at `at`, or while that fails from the next of `others`; `tls` if
    they are on other machines.

    With `delta` only changes are sent, and a returning Envoy sends the versions of everything it has.
    """

    at: Place
    tls: AdapterTls | None = None
    delta: bool = True
    others: tuple[Place, ...] = ()


def grpc_dynamic_resources(fetch: FetchGrpc) -> dict[str, Any]:
    """The sources of everything: one stream."""
    # Envoy opens its static listeners when this is over, so it must be limited.
    retry = RETRY_ELSEWHERE if are_several((fetch.at, *fetch.others)) else RETRY
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "5s"}
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC" if fetch.delta else "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": {"retry_back_off": retry}}}],
            "set_node_on_first_message_only": True,  # a node has 77 KB
        },
        "cds_config": source,
        "lds_config": source,
    }


def grpc_cluster(fetch: FetchGrpc) -> dict[str, Any]:
    """The cluster for the adapter itself."""
    places = (fetch.at, *fetch.others)
    # Otherwise only the kernel would notice a silent loss of the server, after minutes.
    http2 = {"connection_keepalive": KEEPALIVE_ELSEWHERE if are_several(places) else KEEPALIVE}
    return adapter_cluster(places, fetch.tls, {"http2_protocol_options": http2}, "h2")


def grpc_problems(fetch: FetchGrpc) -> Iterator[tuple[str, str]]:
    """The problems of `fetch`: a field and a reason each."""
    yield from adapter_problems("gRPC", (fetch.at, *fetch.others), fetch.tls)
