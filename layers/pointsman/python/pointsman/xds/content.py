"""The computed content of one cluster of one datacenter, which a snapshot holds, and its consistency check."""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.message import DecodeError

from pointsman.chain.plan import Plan, SidecarPlan
from pointsman.failover.measured import Instances
from pointsman.failover.rank import NO_FACTS, Facts
from pointsman.failover.selection import select
from pointsman.failover.sentence import sentence
from pointsman.model.errors import PointsmanError
from pointsman.model.names import is_host_name, is_ip
from pointsman.model.regex import bounded
from pointsman.xds.assignment import Avoided, avoided, gateway_assignment, place_of, sidecar_assignment
from pointsman.xds.cluster import gateway_cluster, sidecar_cluster

MOST_CLUSTERS: Final = 4096
"""Clusters that stay in memory as they were made; as many as they were checked."""

MOST_CLUSTER_TARGETS: Final = 16
"""Targets of a plan whose cluster stays in memory."""

LARGEST_CLUSTER_BYTES: Final = 8192
"""Bytes of a cluster that is remembered as checked: more than one of so many targets has."""


class InconsistentContent(PointsmanError):
    """A cluster and a load assignment that must not reach an Envoy together; the text says why."""


class TargetHealth(NamedTuple):
    """The health of a target: how many instances its subset selects, and how many of them are healthy."""

    id: str
    mode: str
    healthy: int
    total: int


@dataclass(frozen=True, slots=True)
class Content:
    """What is published for a plan.

    `cluster` and `assignment` are serialized protobufs, `active` the id of the active target ("" for a mesh gateway's
    clusters). `avoided` are endpoints of `assignment` that no Envoy gets, because they are ill gateways and others are
    well. If one of these four changes, the version does. `targets` and `sentence` say why, and change more often.
    """

    cluster: bytes
    assignment: bytes
    active: str
    targets: tuple[TargetHealth, ...]
    sentence: str
    avoided: tuple[Avoided, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether it fails over through mesh gateways, to one target's endpoints at a time (docs/semantics.md, section
        4)."""
        return any(each.mode in ("local", "remote") for each in self.targets[1:])

    def same_version(self, other: "Content") -> bool:
        """Whether an Envoy could not tell the two apart."""
        return (self.cluster, self.assignment, self.active, self.avoided) == (
            other.cluster,
            other.assignment,
            other.active,
            other.avoided,
        )

    def check(self) -> str:
        """The cluster's name.

        Raises InconsistentContent unless cluster and assignment fit each other and every endpoint is usable.
        """
        cluster = _read_cluster(self.cluster)
        try:
            assignment = ClusterLoadAssignment.FromString(self.assignment)
        except DecodeError as error:
            raise InconsistentContent(f"not a serialized load assignment: {error}") from None
        if not cluster.name or not cluster.is_eds:
            raise InconsistentContent(f'cluster "{cluster.name}" is not an EDS cluster with a name')
        if assignment.cluster_name != cluster.name:
            raise InconsistentContent(
                f'the load assignment "{assignment.cluster_name}" is not that of cluster "{cluster.name}"'
            )
        check_assignment(assignment)
        self._check_avoided(assignment)
        tiers = 1 if self.measured or not self.targets else len(self.targets)
        if len(assignment.endpoints) != tiers:
            raise InconsistentContent(
                f'load assignment "{cluster.name}" has {len(assignment.endpoints)} priority tiers instead of {tiers}'
            )
        if self.targets:
            target = self.active if self.measured else self.targets[0].id
            if not cluster.sni.startswith(f"{target}.internal."):
                raise InconsistentContent(f'cluster "{cluster.name}" has SNI "{cluster.sni}", its target is {target}')
        return cluster.name

    def _check_avoided(self, assignment: ClusterLoadAssignment) -> None:
        left: dict[int, set[tuple[str, int]]] = {}
        for tier, address, port in self.avoided:
            if tier not in left and 0 <= tier < len(assignment.endpoints):
                left[tier] = {place_of(each) for each in assignment.endpoints[tier].lb_endpoints}
            if (address, port) not in left.get(tier, ()):
                raise InconsistentContent(
                    f'load assignment "{assignment.cluster_name}" has no {address}:{port} in tier {tier} to avoid'
                )
            left[tier].remove((address, port))
        if any(not places for places in left.values()):
            raise InconsistentContent(f'load assignment "{assignment.cluster_name}" avoids all gateways of a tier')


@dataclass(frozen=True, slots=True)
class _ClusterFacts:
    """What the check needs of a serialized cluster. `sni` is "" without TLS."""

    name: str
    is_eds: bool
    sni: str


def _read_cluster(data: bytes) -> _ClusterFacts:
    """Raises InconsistentContent if `data` is no cluster."""
    # Clusters change with the config, and seldom with health, so most were read before.
    return _read_small(data) if len(data) <= LARGEST_CLUSTER_BYTES else _read(data)


def _read(data: bytes) -> _ClusterFacts:
    try:
        cluster = Cluster.FromString(data)
        tls = UpstreamTlsContext()
        cluster.transport_socket.typed_config.Unpack(tls)
    except DecodeError as error:
        raise InconsistentContent(f"not a serialized cluster: {error}") from None
    return _ClusterFacts(str(cluster.name), cluster.type == Cluster.DiscoveryType.EDS, str(tls.sni))


_read_small = lru_cache(maxsize=MOST_CLUSTERS)(_read)


def check_assignment(assignment: ClusterLoadAssignment) -> None:
    """Raise InconsistentContent unless Envoy would accept every group and endpoint."""
    name = assignment.cluster_name
    if not assignment.endpoints:
        raise InconsistentContent(f'load assignment "{name}" has no group')
    if [group.priority for group in assignment.endpoints] != list(range(len(assignment.endpoints))):
        raise InconsistentContent(f'load assignment "{name}" lacks a priority tier')
    for group in assignment.endpoints:
        for endpoint in group.lb_endpoints:
            place = endpoint.endpoint.address.socket_address
            if not is_ip(place.address) and not is_host_name(place.address):
                raise InconsistentContent(
                    f'load assignment "{name}" has the address "{place.address}", which is neither an IP address nor a '
                    "host name"
                )
            if not 0 < place.port_value <= 65535:
                raise InconsistentContent(f'load assignment "{name}" has the port {place.port_value}')
            if endpoint.HasField("load_balancing_weight") and not endpoint.load_balancing_weight.value:
                raise InconsistentContent(f'load assignment "{name}" gives {place.address} the weight 0')


def compute(plan: Plan, instances: Instances, trust_domain: str, facts: Facts = NO_FACTS) -> Content:
    """The content of `plan` with these `instances` and `facts`: a function of its arguments alone.

    Raises TooManySteps if its filters cost more than MOST_STEPS of `pointsman.model.regex`.
    """
    # Most plans have no filter, so nothing of theirs has to be bounded.
    with bounded() if plan.is_filtered else nullcontext():
        return _content(plan, instances, trust_domain, facts=facts)


def _cluster(plan: Plan, active: int, trust_domain: str) -> bytes:
    """The serialized cluster of `plan`."""
    if isinstance(plan, SidecarPlan) and len(plan.targets) > MOST_CLUSTER_TARGETS:
        return _make(plan, active, trust_domain)
    return _make_small(plan, active, trust_domain)


def _make(plan: Plan, active: int, trust_domain: str) -> bytes:
    if isinstance(plan, SidecarPlan):
        return _bytes(sidecar_cluster(plan, active, trust_domain))
    return _bytes(gateway_cluster(plan, trust_domain))


_make_small = lru_cache(maxsize=MOST_CLUSTERS)(_make)


def _content(plan: Plan, instances: Instances, trust_domain: str, *, facts: Facts) -> Content:
    if isinstance(plan, SidecarPlan):
        selection = select(plan, instances, facts)
        return Content(
            cluster=_cluster(plan, selection.active, trust_domain),
            assignment=_bytes(sidecar_assignment(plan, selection, instances, trust_domain)),
            active=plan.targets[selection.active].id,
            targets=tuple(
                [
                    TargetHealth(each.target.id, each.target.mode, each.healthy, len(each.instances))
                    for each in selection.measured
                ]
            ),
            sentence=sentence(plan, selection),
            avoided=avoided(plan, selection, instances),
        )
    assignment = gateway_assignment(plan, instances, trust_domain)
    places = sum(len(group.lb_endpoints) for group in assignment.endpoints)
    return Content(
        cluster=_cluster(plan, 0, trust_domain),
        assignment=_bytes(assignment),
        active="",
        targets=(),
        sentence=f"{plan.cluster_id}: forwarded to {places} addresses",
        avoided=avoided(plan, None, instances),
    )


def _bytes(message: Cluster | ClusterLoadAssignment) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))
