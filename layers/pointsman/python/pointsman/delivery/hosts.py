"""Keeps every host once, because Envoy ignores all but the first of several endpoints with one address.

Envoy identifies a host by its address and port. Of several such endpoints in one load assignment only the first counts,
in any tier (https://github.com/envoyproxy/envoy/issues/23445). If two targets share an instance (a subset that fails
over to the whole service), the first can be the unhealthy one, and the failover finds no endpoint.

Endpoints with one address are interchangeable here: a cluster with tiers has one SNI for all of them, and only its
primary target can lead through mesh gateways, because a node whose failover does is measured and has one tier. Tiers
through the same gateways with different SNIs would need a cluster each, behind an aggregate cluster.
"""

from collections.abc import Iterable
from ipaddress import IPv6Address

from envoy.config.core.v3.health_check_pb2 import HEALTHY
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

Host = tuple[str, int]
"""An address, in one of its spellings, and a port."""


def keep_each_host_once(assignment: ClusterLoadAssignment) -> Iterable[Host]:
    """Keep every address and port of `assignment` once: in the first tier where it is healthy, with its weight there.

    One that is healthy nowhere stays in its first tier. Every tier keeps its priority, even without endpoints. So the
    first tier with a healthy endpoint, where Envoy sends the traffic, has the same healthy endpoints as before. The
    addresses must have passed `check_assignment`. Returns the hosts.
    """
    hosts: dict[Host, tuple[bool, int, int]] = {}
    endpoints = 0
    for tier, group in enumerate(assignment.endpoints):
        endpoints += len(group.lb_endpoints)
        for position, endpoint in enumerate(group.lb_endpoints):
            host, healthy = _host(endpoint), endpoint.health_status == HEALTHY
            known = hosts.get(host)
            if known is None or (healthy and not known[0]):
                hosts[host] = healthy, tier, position
    if len(hosts) == endpoints:
        return hosts
    kept = {(tier, position) for _, tier, position in hosts.values()}
    for tier, group in enumerate(assignment.endpoints):
        for position in reversed(range(len(group.lb_endpoints))):
            if (tier, position) not in kept:
                del group.lb_endpoints[position]
    return hosts


def _host(endpoint: LbEndpoint) -> Host:
    place = endpoint.endpoint.address.socket_address
    address: str = place.address
    # All spellings of an IPv6 address are one host to Envoy, and all of a name to DNS.
    return str(IPv6Address(address)) if ":" in address else address.lower(), place.port_value
