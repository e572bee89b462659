"""Explains where the traffic of a service goes, and why: its chain as a tree, with every target's health."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from pointsman.chain.compiler import NO_OVERRIDES, compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Chain, Overrides, ResolverNode, SplitterNode
from pointsman.chain.plan import SidecarPlan, sidecar_plans
from pointsman.failover.callers import Callers, callers_json
from pointsman.failover.health import is_well
from pointsman.failover.measured import Instances
from pointsman.failover.paths import cut_from
from pointsman.failover.rank import NO_FACTS, PLACES, Facts, Rank
from pointsman.failover.selection import select
from pointsman.failover.sentence import sentence
from pointsman.model.keys import gateways_key
from pointsman.model.names import ServiceName, Target
from pointsman.model.orders import Order
from pointsman.model.policy import Policy
from pointsman.model.router import Route
from pointsman.model.upstream_config import Mode


@dataclass(frozen=True, slots=True)
class ExplainedTarget:
    """A target in the order of failover.

    `mode_source` is where the gateway mode comes from: "upstream override", "proxy override", "service-defaults",
    "proxy-defaults", or "" if nothing sets it or the target is in its callers' datacenter. `gateways` is how many mesh
    gateways its traffic can go through, None if it goes directly, and `ill_gateways` how many of them are not well.
    `cut_gateways` is how many gateways of its own datacenter nobody in that of its callers reaches, as far as that
    matters here.
    `total` counts the instances that the target's filter keeps, `healthy` the healthy ones among them, `needed` how
    many the policy wants. `silent` is whether all that is known of it comes from silent sources. `drained` and
    `pinned` are the ids of the orders that say so, "" if none does. `calm_in_ms` is for how long it still waits behind
    another target, as its policy wants, 0 if it does not.
    """

    target: Target
    filter: str
    only_passing: bool
    mode: Mode
    mode_source: str
    gateways: int | None
    ill_gateways: int
    cut_gateways: int
    healthy: int
    total: int
    needed: int
    active: bool
    silent: bool
    rank: Rank
    drained: str
    pinned: str
    calm_in_ms: int = 0


@dataclass(frozen=True, slots=True)
class ExplainedResolver:
    """A resolver node: its cluster, its targets, and the sentence that says why.

    `chosen_by` is "pointsman" if Pointsman chooses among the targets, "envoy" if Envoy has all of them as priority
    tiers, and "" if there is only one. `request_timeout` is in nanoseconds, 0 for none, `policy` the load balancing
    policy, "" for Envoy's own. `failover_policy` is what holds for the node, `policy_of` the name of the entry that
    says so, "" for none.
    """

    key: str
    cluster: str
    connect_timeout_ms: int
    request_timeout: int
    policy: str
    failover_policy: Policy
    policy_of: str
    chosen_by: str
    targets: tuple[ExplainedTarget, ...]
    why: str


@dataclass(frozen=True, slots=True)
class ExplainedSplitter:
    """Shares in hundredths of a percent, each with the node it goes to."""

    key: str
    splits: tuple[tuple[int, "Explained"], ...]


@dataclass(frozen=True, slots=True)
class ExplainedRouter:
    """Routes in order, each with the node its requests go to; the last one takes every request."""

    key: str
    routes: tuple[tuple[Route, "Explained"], ...]


Explained = ExplainedRouter | ExplainedSplitter | ExplainedResolver


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole chain of a service, evaluated in `datacenter`, as the sidecars of `used_from` have it.

    `customization` is the hash of the overrides that took effect, "" for none. `callers` is who may call the services
    that it ends at, as far as intentions say.
    """

    service: ServiceName
    datacenter: str
    used_from: str
    protocol: str
    customization: str
    start: Explained
    callers: tuple[Callers, ...] = ()


def explain(
    entries: EntrySet,
    service: ServiceName,
    datacenter: str,
    instances: Instances,
    *,
    overrides: Overrides = NO_OVERRIDES,
    used_from: str = "",
) -> Explanation:
    """Where the traffic of the sidecars of `used_from` ("": of `datacenter`) to `service` goes, and why.

    `datacenter` is where the chain is evaluated: an upstream's `Datacenter`, or the sidecar's own. `overrides` are
    those of the sidecar's registration (`pointsman.chain.upstream.overrides`). `instances` are by the keys that
    `inputs` names; a missing key has none. Raises ChainError if the entries do not compile.
    """
    chain = compile_chain(entries, service, datacenter, used_from or datacenter, overrides=overrides)
    return explain_chain(chain, instances)


def inputs(chain: Chain) -> frozenset[str]:
    """The keys of all instances and gateways needed to explain `chain`."""
    return frozenset(key for plan in sidecar_plans(chain) for key in plan.inputs())


def silences(chain: Chain) -> frozenset[str]:
    """The datacenters whose silent sources matter to `chain`."""
    return frozenset(each for plan in sidecar_plans(chain) for each in plan.silences())


def orders(chain: Chain) -> frozenset[str]:
    """The scopes of the orders that matter to `chain`."""
    return frozenset(each for plan in sidecar_plans(chain) for each in plan.orders)


def explain_chain(
    chain: Chain, instances: Instances, facts: Callable[[SidecarPlan], Facts] = lambda _: NO_FACTS
) -> Explanation:
    """`explain` for a chain that is compiled already. `facts` are what else is known of a plan's targets."""
    plans = {plan.targets[0].target.id: plan for plan in sidecar_plans(chain)}
    known: dict[str, Explained] = {}

    def explained(key: str) -> Explained:
        if key not in known:
            node = chain.nodes[key]
            if isinstance(node, ResolverNode):
                plan = plans[node.target]
                known[key] = _resolver(chain, key, node, plan=plan, instances=instances, facts=facts(plan))
            elif isinstance(node, SplitterNode):
                known[key] = ExplainedSplitter(key, tuple((weight, explained(to)) for weight, to in node.splits))
            else:
                known[key] = ExplainedRouter(key, tuple((route, explained(to)) for route, to in node.routes))
        return known[key]

    return Explanation(
        chain.service, chain.datacenter, chain.used_from, chain.protocol, chain.customization, explained(chain.start)
    )


def _resolver(
    chain: Chain, key: str, node: ResolverNode, *, plan: SidecarPlan, instances: Instances, facts: Facts
) -> ExplainedResolver:
    selection = select(plan, instances, facts)
    cut = cut_from(plan.datacenter, instances)

    def waits(i: int) -> bool:
        return not selection.ranks[i].calm and i in selection.waits

    targets = []
    for i, measured in enumerate(selection.measured):
        found = chain.targets[measured.target.target.id]
        gateways = measured.target.gateways(plan.datacenter)
        through = None if gateways is None else [each for each in instances.get(gateways, ()) if each.counts]
        there = () if gateways is None else instances.get(gateways_key(measured.target.target.datacenter), ())
        targets.append(
            ExplainedTarget(
                target=found.target,
                filter=found.filter,
                only_passing=found.only_passing,
                mode=found.mode,
                mode_source=found.mode_source,
                gateways=None if through is None else len(through),
                ill_gateways=sum(not is_well(each) for each in through or ()),
                cut_gateways=sum(each.counts and each.remote in cut for each in there),
                healthy=measured.healthy,
                total=len(measured.instances),
                needed=plan.policy.needed(len(measured.instances)),
                active=i == selection.active,
                silent=measured.silent,
                rank=selection.ranks[i],
                calm_in_ms=selection.waits.get(i, 0) - (selection.facts.moment or 0) if waits(i) else 0,
                drained=_id(selection.facts.drained.get(i)),
                pinned=_id(selection.facts.pinned.get(i)),
            )
        )
    several = "pointsman" if plan.measured else "envoy"
    return ExplainedResolver(
        key=key,
        cluster=plan.cluster_id,
        connect_timeout_ms=node.connect_timeout_ms,
        request_timeout=node.request_timeout,
        policy=node.load_balancer.policy if node.load_balancer else "",
        failover_policy=node.policy,
        policy_of=node.policy_of,
        chosen_by=several if len(targets) > 1 else "",
        targets=tuple(targets),
        why=sentence(plan, selection),
    )


def _id(order: Order | None) -> str:
    return "" if order is None else order.id


def explain_json(explanation: Explanation) -> dict[str, Any]:
    """`explanation` as plain JSON values, for programs: every field by its name, a node with its `kind`.

    Weights are in percent; a route is in Consul's shape, with `to`. A node that several routes or splits lead to is
    written out at each of them.
    """
    return {
        "service": explanation.service.name,
        "namespace": explanation.service.namespace,
        "datacenter": explanation.datacenter,
        "used_from": explanation.used_from,
        "protocol": explanation.protocol,
        "customization": explanation.customization,
        "chain": _node_json(explanation.start),
        "callers": callers_json(explanation.callers),
    }


def _node_json(node: Explained) -> dict[str, Any]:
    if isinstance(node, ExplainedRouter):
        routes = [
            route.model_dump(by_alias=True, exclude_defaults=True) | {"to": _node_json(to)} for route, to in node.routes
        ]
        return {"kind": "router", "key": node.key, "routes": routes}
    if isinstance(node, ExplainedSplitter):
        splits = [{"percent": hundredths / 100, "to": _node_json(to)} for hundredths, to in node.splits]
        return {"kind": "splitter", "key": node.key, "splits": splits}
    return {
        "kind": "resolver",
        "key": node.key,
        "cluster": node.cluster,
        "connect_timeout_ms": node.connect_timeout_ms,
        "request_timeout_ms": _milliseconds(node.request_timeout),
        "policy": node.policy,
        "failover_policy": {"of": node.policy_of, **asdict(node.failover_policy)},
        "chosen_by": node.chosen_by,
        "targets": [_target_json(target) for target in node.targets],
        "why": node.why,
    }


def _milliseconds(nanoseconds: int) -> int | float:
    whole, part = divmod(nanoseconds, 1_000_000)
    return nanoseconds / 1_000_000 if part else whole


def _target_json(explained: ExplainedTarget) -> dict[str, Any]:
    target = explained.target
    return {
        "id": target.id,
        "service": target.service,
        "subset": target.subset,
        "namespace": target.namespace,
        "datacenter": target.datacenter,
        "filter": explained.filter,
        "only_passing": explained.only_passing,
        "mode": explained.mode,
        "mode_source": explained.mode_source,
        "gateways": explained.gateways,
        "ill_gateways": explained.ill_gateways,
        "cut_gateways": explained.cut_gateways,
        "healthy": explained.healthy,
        "total": explained.total,
        "active": explained.active,
        "silent": explained.silent,
        "drained": explained.drained,
        "pinned": explained.pinned,
        "needed": explained.needed,
        "calm_in_ms": explained.calm_in_ms,
        "rank": {place: getattr(explained.rank, place) for place in PLACES},
    }
