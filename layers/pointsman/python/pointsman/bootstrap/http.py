"""The part of a bootstrap that fetches over HTTP (REST xDS)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pointsman.bootstrap.server import AdapterTls, Place, adapter_cluster, adapter_problems, are_several, is_remote
from pointsman.delivery.endpoint_source import XDS_CLUSTER

_CHECK = {
    "http_health_check": {"path": "/readyz", "host": "localhost"},
    "interval": "5s",
    "no_traffic_interval": "5s",
    "timeout": "3s",
    "unhealthy_threshold": 1,
    "healthy_threshold": 1,
}


@dataclass(frozen=True, slots=True)
class FetchHttp:
    """Poll the adapter at `at` over HTTP, or while that fails the next of `others`; `tls` if they are on other
    machines.

    The adapter holds a poll until something changes, for less than `request_timeout_ms`. `refresh_delay_ms` is the
    pause between an answer and the next poll (Envoy waits once to twice as long), and the only pacing while the adapter
    is away. Both apply to clusters and listeners; the adapter sets those for endpoints.
    """

    at: Place
    tls: AdapterTls | None = None
    refresh_delay_ms: int = 500
    request_timeout_ms: int = 60_000
    others: tuple[Place, ...] = ()


def http_dynamic_resources(fetch: FetchHttp) -> dict[str, Any]:
    """The sources of clusters and listeners; the clusters themselves name the source of their endpoints."""
    # Envoy opens its static listeners when this is over, so it must be limited.
    return rest_dynamic_resources(fetch.refresh_delay_ms, fetch.request_timeout_ms, "5s")


def rest_dynamic_resources(
    refresh_delay_ms: int, request_timeout_ms: int, initial_fetch_timeout: str
) -> dict[str, Any]:
    """Sources that poll the bootstrap's xDS cluster for clusters and listeners."""
    source = {
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": [XDS_CLUSTER],
            "refresh_delay": _seconds(refresh_delay_ms),
            "request_timeout": _seconds(request_timeout_ms),
        },
        "resource_api_version": "V3",
        "initial_fetch_timeout": initial_fetch_timeout,
    }
    return {"cds_config": source, "lds_config": source}


def http_cluster(fetch: FetchHttp) -> dict[str, Any]:
    """The cluster for the adapter itself."""
    places = (fetch.at, *fetch.others)
    cluster = adapter_cluster(places, fetch.tls, {"http_protocol_options": {}}, "http/1.1")
    # At its start an Envoy opens one connection per cluster, and is busy writing requests of 77 KB each: a shorter
    # timeout expires before Envoy looks at the connection again, and everything starts over.
    cluster["connect_timeout"] = "10s"
    if is_remote(places):
        # Held polls are silent: without probes, the silent loss of an adapter is noticed only after a request times
        # out.
        keepalive = {"keepalive_probes": 3, "keepalive_time": 10, "keepalive_interval": 5}
        cluster["upstream_connection_options"] = {"tcp_keepalive": keepalive}
    if are_several(places):
        # A process that stands still answers the kernel's probes and no poll: without checks Envoy would ask it again
        # after each request that timed out.
        cluster["health_checks"] = [_CHECK]
    return cluster


def http_problems(fetch: FetchHttp) -> Iterator[tuple[str, str]]:
    """The problems of `fetch`: a field and a reason each."""
    yield from adapter_problems("HTTP", (fetch.at, *fetch.others), fetch.tls)
    if fetch.refresh_delay_ms < 10:
        yield (
            "refresh delay",
            f"{fetch.refresh_delay_ms} ms: Envoy would do nothing but poll; give at least 10 ms",
        )
    if fetch.request_timeout_ms < 1000:
        yield "request timeout", f"{fetch.request_timeout_ms} ms: no poll could be held; give at least a second"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g}s"
