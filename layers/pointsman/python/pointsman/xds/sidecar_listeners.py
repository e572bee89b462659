"""A sidecar's upstream listeners, where its application reaches the services it calls."""

from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.wrappers_pb2 import BoolValue

from pointsman.chain.graph import HTTP_PROTOCOLS, Chain, ResolverNode
from pointsman.chain.plan import cluster_id, cluster_name
from pointsman.model.errors import PointsmanError
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.registration import Upstream
from pointsman.xds.connection_manager import connection_manager
from pointsman.xds.drain_metadata import DRAIN_METADATA
from pointsman.xds.pack import packed
from pointsman.xds.routes import route_configuration


def upstream_listener(chain: Chain, upstream: Upstream, trust_domain: str) -> Listener:
    """The listener on the upstream's LocalBindAddress and LocalBindPort, which leads to the start of its `chain`.

    http, http2 and grpc get an HTTP connection manager with the chain's routes inline, every other protocol a TCP proxy
    to the cluster of the chain's first resolver. It has Consul's name: `web:127.0.0.1:9191`, with the namespace
    (`team/web`) and the datacenter (`web?dc=dc2`) if the upstream names one.

    Timeouts are Envoy's: a TCP connection ends after an hour of silence. Until then it stays with its target, also
    after a failover; only new connections go to the new target. Where a policy says `OnSwitch: drain` it ends: the
    filter chain names the clusters of such resolvers, those with another target to switch to.

    Envoy rejects the listener if another process has the port. By default it would share it, and half of the
    connections would go to the other process.

    Raises PointsmanError for a chain that the compiler never makes.
    """
    name, ip, port = _identifier(upstream), upstream.local_bind_address or "127.0.0.1", upstream.local_bind_port
    filters = FilterChain(filters=[_filter(chain, name, trust_domain)])
    for cluster in _drained(chain):
        filters.metadata.filter_metadata[DRAIN_METADATA][cluster] = ""
    return Listener(
        name=f"{name}:{ip}:{port}",
        address=Address(socket_address=SocketAddress(address=ip, port_value=port)),
        traffic_direction=TrafficDirection.OUTBOUND,
        enable_reuse_port=BoolValue(value=False),
        filter_chains=[filters],
    )


def _drained(chain: Chain) -> list[str]:
    """The ids of the clusters whose switches end connections."""
    nodes = (node for node in chain.nodes.values() if isinstance(node, ResolverNode) and node.failover)
    return sorted(cluster_id(chain, node) for node in nodes if node.policy.on_switch == "drain")


def _identifier(upstream: Upstream) -> str:
    namespace = upstream.destination_namespace
    name = upstream.destination_name
    if namespace and namespace != DEFAULT_NAMESPACE:
        name = f"{namespace}/{name}"
    return f"{name}?dc={upstream.datacenter}" if upstream.datacenter else name


def _filter(chain: Chain, name: str, trust_domain: str) -> Filter:
    stat_prefix = f"upstream.{chain.service.name}.{chain.service.namespace}.{chain.datacenter}"
    if chain.protocol in HTTP_PROTOCOLS:
        manager = _connection_manager(chain, name, trust_domain, stat_prefix)
        return Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))
    start = chain.nodes[chain.start]
    if not isinstance(start, ResolverNode):
        raise PointsmanError(
            f'discovery chain "{chain.service.name}": {chain.start} needs http, http2 or grpc, not {chain.protocol}'
        )
    proxy = TcpProxy(stat_prefix=stat_prefix, cluster=cluster_name(chain, start, trust_domain))
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))


def _connection_manager(chain: Chain, name: str, trust_domain: str, stat_prefix: str) -> HttpConnectionManager:
    manager = connection_manager(chain.protocol, stat_prefix)
    manager.route_config.CopyFrom(route_configuration(chain, name, trust_domain))
    return manager
