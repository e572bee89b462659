"""Every host once: what Envoy makes of an address that stands in a load assignment several times, settled beforehand.

Envoy knows a host by its address and port, and of several such endpoints in one load assignment only the first counts,
in whatever tier it stands (https://github.com/envoyproxy/envoy/issues/23445). Where two targets have an instance in
common (a subset that fails over to all of the service) the first can be the one that is not healthy, and the failover
finds nobody.

What has one address is one thing here: a cluster with tiers has one SNI for all of them, and of its targets only the
primary can lead through mesh gateways, since a node whose failover does is measured and has one tier. Tiers that lead
through the same gateways, each with an SNI of its own, would be several things under one address, and need a cluster
each, behind an aggregate cluster.
"""

from ipaddress import IPv6Address

from envoy.config.core.v3.health_check_pb2 import HEALTHY
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

_Host = tuple[str, int]


def keep_each_host_once(assignment: ClusterLoadAssignment) -> None:
    """Leave every address and port of `assignment` once: in the first tier where it is healthy, with its weight there.

    One that is healthy nowhere stays in its first tier. Every tier keeps its priority, also one that is left without
    endpoints. So the first tier with a healthy endpoint, where Envoy sends the traffic, has the same healthy endpoints
    as before. The addresses must have been checked (`check_assignment`).
    """
    hosts: dict[_Host, tuple[bool, int, int]] = {}
    endpoints = 0
    for tier, group in enumerate(assignment.endpoints):
        endpoints += len(group.lb_endpoints)
        for position, endpoint in enumerate(group.lb_endpoints):
            host, healthy = _host(endpoint), endpoint.health_status == HEALTHY
            known = hosts.get(host)
            if known is None or (healthy and not known[0]):
                hosts[host] = healthy, tier, position
    if len(hosts) == endpoints:
        return
    kept = {(tier, position) for _, tier, position in hosts.values()}
    for tier, group in enumerate(assignment.endpoints):
        for position in reversed(range(len(group.lb_endpoints))):
            if (tier, position) not in kept:
                del group.lb_endpoints[position]


def _host(endpoint: LbEndpoint) -> _Host:
    place = endpoint.endpoint.address.socket_address
    address: str = place.address
    # An IPv6 address has many spellings, which are one host to Envoy.
    return str(IPv6Address(address)) if ":" in address else address, place.port_value
