"""Reads Envoy's resources from JSON, also those with parts that this Pointsman does not know."""

from collections.abc import Callable
from typing import Any, TypeVar

from envoy.extensions.clusters.aggregate.v3.cluster_pb2 import ClusterConfig
from envoy.extensions.filters.http.grpc_http1_bridge.v3.config_pb2 import Config as GrpcHttp1Bridge
from envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig as GrpcStats
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRBAC
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.network.sni_cluster.v3.sni_cluster_pb2 import SniCluster
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext, UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from pointsman.model.errors import InvalidInput

_KNOWN = {
    each.DESCRIPTOR.full_name
    for each in (
        ClusterConfig,
        DownstreamTlsContext,
        GrpcHttp1Bridge,
        GrpcStats,
        HttpConnectionManager,
        HttpProtocolOptions,
        HttpRBAC,
        RBAC,
        RawBuffer,
        Router,
        SniCluster,
        Struct,
        TcpProxy,
        UpstreamTlsContext,
    )
}
"""The types of parts that are read. What the process knows beside them depends on what else it imported."""

_STRUCT = f"type.googleapis.com/{Struct.DESCRIPTOR.full_name}"

UNKNOWN_TYPE = "@type"
"""In a Struct that stands for a message of an unknown type: the name of that type."""

M = TypeVar("M", bound=Message)


def typed(value: Any, kind: type[M], thing: str, remark: Callable[[str], None]) -> M:
    """The message that proto3 JSON stands for, field names in either spelling.

    A part of a type that is not known here becomes a Struct. If fields are not known, `remark` is told once.
    Raises InvalidInput.
    """
    known = (
        _known({name: each for name, each in value.items() if name != "@type"}) if isinstance(value, dict) else value
    )
    try:
        return ParseDict(known, kind())
    except ParseError as error:
        why = str(error)
    try:
        found = ParseDict(known, kind(), ignore_unknown_fields=True)
    except (ParseError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInput.single(thing, "", f"is not a {kind.DESCRIPTOR.full_name}: {error}") from None
    remark(f"{thing} has fields that are not compared, because this Pointsman does not know them: {why}")
    return found


def _known(value: Any) -> Any:
    """`value` with a Struct for every message of an unknown type."""
    if isinstance(value, list):
        return [_known(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "@type" in value and str(value["@type"]).rpartition("/")[2] not in _KNOWN:
        return {"@type": _STRUCT, "value": {**value, UNKNOWN_TYPE: value["@type"]}}
    return {key: _known(each) for key, each in value.items()}
