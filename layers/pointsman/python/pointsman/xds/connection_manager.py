"""Envoy's HTTP connection manager, alike for what enters a sidecar and for what leaves it."""

from collections.abc import Iterable

from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions
from envoy.extensions.filters.http.grpc_http1_bridge.v3.config_pb2 import Config as GrpcHttp1Bridge
from envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig as GrpcStats
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue

from pointsman.xds.pack import packed


def connection_manager(protocol: str, stat_prefix: str, filters: Iterable[HttpFilter] = ()) -> HttpConnectionManager:
    """The connection manager for `protocol`, one of http, http2 and grpc, still without routes. `filters` come before
    the router."""
    manager = HttpConnectionManager(stat_prefix=stat_prefix)
    if protocol == "http":
        # On HTTP/2 upstreams Envoy would turn the upgrade into a CONNECT that few servers understand.
        manager.upgrade_configs.append(HttpConnectionManager.UpgradeConfig(upgrade_type="websocket"))
    else:
        manager.http2_protocol_options.CopyFrom(Http2ProtocolOptions())
    if protocol == "grpc":
        # As in Consul: successes and failures by service and method, of which an application has few; and clients on
        # HTTP/1.1, which cannot read trailers, get the status as a header.
        manager.http_filters.append(
            _http_filter("envoy.filters.http.grpc_stats", GrpcStats(stats_for_all_methods=BoolValue(value=True)))
        )
        manager.http_filters.append(_http_filter("envoy.filters.http.grpc_http1_bridge", GrpcHttp1Bridge()))
    manager.http_filters.extend(filters)
    manager.http_filters.append(_http_filter("envoy.filters.http.router", Router()))
    return manager


def _http_filter(name: str, config: Message) -> HttpFilter:
    return HttpFilter(name=name, typed_config=packed(config))
