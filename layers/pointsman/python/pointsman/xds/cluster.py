"""Clusters: one per resolver node (docs/semantics.md, section 5), one per destination of a mesh gateway (section 7)."""

from typing import TYPE_CHECKING

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.percent_pb2 import Percent
from google.protobuf.wrappers_pb2 import UInt32Value, UInt64Value

from pointsman.chain.plan import GatewayRemotePlan, GatewayServicePlan, SidecarPlan
from pointsman.xds.pack import milliseconds, packed

if TYPE_CHECKING:
    from pointsman.model.resolver import LoadBalancer
    from pointsman.model.upstream_config import PassiveHealthCheck, UpstreamLimits

IDENTITY_SECRET = "identity"
"""The SDS name of a proxy's certificate and key."""

TRUST_SECRET = "trust"
"""The SDS name of the bundle that a proxy verifies others with."""

GATEWAY_CONNECT_TIMEOUT_MS = 5000

_NANOSECONDS_PER_MILLISECOND = 1_000_000
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_POLICIES = {
    "random": Cluster.LbPolicy.RANDOM,
    "round_robin": Cluster.LbPolicy.ROUND_ROBIN,
    "least_request": Cluster.LbPolicy.LEAST_REQUEST,
    "ring_hash": Cluster.LbPolicy.RING_HASH,
    "maglev": Cluster.LbPolicy.MAGLEV,
}


def _eds_cluster(name: str, connect_timeout_ms: int) -> Cluster:
    return Cluster(
        name=name,
        type=Cluster.DiscoveryType.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(
            eds_config=ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
        ),
        connect_timeout=milliseconds(connect_timeout_ms),
        outlier_detection=OutlierDetection(),
    )


def sidecar_cluster(plan: SidecarPlan, active: int, trust_domain: str) -> Cluster:
    """The cluster of a resolver node whose active target is the `active`th of the plan.

    Its name and alt_stat_name are the primary target's and do not change in a failover; its SNI does if the node fails
    over through mesh gateways. The server has to present the certificate of one of the node's targets.
    """
    name = plan.cluster_name(trust_domain)
    cluster = _eds_cluster(name, plan.connect_timeout_ms)
    cluster.alt_stat_name = name
    cluster.common_lb_config.CopyFrom(
        # Below a threshold Envoy would send traffic to unhealthy hosts, which are wrong or do not answer.
        Cluster.CommonLbConfig(healthy_panic_threshold=Percent(value=0))
    )
    if plan.http2:
        speak_http2(cluster)
    serving = plan.targets[active if plan.measured else 0]
    cluster.transport_socket.CopyFrom(
        upstream_tls(
            sni=serving.target.sni(trust_domain),
            spiffe_ids=sorted({each.target.spiffe_id(trust_domain) for each in plan.targets}),
        )
    )
    if plan.limits:
        cluster.circuit_breakers.CopyFrom(_circuit_breakers(plan.limits))
    if plan.passive_health_check:
        cluster.outlier_detection.CopyFrom(_outlier_detection(plan.passive_health_check))
    if plan.load_balancer:
        _balance(cluster, plan.load_balancer)
    return cluster


def speak_http2(cluster: Cluster) -> None:
    """Have `cluster` take HTTP/2 to its endpoints."""
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    )
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))


def _circuit_breakers(limits: "UpstreamLimits") -> CircuitBreakers:
    """Consul's limits as Envoy's; delivery takes away Envoy's own where nothing is set."""

    def count(value: int | None) -> UInt32Value | None:
        return None if value is None else UInt32Value(value=value)

    threshold = CircuitBreakers.Thresholds(
        max_connections=count(limits.max_connections),
        max_pending_requests=count(limits.max_pending_requests),
        max_requests=count(limits.max_concurrent_requests),
    )
    return CircuitBreakers(thresholds=[threshold])


def _outlier_detection(check: "PassiveHealthCheck") -> OutlierDetection:
    """Consul's passive health check as Envoy's outlier detection; what is not set is Envoy's."""
    out = OutlierDetection()
    # Rounded up: Envoy rejects an interval or a time of 0.
    if check.interval:
        out.interval.CopyFrom(milliseconds(-(-check.interval // _NANOSECONDS_PER_MILLISECOND)))
    if check.base_ejection_time:
        out.base_ejection_time.CopyFrom(milliseconds(-(-check.base_ejection_time // _NANOSECONDS_PER_MILLISECOND)))
    if check.max_failures:
        out.consecutive_5xx.value = check.max_failures
    if check.enforcing_consecutive_5xx is not None:
        out.enforcing_consecutive_5xx.value = check.enforcing_consecutive_5xx
    if check.max_ejection_percent is not None:
        out.max_ejection_percent.value = check.max_ejection_percent
    return out


def upstream_tls(sni: str, spiffe_ids: list[str]) -> TransportSocket:
    """TLS to instances with one of `spiffe_ids`, with the proxy's own certificate; secrets are only named."""
    context = UpstreamTlsContext(
        sni=sni,
        common_tls_context=CommonTlsContext(
            tls_certificate_sds_secret_configs=[SdsSecretConfig(name=IDENTITY_SECRET)],
            combined_validation_context=CommonTlsContext.CombinedCertificateValidationContext(
                default_validation_context=CertificateValidationContext(
                    match_typed_subject_alt_names=[
                        SubjectAltNameMatcher(
                            san_type=SubjectAltNameMatcher.SanType.URI, matcher=StringMatcher(exact=spiffe_id)
                        )
                        for spiffe_id in spiffe_ids
                    ]
                ),
                validation_context_sds_secret_config=SdsSecretConfig(name=TRUST_SECRET),
            ),
        ),
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def _balance(cluster: Cluster, balancer: "LoadBalancer") -> None:
    """Set Consul's LoadBalancer on Envoy's cluster; hash policies belong to routes."""
    if not balancer.policy:
        return
    cluster.lb_policy = _POLICIES[balancer.policy]
    if balancer.least_request_config and balancer.least_request_config.choice_count:
        choices = UInt32Value(value=balancer.least_request_config.choice_count)
        cluster.least_request_lb_config.CopyFrom(Cluster.LeastRequestLbConfig(choice_count=choices))
    ring = balancer.ring_hash_config
    if ring and (ring.minimum_ring_size or ring.maximum_ring_size):
        cluster.ring_hash_lb_config.CopyFrom(
            Cluster.RingHashLbConfig(
                minimum_ring_size=UInt64Value(value=ring.minimum_ring_size) if ring.minimum_ring_size else None,
                maximum_ring_size=UInt64Value(value=ring.maximum_ring_size) if ring.maximum_ring_size else None,
            )
        )


def gateway_cluster(plan: GatewayServicePlan | GatewayRemotePlan, trust_domain: str) -> Cluster:
    """The cluster that a mesh gateway forwards TLS to; delivery adds the gateway's own connect timeout."""
    return _eds_cluster(plan.cluster_name(trust_domain), GATEWAY_CONNECT_TIMEOUT_MS)
