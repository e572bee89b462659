"""Sets circuit breakers, keepalives and outlier detection of a cluster on delivery."""

from envoy.config.cluster.v3.cluster_pb2 import Cluster, UpstreamConnectionOptions
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from envoy.config.core.v3.address_pb2 import TcpKeepalive
from google.protobuf.wrappers_pb2 import UInt32Value

from pointsman.xds.pack import milliseconds

_NO_LIMIT = UInt32Value(value=2**32 - 1)

OUTLIERS = OutlierDetection(
    split_external_local_origin_errors=True,
    enforcing_consecutive_5xx=UInt32Value(value=0),
    enforcing_success_rate=UInt32Value(value=0),
    max_ejection_percent=UInt32Value(value=50),
    interval=milliseconds(1_000),
    base_ejection_time=milliseconds(3_000),
    max_ejection_time=milliseconds(30_000),
)
"""Which hosts Envoy ejects for a while: those that five connections in a row did not reach, whatever they answer; at
most half of them, so one of two, and never the only one. For three seconds, at each further time for three more, up to
half a minute."""

MERGED_MS = 10
"""Milliseconds after a change of hosts' health until Envoy applies the next one."""


def set_limits(cluster: Cluster) -> None:
    """Set what a failover needs, unless the cluster sets it.

    Envoy's defaults allow 1,024 connections, 1,024 pending and 1,024 active requests to a cluster and refuse the rest
    (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking). A failover brings
    another datacenter's traffic all at once, through a gateway that has one cluster for all of it, which must not
    refuse what the target could serve. Retries keep their limit, which prevents storms.

    An open connection to a dead target stays, whatever clusters and endpoints say; probes close silent ones within a
    minute and a half, as at a sidecar's own listener.

    By default Envoy ejects at most a tenth of the hosts, which is nobody in a group of less than ten: of two instances,
    one that is dead gets half of the requests until an event tells of it. It also ejects hosts whose application
    answers 5xx, and behind a gateway that would be the gateway, for what somebody else answers. (Its
    `always_eject_one_host` would eject an only host too, which then gets nothing for half a minute after it is back.)
    It ejects for half a minute at first, and an ejected host gets nothing although an event says that it is back. And
    for a second after a host's health changed, no other change of health counts: when two die together, the second
    gets requests for that second.
    """
    thresholds = cluster.circuit_breakers.thresholds
    if not thresholds:
        thresholds.add()
    for field in ("max_connections", "max_pending_requests", "max_requests"):
        if not thresholds[0].HasField(field):
            getattr(thresholds[0], field).CopyFrom(_NO_LIMIT)
    if not cluster.HasField("upstream_connection_options"):
        probes, idle, interval = (UInt32Value(value=each) for each in (3, 60, 10))
        keepalive = TcpKeepalive(keepalive_probes=probes, keepalive_time=idle, keepalive_interval=interval)
        cluster.upstream_connection_options.CopyFrom(UpstreamConnectionOptions(tcp_keepalive=keepalive))
    if cluster.outlier_detection == OutlierDetection():
        cluster.outlier_detection.CopyFrom(OUTLIERS)
    if not cluster.common_lb_config.HasField("update_merge_window"):
        cluster.common_lb_config.update_merge_window.CopyFrom(milliseconds(MERGED_MS))
