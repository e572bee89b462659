"""What traffic sees of a cluster: its endpoints in tiers with their server names, and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import IPv6Address
from typing import Any, Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.health_check_pb2 import DEGRADED, HEALTHY, UNKNOWN
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.clusters.aggregate.v3.cluster_pb2 import ClusterConfig

from pointsman.shadow.balance import DEFAULT_FACTOR, Host, Tier
from pointsman.shadow.held import Held
from pointsman.shadow.plain import Plain, leaves
from pointsman.shadow.settings import cluster_settings, panic_percent
from pointsman.shadow.tls import NO_TLS, Tls, read_tls

MOST_MEMBERS: Final = 1_000
"""Clusters behind one aggregate cluster that are read; Pointsman itself has 100 targets at most."""

MOST_NESTED: Final = 8
"""Aggregate clusters within each other that are followed."""

_DNS_TYPES = (Cluster.DiscoveryType.STRICT_DNS, Cluster.DiscoveryType.LOGICAL_DNS)
_DNS_EXTENSIONS = ("envoy.cluster.strict_dns", "envoy.cluster.logical_dns", "envoy.clusters.dns")
_COUNTS = (UNKNOWN, HEALTHY, DEGRADED)


@dataclass(frozen=True, slots=True)
class Backend:
    """One destination of traffic.

    `tiers` are its endpoints by priority, `by_target` the same for each cluster behind it, and `targets` the server
    names that they are asked for, in order, also those of tiers without endpoints. `settings` are by path; `members`
    has those of the clusters behind an aggregate cluster, and otherwise those alone. `by_name` is whether its endpoints
    are host names that Envoy resolves.
    """

    name: str
    tiers: tuple[Tier, ...]
    by_target: tuple[tuple[Tier, ...], ...]
    targets: tuple[str, ...]
    names: frozenset[str]
    members: tuple[Mapping[str, Any], ...]
    panic: Fraction
    by_name: bool
    problems: tuple[str, ...] = field(default=())


def read_backend(held: Held, name: str, *, resolved: bool = False) -> Backend | None:
    """The backend that the cluster `name` is; None if there is no such cluster.

    With `resolved`, host names are what Envoy found them to stand for.
    """
    cluster = held.clusters.get(name)
    if cluster is None:
        return None
    problems: list[str] = []
    members = _members(held, cluster, problems)
    read = [(each, read_tls(each.transport_socket)) for each in members]
    by_target = tuple(tuple(_tiers(held, each, tls, resolved)) for each, tls in read)
    return Backend(
        name,
        tuple(tier for tiers in by_target for tier in tiers),
        by_target,
        tuple(_targets(tls, held, each) for each, tls in read),
        frozenset(each for _, tls in read for each in tls.names),
        tuple(_settings(each, tls) for each, tls in read),
        panic_percent(members[0] if members else cluster),
        any(is_by_name(each) for each in members),
        tuple(dict.fromkeys(problems)),
    )


def configured_settings(held: Held, name: str) -> Mapping[str, Any]:
    """The settings of a cluster that Pointsman serves, without what delivery adds by itself."""
    cluster = held.configured.get(name)
    return _settings(cluster, read_tls(cluster.transport_socket)) if cluster is not None else {}


def is_by_name(cluster: Cluster) -> bool:
    """Whether its endpoints are host names."""
    return (not cluster.HasField("cluster_type") and cluster.type in _DNS_TYPES) or (
        cluster.cluster_type.name in _DNS_EXTENSIONS
    )


def _settings(cluster: Cluster, tls: Tls) -> dict[str, Any]:
    found: Plain = {**cluster_settings(cluster, by_name=is_by_name(cluster)), **tls.rest}
    return dict(leaves(found))


def _members(
    held: Held, cluster: Cluster, problems: list[str], above: tuple[str, ...] = (), read: int = 0
) -> list[Cluster]:
    """The clusters behind an aggregate cluster, in their order; any other cluster itself. `read` is how many were read
    before."""
    config = ClusterConfig()
    if not cluster.cluster_type.typed_config.Unpack(config):
        return [cluster]
    above = (*above, cluster.name)
    out: list[Cluster] = []
    for name in config.clusters:
        member = held.clusters.get(name)
        if read + len(out) >= MOST_MEMBERS:
            problems.append(f"cluster {above[0]} has more than {MOST_MEMBERS} members; the first are compared")
            break
        if member is None or name in above or len(above) > MOST_NESTED:
            why = "is not there" if member is None else f"is in a circle, or below {MOST_NESTED} others"
            problems.append(f"cluster {cluster.name} leads to {name}, which {why}")
        else:
            out += _members(held, member, problems, above, read + len(out))
    return out


def _targets(tls: Tls, held: Held, cluster: Cluster) -> str:
    if tls.of_hosts:
        for group in _assignment(held, cluster, resolved=False).endpoints:
            for each in group.lb_endpoints:
                if each.endpoint.hostname:
                    return str(each.endpoint.hostname)
    return tls.sni


def _assignment(held: Held, cluster: Cluster, *, resolved: bool) -> ClusterLoadAssignment:
    """The endpoints of a cluster: as Envoy has them, or as they are written where they are host names."""
    if is_by_name(cluster) and not resolved:
        return cluster.load_assignment
    found = held.assignments.get(cluster.eds_cluster_config.service_name or cluster.name)
    return cluster.load_assignment if found is None else found


def _tiers(held: Held, cluster: Cluster, tls: Tls, resolved: bool) -> list[Tier]:
    assignment = _assignment(held, cluster, resolved=resolved)
    if cluster.type == Cluster.DiscoveryType.ORIGINAL_DST and not cluster.HasField("cluster_type"):
        return [Tier((Host("wherever the client meant to go", True, 1, tls.sni),))]
    return tiers_of(assignment, tls)


def tiers_of(assignment: ClusterLoadAssignment, tls: Tls = NO_TLS) -> list[Tier]:
    """The endpoints of a load assignment, by priority."""
    factor = assignment.policy.overprovisioning_factor.value or DEFAULT_FACTOR
    hosts: dict[int, dict[str, Host]] = {}
    seen: set[str] = set()
    for group in assignment.endpoints:
        tier = hosts.setdefault(group.priority, {})
        for each in group.lb_endpoints:
            place = place_text(each.endpoint.address)
            # Envoy identifies a host by its address: of several only the first counts.
            if place not in seen:
                seen.add(place)
                sni = each.endpoint.hostname if tls.of_hosts and each.endpoint.hostname else tls.sni
                healthy = each.health_status in _COUNTS
                tier[place] = Host(place, healthy, each.load_balancing_weight.value or 1, str(sni))
    return [Tier(tuple(hosts[priority].values()), factor) for priority in sorted(hosts)]


def place_text(address: Address) -> str:
    """Where something listens, in one spelling."""
    match address.WhichOneof("address"):
        case "socket_address":
            at = address.socket_address
            port = at.named_port or at.port_value
            return f"[{_ipv6(at.address)}]:{port}" if ":" in at.address else f"{at.address}:{port}"
        case "pipe":
            return f"unix:{address.pipe.path}"
        case "envoy_internal_address":
            return f"listener {address.envoy_internal_address.server_listener_name} of this Envoy"
        case _:
            return "nowhere"


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError:
        return text
