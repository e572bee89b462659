"""A mesh gateway's listener: it routes by SNI alone (docs/semantics.md, section 7)."""

from collections.abc import Iterable

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, FilterChainMatch, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.sni_cluster.v3.sni_cluster_pb2 import SniCluster
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.struct_pb2 import Struct

from pointsman.model.names import datacenter_sni
from pointsman.xds.pack import packed

_LOGGED = {
    "start_time": "%START_TIME%",
    "sni": "%REQUESTED_SERVER_NAME%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_host": "%UPSTREAM_HOST%",
    "downstream": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "flags": "%RESPONSE_FLAGS%",
}


def gateway_listener(
    address: tuple[str, int], remote_datacenters: Iterable[str], trust_domain: str, access_log_path: str = ""
) -> Listener:
    """The listener on `address` (IP, port): one filter chain per other datacenter, and a last one that follows the SNI.

    With `access_log_path` it writes one line of JSON per connection to that file.
    """
    chains = [
        FilterChain(
            filter_chain_match=FilterChainMatch(server_names=[f"*.{datacenter_sni(datacenter, trust_domain)}"]),
            filters=[_tcp_proxy("mesh_gateway_remote", datacenter_sni(datacenter, trust_domain), access_log_path)],
        )
        for datacenter in sorted(remote_datacenters)
    ]
    chains.append(
        FilterChain(
            filters=[
                Filter(name="envoy.filters.network.sni_cluster", typed_config=packed(SniCluster())),
                _tcp_proxy("mesh_gateway_local", "", access_log_path),
            ]
        )
    )
    ip, port = address
    return Listener(
        name=f"default:{ip}:{port}",
        address=Address(socket_address=SocketAddress(address=ip, port_value=port)),
        listener_filters=[
            ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=packed(TlsInspector()))
        ],
        filter_chains=chains,
    )


def _tcp_proxy(stat_prefix: str, cluster: str, access_log_path: str) -> Filter:
    proxy = TcpProxy(stat_prefix=stat_prefix, cluster=cluster)
    if access_log_path:
        line = Struct()
        line.update(_LOGGED)
        log = FileAccessLog(path=access_log_path, log_format=SubstitutionFormatString(json_format=line))
        proxy.access_log.append(AccessLog(name="envoy.access_loggers.file", typed_config=packed(log)))
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))
