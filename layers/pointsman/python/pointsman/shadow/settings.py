"""The settings of clusters, listeners and their filters by path, with Envoy's defaults left out."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from pointsman.shadow.plain import Plain, plain, settled, type_of

_NOT_TRAFFIC = (
    "name",
    "alt_stat_name",
    "type",
    "cluster_type",
    "eds_cluster_config",
    "load_assignment",
    "transport_socket",
    "metadata",
    "track_cluster_stats",
    "track_timeout_budgets",
)
_OF_NAMES = ("dns_refresh_rate", "dns_failure_refresh_rate", "dns_jitter", "respect_dns_ttl", "dns_lookup_family")
_CLUSTER: Mapping[str, Any] = {
    "connect_timeout": "5s",
    "lb_policy": "ROUND_ROBIN",
    "per_connection_buffer_limit_bytes": 1024 * 1024,
    "dns_refresh_rate": "5s",
    "dns_lookup_family": "AUTO",
}
_BREAKERS = {"max_connections": 1024, "max_pending_requests": 1024, "max_requests": 1024, "max_retries": 3}
_OUTLIERS: Mapping[str, Any] = {
    "consecutive_5xx": 5,
    "interval": "10s",
    "base_ejection_time": "30s",
    "max_ejection_percent": 10,
    "enforcing_consecutive_5xx": 100,
    "enforcing_success_rate": 100,
    "success_rate_minimum_hosts": 5,
    "success_rate_request_volume": 100,
    "success_rate_stdev_factor": 1900,
    "consecutive_gateway_failure": 5,
    "enforcing_consecutive_gateway_failure": 0,
    "consecutive_local_origin_failure": 5,
    "enforcing_consecutive_local_origin_failure": 100,
    "enforcing_local_origin_success_rate": 100,
    "failure_percentage_threshold": 85,
    "enforcing_failure_percentage": 0,
    "enforcing_failure_percentage_local_origin": 0,
    "failure_percentage_minimum_hosts": 5,
    "failure_percentage_request_volume": 50,
    "max_ejection_time": "300s",
    "max_ejection_time_jitter": "0s",
    "successful_active_health_check_uneject_host": True,
    "always_eject_one_host": False,
}
_COMMON: Mapping[str, Any] = {"update_merge_window": "1s"}
_LEAST: Mapping[str, Any] = {"choice_count": 2}
_RING: Mapping[str, Any] = {"minimum_ring_size": "1024", "maximum_ring_size": "8388608"}
_MAGLEV: Mapping[str, Any] = {"table_size": "65537"}
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_PANIC = 50


def cluster_settings(cluster: Cluster, *, by_name: bool) -> Plain:
    """The settings of a cluster, without its endpoints and its TLS. `by_name` is whether it resolves host names."""
    value = plain(cluster, *_NOT_TRAFFIC, *(() if by_name else _OF_NAMES))
    out = {
        "circuit_breakers": _breakers(value.pop("circuit_breakers", {})),
        "outlier_detection": _outliers(value.pop("outlier_detection", None)),
        "protocol": _protocol(value),
        "healthy_panic_threshold": float(panic_percent(cluster)),
    }
    common = value.pop("common_lb_config", {})
    common.pop("healthy_panic_threshold", None)
    out["common_lb_config"] = settled(common, _COMMON)
    for name, defaults in (
        ("least_request_lb_config", _LEAST),
        ("ring_hash_lb_config", _RING),
        ("maglev_lb_config", _MAGLEV),
    ):
        out[name] = settled(value.pop(name, {}), defaults)
    return settled({**settled(value, _CLUSTER), **out}, {"healthy_panic_threshold": float(_PANIC)})


def panic_percent(cluster: Cluster) -> Fraction:
    """Below how many percent of healthy hosts unhealthy ones get traffic."""
    common = cluster.common_lb_config
    if not common.HasField("healthy_panic_threshold"):
        return Fraction(_PANIC)
    return Fraction(common.healthy_panic_threshold.value)


def _breakers(value: Plain) -> Plain:
    out: Plain = {}
    for each in value.pop("thresholds", []):
        # Of several for one priority Envoy takes the first.
        out.setdefault(each.pop("priority", "DEFAULT"), settled(each, _BREAKERS))
    return settled({**out, **value}, {})


def _outliers(value: Plain | None) -> Plain:
    if value is None:
        return {"on": False}
    return {"on": True, **settled(value, _OUTLIERS)}


def _protocol(value: Plain) -> Plain:
    """How a cluster speaks HTTP, in the old and the new form of saying it. Takes it out of `value`."""
    options = value.pop("typed_extension_protocol_options", {})
    new = {**options.pop(_HTTP, {})}
    new.pop("@type", None)
    explicit = new.pop("explicit_http_config", {})
    old = {
        name: value.pop(name)
        for name in (
            "http_protocol_options",
            "http2_protocol_options",
            "common_http_protocol_options",
            "upstream_http_protocol_options",
        )
        if name in value
    }
    found = {**old, **new, **explicit}
    speaks = "HTTP/2" if "http2_protocol_options" in found else "HTTP/1.1"
    if any(name in found for name in ("use_downstream_protocol_config", "auto_config", "http3_protocol_options")):
        speaks = next(
            name
            for name in ("use_downstream_protocol_config", "auto_config", "http3_protocol_options")
            if name in found
        )
    if options:
        found["others"] = options
    return {"speaks": speaks, **settled(found, {})}


def listener_settings(value: Plain) -> Plain:
    """What counts of the plain form of a listener, without its filter chains."""
    filters = [
        type_of(each.get("typed_config", {})) or each.get("name", "") for each in value.pop("listener_filters", [])
    ]
    # Without the inspector Envoy adds it where it is needed.
    if found := [each for each in filters if "tls_inspector" not in each]:
        value["listener_filters"] = found
    for name in ("name", "address", "filter_chains", "default_filter_chain", "traffic_direction", "metadata"):
        value.pop(name, None)
    for name in (
        "stat_prefix",
        "access_log",
        "socket_options",
        "enable_reuse_port",
        "deprecated_v1",
        "tcp_backlog_size",
    ):
        value.pop(name, None)
    return settled(
        value,
        {
            "per_connection_buffer_limit_bytes": 1024 * 1024,
            "listener_filters_timeout": "15s",
            "bind_to_port": True,
            "transparent": False,
            "freebind": False,
            "use_original_dst": False,
        },
    )


_MANAGER_NOT_TRAFFIC = (
    "@type",
    "stat_prefix",
    "route_config",
    "rds",
    "scoped_routes",
    "http_filters",
    "access_log",
    "access_log_options",
    "access_log_flush_interval",
    "flush_access_log_on_new_request",
    "tracing",
)


def manager_settings(value: Mapping[str, Any]) -> Plain:
    """What counts of the plain form of an HTTP connection manager, without its routes and filters."""
    found = {name: each for name, each in value.items() if name not in _MANAGER_NOT_TRAFFIC}
    common = settled(found.pop("common_http_protocol_options", {}), {"idle_timeout": "3600s", "max_headers_count": 100})
    upgrades = sorted(str(each.get("upgrade_type", "")).lower() for each in found.pop("upgrade_configs", []))
    out = {**found, "common_http_protocol_options": common, "upgrades": upgrades}
    return settled(
        out,
        {
            "codec_type": "AUTO",
            "stream_idle_timeout": "300s",
            "request_timeout": "0s",
            "drain_timeout": "5s",
            "delayed_close_timeout": "1s",
            "max_request_headers_kb": 60,
            "generate_request_id": True,
            "use_remote_address": False,
            "normalize_path": False,
            "server_name": "envoy",
        },
    )


def tcp_settings(value: Mapping[str, Any]) -> Plain:
    """What counts of the plain form of a TCP proxy, without where it leads."""
    names = ("@type", "stat_prefix", "cluster", "weighted_clusters", "access_log", "access_log_options")
    found = {name: each for name, each in value.items() if name not in (*names, "access_log_flush_interval")}
    return settled(found, {"idle_timeout": "3600s", "max_connect_attempts": 1})
