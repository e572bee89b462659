"""Everything that one proxy gets, from entries and instances alone, in the canonical form."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener

from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import ChainError
from pointsman.chain.plan import (
    GatewayRemotePlan,
    GatewayServicePlan,
    Plan,
    PlanTarget,
    sidecar_plans,
)
from pointsman.chain.upstream import upstream_chain
from pointsman.failover.measured import Instances
from pointsman.failover.rank import NO_FACTS, Facts
from pointsman.model.entries import Entry
from pointsman.model.instance import Instance, read_instance
from pointsman.model.keys import PATHS, datacenter_of, gateways_key, is_gateways_key, service_in, service_key
from pointsman.model.names import ServiceName, Target
from pointsman.model.registered import health_shapes, service_of
from pointsman.model.registration import Registration
from pointsman.model.resolver import ServiceResolver
from pointsman.xds.content import compute
from pointsman.xds.gateway_listener import gateway_listener
from pointsman.xds.pack import milliseconds
from pointsman.xds.sidecar_listeners import upstream_listener


@dataclass(slots=True)
class Rendered:
    """Resources by kind, in the order of the upstreams; `errors` are the upstreams whose chains do not compile."""

    clusters: list[Cluster] = field(default_factory=list)
    endpoints: list[ClusterLoadAssignment] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def instances_of(registrations: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, list[Instance]]:
    """The instances in Consul's catalog registrations (by datacenter), under the keys of plans' inputs."""
    out: dict[str, list[Instance]] = {}
    for datacenter, raws in registrations.items():
        for raw in health_shapes(raws):
            namespace, service = service_of(raw)
            key = service_key(datacenter, ServiceName(namespace, service)) if service else gateways_key(datacenter)
            instance = read_instance(raw, service)
            if instance.counts:
                out.setdefault(key, []).append(instance)
    return out


def render_sidecar(
    entries: EntrySet,
    registration: Registration,
    instances: Instances,
    trust_domain: str,
    facts: Callable[[Plan], Facts] = lambda plan: NO_FACTS,
) -> Rendered:
    """What the sidecar of `registration` gets. An upstream whose chain does not compile has no clusters. `facts` are
    what else is known of a plan's targets."""
    out = Rendered()
    plans: dict[str, Plan] = {}
    for upstream in registration.service.proxy.upstreams:
        try:
            chain = upstream_chain(entries, registration, upstream)
        except ChainError as error:
            out.errors.append(str(error))
            continue
        plans |= {plan.key: plan for plan in sidecar_plans(chain)}
        out.listeners.append(upstream_listener(chain, upstream, trust_domain))
    _compute_all(plans, instances, trust_domain, out, facts=facts)
    return out


def gateway_plans(
    entries: Iterable[Entry], datacenter: str, services: Iterable[ServiceName]
) -> dict[str, GatewayServicePlan]:
    """The plans of a datacenter's gateways for its `services` and for every subset of every resolver in `entries`, by
    key."""
    targets = [PlanTarget(Target(each.name, "", each.namespace, datacenter)) for each in services]
    for entry in entries:
        for name, subset in (entry.subsets if isinstance(entry, ServiceResolver) else {}).items():
            target = Target(entry.name, name, entry.namespace, datacenter)
            targets.append(PlanTarget(target, subset.filter, subset.only_passing))
    return {plan.key: plan for plan in map(GatewayServicePlan, targets)}


def render_gateway(entries: EntrySet, registration: Registration, instances: Instances, trust_domain: str) -> Rendered:
    """What the mesh gateway of `registration` gets."""
    out = Rendered()
    datacenter = registration.datacenter
    remotes = sorted({datacenter_of(key) for key in instances if is_gateways_key(key)} - {datacenter})
    services = [
        service
        for key in instances
        if datacenter_of(key) == datacenter and (service := service_in(key)) not in (None, PATHS)
    ]
    plans: dict[str, Plan] = {**gateway_plans(entries, datacenter, services)}
    plans |= {plan.key: plan for plan in (GatewayRemotePlan(datacenter, remote) for remote in remotes)}
    _compute_all(dict(sorted(plans.items())), instances, trust_domain, out)
    if registration.gateway_connect_timeout_ms:
        for cluster in out.clusters:
            cluster.connect_timeout.CopyFrom(milliseconds(registration.gateway_connect_timeout_ms))
    out.listeners.append(gateway_listener(registration.listen, remotes, trust_domain, registration.access_log_path))
    return out


def _compute_all(
    plans: Mapping[str, Plan],
    instances: Instances,
    trust_domain: str,
    out: Rendered,
    *,
    facts: Callable[[Plan], Facts] = lambda plan: NO_FACTS,
) -> None:
    for plan in plans.values():
        content = compute(plan, instances, trust_domain, facts(plan))
        out.clusters.append(Cluster.FromString(content.cluster))
        out.endpoints.append(ClusterLoadAssignment.FromString(content.assignment))
