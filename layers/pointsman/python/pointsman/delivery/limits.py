"""How much an Envoy may send to a cluster, and how it notices that nobody is there: set on delivery."""

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster, UpstreamConnectionOptions
from envoy.config.core.v3.address_pb2 import TcpKeepalive
from google.protobuf.wrappers_pb2 import UInt32Value

_NO_LIMIT = UInt32Value(value=2**32 - 1)


def set_limits(cluster: Cluster) -> None:
    """Set what a failover needs, where the cluster itself says nothing.

    Envoy's defaults let 1,024 connections, 1,024 waiting and 1,024 running requests to a cluster and turn the rest away
    (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking). A failover brings
    another datacenter's traffic all at once, through a gateway that has one cluster for all of it: nothing must be
    turned away that the target could take. Retries keep their limit, which protects from storms.

    A connection that was there when its target went dark stays there, whatever clusters and endpoints say; probes end
    the silent ones, within a minute and a half as at a sidecar's own listener.
    """
    if not cluster.HasField("circuit_breakers"):
        thresholds = CircuitBreakers.Thresholds(
            max_connections=_NO_LIMIT, max_pending_requests=_NO_LIMIT, max_requests=_NO_LIMIT
        )
        cluster.circuit_breakers.CopyFrom(CircuitBreakers(thresholds=[thresholds]))
    if not cluster.HasField("upstream_connection_options"):
        probes, idle, interval = (UInt32Value(value=each) for each in (3, 60, 10))
        keepalive = TcpKeepalive(keepalive_probes=probes, keepalive_time=idle, keepalive_interval=interval)
        cluster.upstream_connection_options.CopyFrom(UpstreamConnectionOptions(tcp_keepalive=keepalive))
