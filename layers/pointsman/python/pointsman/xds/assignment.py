"""Load assignments: the endpoints of a cluster, in groups (docs/semantics.md, sections 6 and 7)."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.health_check_pb2 import HEALTHY, UNHEALTHY
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.wrappers_pb2 import UInt32Value

from pointsman.chain.plan import GatewayRemotePlan, GatewayServicePlan, Plan, SidecarPlan
from pointsman.failover.health import health_and_weight
from pointsman.failover.measured import Instances, Measured, measure
from pointsman.failover.paths import Place, cut_from, is_usable
from pointsman.failover.selection import Selection
from pointsman.model.instance import Instance

OVERPROVISIONING_FACTOR = 100_000
"""So large that the next tier is used only when no endpoint of the tier above is healthy."""

MOST_ENDPOINTS: Final = 65_536
"""Endpoints that stay in memory as they are sent; a service's other ones are made for each of its snapshots."""

_Place = tuple[str, int, bool, int]

Avoided = tuple[int, str, int]
"""A gateway that gets no traffic: the tier, the address and the port of its endpoint."""


def sidecar_assignment(
    plan: SidecarPlan, selection: Selection, instances: Instances, trust_domain: str
) -> ClusterLoadAssignment:
    """The endpoints of a resolver node: the active target's alone, or one priority tier per target."""
    tiers = [
        _group(_places(plan, selection.measured[each], instances), priority)
        for priority, each in enumerate(selection.tiers)
    ]
    policy = None
    if len(tiers) > 1:
        policy = ClusterLoadAssignment.Policy(overprovisioning_factor=UInt32Value(value=OVERPROVISIONING_FACTOR))
    return ClusterLoadAssignment(cluster_name=plan.cluster_name(trust_domain), endpoints=tiers, policy=policy)


def avoided(plan: Plan, selection: Selection | None, instances: Instances) -> tuple[Avoided, ...]:
    """The mesh gateways in the load assignment of `plan` that get no traffic: those that are ill, or not
    reached, as long as another one of their tier is neither. `selection` is that of a sidecar's plan."""
    if isinstance(plan, SidecarPlan) and selection is not None:
        if plan.policy.gateways == "ignore":
            return ()
        cut = cut_from(plan.datacenter, instances)
        return tuple(
            each
            for tier, i in enumerate(selection.tiers)
            if (key := plan.targets[i].gateways(plan.datacenter)) is not None
            for each in _ill(tier, instances.get(key, ()), cut, is_own=plan.targets[i].mode == "local")
        )
    if isinstance(plan, GatewayRemotePlan):
        cut = cut_from(plan.datacenter, instances)
        return tuple(_ill(0, instances.get(plan.gateways, ()), cut, is_own=False))
    return ()


def _ill(tier: int, gateways: Sequence[Instance], cut: frozenset[Place], *, is_own: bool) -> Iterable[Avoided]:
    through = [
        (each.local if is_own else each.remote, is_usable(each, cut, is_own=is_own)) for each in _counting(gateways)
    ]
    well = {place for place, healthy in through if healthy}
    if not well or len(well) == len(through):
        return []
    # Two gateways may share an address.
    return [(tier, *place) for place in sorted({place for place, _ in through} - well)]


def gateway_assignment(
    plan: GatewayServicePlan | GatewayRemotePlan, instances: Instances, trust_domain: str
) -> ClusterLoadAssignment:
    """The endpoints that a mesh gateway forwards to: a service's instances, or another datacenter's gateways."""
    if isinstance(plan, GatewayServicePlan):
        places = [(*each.local, healthy, weight) for each, healthy, weight in measure(plan.target, instances).instances]
    else:
        found = _counting(instances.get(plan.gateways, ()))
        places = [(*each.remote, *health_and_weight(each, only_passing=False)) for each in found]
    return ClusterLoadAssignment(cluster_name=plan.cluster_name(trust_domain), endpoints=[_group(places, 0)])


def _places(plan: SidecarPlan, measured: Measured, instances: Instances) -> list[_Place]:
    """A target's endpoints: its instances, or the gateways on the way with the service's health."""
    target = measured.target
    gateways = target.gateways(plan.datacenter)
    if gateways is None:
        here = target.target.datacenter == plan.datacenter
        return [
            (*(instance.local if here else instance.remote), healthy, weight)
            for instance, healthy, weight in measured.instances
        ]
    through = _counting(instances.get(gateways, ()))
    healthy = measured.healthy > 0
    own = target.mode == "local"
    return [
        (*(each.local if own else each.remote), healthy, health_and_weight(each, only_passing=False)[1])
        for each in through
    ]


def place_of(endpoint: LbEndpoint) -> tuple[str, int]:
    """The address and port of an endpoint."""
    place = endpoint.endpoint.address.socket_address
    return str(place.address), int(place.port_value)


def _counting(instances: Sequence[Instance]) -> Iterable[Instance]:
    return (each for each in instances if each.counts)


def _group(places: Iterable[_Place], priority: int) -> LocalityLbEndpoints:
    # One serialized message after another is all of them merged: here, a group with all endpoints.
    group = LocalityLbEndpoints.FromString(b"".join(map(_endpoint, sorted(places))))
    group.priority = priority
    return group


@lru_cache(maxsize=MOST_ENDPOINTS)
def _endpoint(place: _Place) -> bytes:
    """A group with one endpoint, serialized."""
    address, port, healthy, weight = place
    endpoint = LbEndpoint(
        endpoint=Endpoint(address=Address(socket_address=SocketAddress(address=address, port_value=port))),
        health_status=HEALTHY if healthy else UNHEALTHY,
        load_balancing_weight=UInt32Value(value=weight),
    )
    return bytes(LocalityLbEndpoints(lb_endpoints=[endpoint]).SerializeToString(deterministic=True))
