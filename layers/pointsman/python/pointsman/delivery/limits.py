"""Sets circuit breakers and keepalives of a cluster on delivery."""

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster, UpstreamConnectionOptions
from envoy.config.core.v3.address_pb2 import TcpKeepalive
from google.protobuf.wrappers_pb2 import UInt32Value

_NO_LIMIT = UInt32Value(value=2**32 - 1)


def set_limits(cluster: Cluster) -> None:
    """Set what a failover needs, unless the cluster sets it.

    Envoy's defaults allow 1,024 connections, 1,024 pending and 1,024 active requests to a cluster and refuse the rest
    (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking). A failover brings
    another datacenter's traffic all at once, through a gateway that has one cluster for all of it, which must not
    refuse what the target could serve. Retries keep their limit, which prevents storms.

    An open connection to a dead target stays, whatever clusters and endpoints say; probes close silent ones within a
    minute and a half, as at a sidecar's own listener.
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
