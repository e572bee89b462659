"""Plans: everything needed to compute one cluster, without entries, compiling or look-ups."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pointsman.model.keys import gateway_plan_key, gateways_key, paths_key, service_key, sidecar_plan_key
from pointsman.model.names import Target, datacenter_sni
from pointsman.model.orders import drain_scope, freeze_scope, pin_scope
from pointsman.model.policy import NO_POLICY, Policy, policy_json, read_policy
from pointsman.model.stored import Damaged, shown

if TYPE_CHECKING:
    from pointsman.chain.graph import Chain, ResolverNode
    from pointsman.model.resolver import LoadBalancer
    from pointsman.model.upstream_config import Mode, PassiveHealthCheck, UpstreamLimits


@dataclass(frozen=True)
class PlanTarget:
    """A target as the plan's datacenter sees it."""

    target: Target
    filter: str = ""
    only_passing: bool = False
    mode: "Mode" = ""

    @cached_property
    def id(self) -> str:
        """The target's own id."""
        return self.target.id

    @cached_property
    def instances(self) -> str:
        """The key of the instances that are measured."""
        return service_key(self.target.datacenter, self.target.name)

    def gateways(self, used_from: str) -> str | None:
        """The key of the mesh gateways that the traffic goes through; None if it goes directly."""
        if self.mode == "local":
            return gateways_key(used_from)
        return gateways_key(self.target.datacenter) if self.mode == "remote" else None

    def way(self, used_from: str) -> tuple[str, ...]:
        """The keys of all mesh gateways on the way, those of each datacenter: of `used_from` in mode local, then of the
        target's; none if the traffic goes directly."""
        first = self.gateways(used_from)
        return () if first is None else tuple(dict.fromkeys((first, gateways_key(self.target.datacenter))))


@dataclass(frozen=True)
class SidecarPlan:
    """One resolver node as the sidecars of `datacenter` see it: the primary target first, then those of failover.

    `customization` is the chain's hash, "" for none. `load_balancer` is the resolver's, None for Envoy's default.
    `policy` is that of the primary target's service. `limits` and `passive_health_check` are the callers', None for
    Envoy's own.
    """

    datacenter: str
    protocol: str
    customization: str
    connect_timeout_ms: int
    targets: tuple[PlanTarget, ...]
    load_balancer: "LoadBalancer | None" = field(default=None, hash=False)
    policy: Policy = NO_POLICY
    limits: "UpstreamLimits | None" = field(default=None, hash=False)
    passive_health_check: "PassiveHealthCheck | None" = field(default=None, hash=False)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Every event asks for it, to find the cluster that was made of the plan before.
        return hash((self.datacenter, self.protocol, self.customization, self.connect_timeout_ms, self.targets))

    @cached_property
    def cluster_id(self) -> str:
        """The cluster's name without its trust domain; it never depends on health."""
        return _cluster_id(self.customization, self.targets[0].target.id)

    @cached_property
    def key(self) -> str:
        """Unique among all plans."""
        return sidecar_plan_key(self.datacenter, self.cluster_id)

    def cluster_name(self, trust_domain: str) -> str:
        """The name of the Cluster and of its load assignment."""
        return f"{self.cluster_id}.internal.{trust_domain}"

    @cached_property
    def measured(self) -> bool:
        """Whether the node fails over through a mesh gateway (docs/semantics.md, section 4)."""
        return any(each.mode in ("local", "remote") for each in self.targets[1:])

    @property
    def is_timed(self) -> bool:
        """Whether the choice among its targets depends on how long they have been healthy."""
        return self.policy.failback_after_ms > 0 and len(self.targets) > 1

    @cached_property
    def is_filtered(self) -> bool:
        """Whether the subset of a target selects its instances by a filter."""
        return any(each.filter for each in self.targets)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The targets for people: by datacenter if they differ in nothing else, otherwise by id."""
        same = len({(each.target.service, each.target.subset, each.target.namespace) for each in self.targets}) == 1
        return tuple(each.target.datacenter if same else each.id for each in self.targets)

    @property
    def http2(self) -> bool:
        """Whether the upstream speaks HTTP/2."""
        return self.protocol in ("http2", "grpc")

    def inputs(self) -> tuple[str, ...]:
        """The keys of all instances and gateways that the cluster is computed from, in order."""
        return self._inputs

    @cached_property
    def _inputs(self) -> tuple[str, ...]:
        gateways = {key for each in self.targets if (key := each.gateways(self.datacenter)) is not None}
        if self.policy.gateways == "require":
            gateways |= {key for each in self.targets for key in each.way(self.datacenter)}
        if self.policy.gateways != "ignore" and gateways - {gateways_key(self.datacenter)}:
            gateways.add(paths_key(self.datacenter))
        return tuple(sorted({each.instances for each in self.targets} | gateways))

    def silences(self) -> frozenset[str]:
        """The datacenters whose silent sources it depends on: those of the targets that it chooses among, and its own
        where gateways of others are avoided."""
        return self._silences

    @cached_property
    def _silences(self) -> frozenset[str]:
        chosen = {each.target.datacenter for each in self.targets} if len(self.targets) > 1 else set()
        return frozenset(chosen | ({self.datacenter} if paths_key(self.datacenter) in self._inputs else set()))

    @cached_property
    def orders(self) -> frozenset[str]:
        """The scopes of the orders that the choice among its targets depends on; none where there is no choice."""
        if len(self.targets) < 2:
            return frozenset()
        primary = self.targets[0].target.name
        pins = {pin_scope(primary), pin_scope(primary, self.datacenter), freeze_scope(), freeze_scope(primary)}
        drains = {drain_scope(each.target.datacenter) for each in self.targets}
        drains |= {drain_scope(each.target.datacenter, each.target.name) for each in self.targets}
        return frozenset(pins | drains)


@dataclass(frozen=True)
class GatewayServicePlan:
    """A service (or a subset of it), as the mesh gateways of its own datacenter forward to it."""

    target: PlanTarget

    @property
    def is_filtered(self) -> bool:
        """Whether a filter selects the instances."""
        return bool(self.target.filter)

    @property
    def datacenter(self) -> str:
        """Where the gateways and the instances are."""
        return self.target.target.datacenter

    @cached_property
    def cluster_id(self) -> str:
        """The cluster's name without its trust domain."""
        return self.target.target.id

    @cached_property
    def key(self) -> str:
        """Unique among all plans."""
        return gateway_plan_key(self.datacenter, self.cluster_id)

    def cluster_name(self, trust_domain: str) -> str:
        """The name of the Cluster: the SNI that it serves."""
        return self.target.target.sni(trust_domain)

    def inputs(self) -> tuple[str, ...]:
        """The key of the service's instances."""
        return (self.target.instances,)

    def silences(self) -> frozenset[str]:
        """None: gateways forward to what there is."""
        return frozenset()

    @property
    def orders(self) -> frozenset[str]:
        """None, likewise."""
        return frozenset()


@dataclass(frozen=True)
class GatewayRemotePlan:
    """The mesh gateways of another datacenter, as those of `datacenter` forward to them."""

    datacenter: str
    remote: str

    @cached_property
    def cluster_id(self) -> str:
        """The cluster's name without its trust domain."""
        return self.remote

    @cached_property
    def key(self) -> str:
        """Unique among all plans."""
        return gateway_plan_key(self.datacenter, self.cluster_id)

    def cluster_name(self, trust_domain: str) -> str:
        """The name of the Cluster."""
        return datacenter_sni(self.remote, trust_domain)

    @property
    def is_filtered(self) -> bool:
        """Whether a filter selects the instances: never."""
        return False

    @property
    def gateways(self) -> str:
        """The key of the other datacenter's gateways."""
        return gateways_key(self.remote)

    def inputs(self) -> tuple[str, ...]:
        """The keys of the other datacenter's gateways, and of how they are reached."""
        return (self.gateways, paths_key(self.datacenter))

    def silences(self) -> frozenset[str]:
        """Its own datacenter, where observers say which gateways they reach."""
        return frozenset({self.datacenter})

    @property
    def orders(self) -> frozenset[str]:
        """None, likewise."""
        return frozenset()


Plan = SidecarPlan | GatewayServicePlan | GatewayRemotePlan


def cluster_name(chain: "Chain", node: "ResolverNode", trust_domain: str) -> str:
    """The name of the cluster of `node`, a resolver node of `chain`; the same as in its plan."""
    return f"{cluster_id(chain, node)}.internal.{trust_domain}"


def cluster_id(chain: "Chain", node: "ResolverNode") -> str:
    """The id of the cluster of `node`, a resolver node of `chain`; the same as in its plan."""
    return _cluster_id(chain.customization, node.target)


def _cluster_id(customization: str, primary: str) -> str:
    return f"{customization}:{primary}" if customization else primary


def sidecar_plans(chain: "Chain") -> list[SidecarPlan]:
    """One plan per resolver node of `chain`, ordered by key."""
    # Imported here: who computes from plans that are there needs no chains.
    from pointsman.chain.graph import ResolverNode

    plans = []
    for _, node in sorted(chain.nodes.items()):
        if isinstance(node, ResolverNode):
            targets = [chain.targets[each] for each in (node.target, *node.failover)]
            plans.append(
                SidecarPlan(
                    datacenter=chain.used_from,
                    protocol=chain.protocol,
                    customization=chain.customization,
                    connect_timeout_ms=node.connect_timeout_ms,
                    targets=tuple(PlanTarget(t.target, t.filter, t.only_passing, t.mode) for t in targets),
                    load_balancer=node.load_balancer,
                    policy=node.policy,
                    limits=chain.limits,
                    passive_health_check=chain.passive_health_check,
                )
            )
    return plans


def plan_json(plan: Plan) -> dict[str, Any]:
    """`plan` as plain JSON values; `read_plan` is its inverse."""
    if isinstance(plan, GatewayServicePlan):
        return {"kind": "gateway-service", "target": _target_json(plan.target)}
    if isinstance(plan, GatewayRemotePlan):
        return {"kind": "gateway-remote", "datacenter": plan.datacenter, "remote": plan.remote}
    body: dict[str, Any] = {
        "kind": "sidecar",
        "datacenter": plan.datacenter,
        "protocol": plan.protocol,
        "customization": plan.customization,
        "connect_timeout_ms": plan.connect_timeout_ms,
        "targets": [_target_json(each) for each in plan.targets],
    }
    if plan.load_balancer:
        body["load_balancer"] = plan.load_balancer.model_dump(by_alias=True, exclude_defaults=True)
    for name, shape in (("limits", plan.limits), ("passive_health_check", plan.passive_health_check)):
        if shape:
            body[name] = shape.model_dump(by_alias=True, exclude_defaults=True)
    if policy := policy_json(plan.policy):
        body["policy"] = policy
    return body


def read_plan(body: Mapping[str, Any]) -> Plan:
    """The plan that `plan_json` wrote. Raises Damaged for an unknown kind."""
    match body.get("kind"):
        case "gateway-service":
            return GatewayServicePlan(_read_target(body["target"]))
        case "gateway-remote":
            return GatewayRemotePlan(body["datacenter"], body["remote"])
        case "sidecar":
            return _read_sidecar_plan(body)
        case other:
            raise Damaged(f"there is no kind of plan {shown(other)}")


def _read_sidecar_plan(body: Mapping[str, Any]) -> SidecarPlan:
    return SidecarPlan(
        datacenter=body["datacenter"],
        protocol=body["protocol"],
        customization=body["customization"],
        connect_timeout_ms=body["connect_timeout_ms"],
        targets=tuple(_read_target(each) for each in body["targets"]),
        load_balancer=_read_load_balancer(body.get("load_balancer")),
        policy=read_policy(body.get("policy") or {}),
        limits=_read_limits(body.get("limits")),
        passive_health_check=_read_passive_health_check(body.get("passive_health_check")),
    )


def _read_limits(body: Mapping[str, Any] | None) -> "UpstreamLimits | None":
    if not body:
        return None
    from pointsman.model.upstream_config import UpstreamLimits

    return UpstreamLimits.model_validate(body)


def _read_passive_health_check(body: Mapping[str, Any] | None) -> "PassiveHealthCheck | None":
    if not body:
        return None
    from pointsman.model.upstream_config import PassiveHealthCheck

    return PassiveHealthCheck.model_validate(body)


def _read_load_balancer(body: Mapping[str, Any] | None) -> "LoadBalancer | None":
    if not body:
        return None
    # Importing the shapes of config takes a while, and few plans need this one.
    from pointsman.model.resolver import LoadBalancer

    return LoadBalancer.model_validate(body)


def _target_json(target: PlanTarget) -> dict[str, Any]:
    body = target.target._asdict()
    return body | {"filter": target.filter, "only_passing": target.only_passing, "mode": target.mode}


def _read_target(body: Mapping[str, Any]) -> PlanTarget:
    target = Target(body["service"], body["subset"], body["namespace"], body["datacenter"])
    return PlanTarget(target, body["filter"], body["only_passing"], body["mode"])
