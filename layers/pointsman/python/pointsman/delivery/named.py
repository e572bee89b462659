"""Clusters of mesh gateways that have host names: an NLB stands before them, say.

Over EDS an Envoy takes IP addresses only. A cluster that has its endpoints inside may name hosts, and Envoy resolves
them, each to all of its addresses, every five seconds (STRICT_DNS,
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/service_discovery). LOGICAL_DNS, which Consul
takes, allows one endpoint; this one allows any number, IP addresses among them, with priority tiers and health.

Such a cluster changes with health, as a whole: SNI and endpoints cannot come apart. Envoy keeps the one before until
it has an answer for the new one. That is its weakness too: a cluster that changes while DNS is away has no endpoints
until DNS is back, where one that stays as it is keeps the addresses that it has.
"""

import re
from collections.abc import Iterable

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from pointsman.delivery.hosts import Host
from pointsman.model.names import is_ip

_NO_IPV4 = re.compile(r"[^0-9.]")


def has_names(hosts: Iterable[Host]) -> bool:
    """Whether one of them has a host name for an address."""
    addresses = [address for address, _ in hosts]
    # Mostly all are IPv4 addresses. Of thousands, one search finds that.
    return _NO_IPV4.search("".join(addresses)) is not None and not all(map(is_ip, addresses))


def put_inside(cluster: Cluster, assignment: ClusterLoadAssignment, *, with_health: bool) -> None:
    """Have `cluster`, which asks for its endpoints so far, have those of `assignment` inside, for Envoy to resolve.

    Without `with_health` they come without their health: a mesh gateway that knows only ill gateways ahead tries them
    all the same, and so its cluster does not change because of them.
    """
    cluster.type = Cluster.DiscoveryType.STRICT_DNS
    cluster.ClearField("eds_cluster_config")
    cluster.load_assignment.CopyFrom(assignment)
    cluster.load_assignment.cluster_name = cluster.name
    if not with_health:
        for group in cluster.load_assignment.endpoints:
            for each in group.lb_endpoints:
                each.health_status = HealthStatus.UNKNOWN
    # A load balancer may have addresses of both families, and the way there only one. How often Envoy asks, every five
    # seconds, is its own default: the fields for it are deprecated since 1.40, and what replaces them is unknown to
    # older ones.
    cluster.dns_lookup_family = Cluster.DnsLookupFamily.V4_PREFERRED
