"""A sidecar's own listeners and clusters: for the mesh with mutual TLS, for exposed paths without, both to its
application."""

import re
from collections.abc import Iterator
from typing import Final

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import TrafficDirection, TransportSocket
from envoy.config.core.v3.socket_option_pb2 import SocketOption
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, SubjectAltNameMatcher
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from pointsman.chain.graph import HTTP_PROTOCOLS
from pointsman.xds.cluster import speak_http2
from pointsman.xds.connection_manager import connection_manager
from pointsman.xds.inbound import PUBLIC, ExposedPath, Host, Inbound, IpPort
from pointsman.xds.pack import milliseconds, packed

LOCAL_APP: Final = "local_app"
"""The cluster of the application, by Consul's name."""

KEEPALIVE_SECONDS: Final = (60, 10, 3)
"""TCP keepalive on incoming connections: seconds of silence until the first probe, seconds between probes, and how many
stay unanswered until the connection ends."""

_NO_LIMIT = UInt32Value(value=2**32 - 1)
_UNUSUAL = re.compile(r"[^A-Za-z0-9]+")
_LOGGED = {
    "start_time": "%START_TIME%",
    "sni": "%REQUESTED_SERVER_NAME%",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_host": "%UPSTREAM_HOST%",
    "downstream": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "flags": "%RESPONSE_FLAGS%",
}
_LOGGED_TCP = {**_LOGGED, "details": "%CONNECTION_TERMINATION_DETAILS%"}
_LOGGED_HTTP = {
    **_LOGGED,
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "code": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
}


def own_clusters(inbound: Inbound, host: Host) -> list[Cluster]:
    """The clusters to the application behind `host`: `local_app`, and one for each other port with an exposed path."""
    ports = {each.app_port: each.http2 for each in inbound.exposed if each.app_port != host.app.port}
    app = _cluster(inbound, LOCAL_APP, host.app, http2=inbound.protocol in ("http2", "grpc"))
    if inbound.max_connections:
        app.circuit_breakers.thresholds[0].max_connections.value = inbound.max_connections
    exposed = [
        _cluster(inbound, _exposed_cluster(port), IpPort(host.app.ip, port), http2=http2)
        for port, http2 in sorted(ports.items())
    ]
    return [app, *exposed]


def own_listeners(inbound: Inbound, host: Host, secrets: tuple[SdsSecretConfig, SdsSecretConfig]) -> Iterator[Listener]:
    """The listener for the mesh at `host.public`, and one for each exposed path on the same address.

    `secrets` are the sources of the certificate that they show and of the CAs that they trust. http, http2 and grpc get
    an HTTP connection manager with one route to the application, every other protocol a TCP proxy. The filters of
    `inbound` come first.
    """
    yield _public(inbound, host, secrets)
    for each in inbound.exposed:
        yield _exposed(inbound, host, each)


def _public(inbound: Inbound, host: Host, secrets: tuple[SdsSecretConfig, SdsSecretConfig]) -> Listener:
    listener = _listener(PUBLIC, host.public)
    # TLS works without this inspector, but it puts the requested server name into access logs even if the handshake
    # fails, which is when it is needed.
    inspector = ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=packed(TlsInspector()))
    listener.listener_filters.append(inspector)
    tls = TransportSocket(
        name="envoy.transport_sockets.tls", typed_config=packed(_mutual_tls(inbound.trust_domain, secrets))
    )
    listener.filter_chains.append(FilterChain(filters=_filters(inbound, host), transport_socket=tls))
    return listener


def _filters(inbound: Inbound, host: Host) -> list[Filter]:
    if inbound.protocol not in HTTP_PROTOCOLS:
        proxy = TcpProxy(stat_prefix=PUBLIC, cluster=LOCAL_APP, access_log=_logs(host, _LOGGED_TCP))
        before = [Filter.FromString(each) for each in inbound.filters]
        return [*before, Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))]
    manager = connection_manager(inbound.protocol, PUBLIC, map(HttpFilter.FromString, inbound.filters))
    _route(manager, PUBLIC, RouteMatch(prefix="/"), LOCAL_APP, inbound.request_timeout_ms)
    # As in Consul: the application learns who calls from a header that no caller can forge.
    manager.forward_client_cert_details = HttpConnectionManager.SANITIZE_SET
    manager.set_current_client_cert_details.CopyFrom(
        HttpConnectionManager.SetCurrentClientCertDetails(
            subject=BoolValue(value=True), cert=True, chain=True, dns=True, uri=True
        )
    )
    if inbound.filters:
        # Filters and application must see the same path: /open/../closed would pass a filter for /open.
        manager.normalize_path.value = True
        manager.merge_slashes = True
    manager.access_log.extend(_logs(host, _LOGGED_HTTP))
    return [Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))]


def _exposed(inbound: Inbound, host: Host, exposed: ExposedPath) -> Listener:
    name = _UNUSUAL.sub("", exposed.path)
    listener = _listener(f"exposed_path_{name}", IpPort(host.public.ip, exposed.port))
    called = f"exposed_path_filter_{name}_{exposed.port}"
    manager = connection_manager("http2" if exposed.http2 else "http", called)
    cluster = LOCAL_APP if exposed.app_port == host.app.port else _exposed_cluster(exposed.app_port)
    _route(manager, called, RouteMatch(path=exposed.path), cluster, None)
    manager.access_log.extend(_logs(host, _LOGGED_HTTP))
    filters = [Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))]
    listener.filter_chains.append(FilterChain(filters=filters))
    return listener


def _exposed_cluster(port: int) -> str:
    return f"exposed_cluster_{port}"


def _listener(name: str, at: IpPort) -> Listener:
    """A listener for incoming connections, still without filter chains.

    By default Envoy lets a second process listen on the same port, and the kernel divides the connections between them,
    which would mix up two services. Without it Envoy rejects the listener of the second process.
    """
    return Listener(
        name=f"{name}:{at.ip}:{at.port}",
        address=_address(at),
        traffic_direction=TrafficDirection.INBOUND,
        enable_reuse_port=BoolValue(value=False),
        socket_options=_keepalive(),
    )


def _keepalive() -> list[SocketOption]:
    # Envoy has no listener field for keepalive. These are the numbers in Linux's <sys/socket.h> and <netinet/tcp.h>.
    # Accepted connections inherit them from the listening socket.
    sol_socket, so_keepalive = 1, 9
    ipproto_tcp, tcp_keepidle, tcp_keepintvl, tcp_keepcnt = 6, 4, 5, 6
    idle, interval, probes = KEEPALIVE_SECONDS
    return [
        SocketOption(description="SO_KEEPALIVE", level=sol_socket, name=so_keepalive, int_value=1),
        SocketOption(description="TCP_KEEPIDLE", level=ipproto_tcp, name=tcp_keepidle, int_value=idle),
        SocketOption(description="TCP_KEEPINTVL", level=ipproto_tcp, name=tcp_keepintvl, int_value=interval),
        SocketOption(description="TCP_KEEPCNT", level=ipproto_tcp, name=tcp_keepcnt, int_value=probes),
    ]


def _mutual_tls(trust_domain: str, secrets: tuple[SdsSecretConfig, SdsSecretConfig]) -> DownstreamTlsContext:
    """TLS for clients that show a certificate of a trusted CA with a SPIFFE id of `trust_domain`."""
    identity, trust = secrets
    # The slash ends the trust domain: without it `mesh` would also match `mesh.elsewhere`.
    spiffe = SubjectAltNameMatcher(
        san_type=SubjectAltNameMatcher.SanType.URI, matcher=StringMatcher(prefix=f"spiffe://{trust_domain}/")
    )
    validation = CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=CertificateValidationContext(match_typed_subject_alt_names=[spiffe]),
        validation_context_sds_secret_config=trust,
    )
    return DownstreamTlsContext(
        common_tls_context=CommonTlsContext(
            tls_certificate_sds_secret_configs=[identity], combined_validation_context=validation
        ),
        require_client_certificate=BoolValue(value=True),
    )


def _route(
    manager: HttpConnectionManager, name: str, match: RouteMatch, cluster: str, request_timeout_ms: int | None
) -> None:
    """Give `manager` one route."""
    action = RouteAction(cluster=cluster)
    if request_timeout_ms is not None:
        action.timeout.CopyFrom(milliseconds(request_timeout_ms))
    host = VirtualHost(name=name, domains=["*"], routes=[Route(match=match, route=action)])
    # Where clusters and listeners are polled apart, a listener may come first. Envoy would reject it for good.
    manager.route_config.CopyFrom(
        RouteConfiguration(name=name, virtual_hosts=[host], validate_clusters=BoolValue(value=False))
    )


def _logs(host: Host, logged: dict[str, str]) -> list[AccessLog]:
    if not host.access_log:
        return []
    line = Struct()
    line.update(logged)
    log = FileAccessLog(path=host.access_log, log_format=SubstitutionFormatString(json_format=line))
    return [AccessLog(name="envoy.access_loggers.file", typed_config=packed(log))]


def _cluster(inbound: Inbound, name: str, at: IpPort, *, http2: bool) -> Cluster:
    endpoint = LbEndpoint(endpoint=Endpoint(address=_address(at)))
    # A failover brings another datacenter's connections all at once: Envoy's default of 1,024 would reject what the
    # service itself may be able to take.
    threshold = CircuitBreakers.Thresholds(
        max_connections=_NO_LIMIT, max_pending_requests=_NO_LIMIT, max_requests=_NO_LIMIT
    )
    cluster = Cluster(
        name=name,
        type=Cluster.DiscoveryType.STATIC,
        connect_timeout=milliseconds(inbound.connect_timeout_ms),
        circuit_breakers=CircuitBreakers(thresholds=[threshold]),
        load_assignment=ClusterLoadAssignment(
            cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
        ),
    )
    if http2:
        speak_http2(cluster)
    return cluster


def _address(at: IpPort) -> Address:
    return Address(socket_address=SocketAddress(address=at.ip, port_value=at.port))
