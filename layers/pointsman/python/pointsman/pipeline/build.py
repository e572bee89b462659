"""From entries and registrations to plans, manifests and index: compiling, once per change of config."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Chain, ChainError, Overrides
from pointsman.chain.plan import Plan, sidecar_plans
from pointsman.chain.upstream import overrides
from pointsman.model.entries import Entry, ServiceDefaults
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName
from pointsman.model.registration import Registration, Upstream
from pointsman.pipeline.config import Config, PlanEntry, SidecarOrGateway
from pointsman.pipeline.load import index_of
from pointsman.xds.manifest import GatewayManifest, SidecarManifest
from pointsman.xds.rendered import gateway_plans
from pointsman.xds.sidecar_listeners import upstream_listener

_Request = tuple[ServiceName, str, str, Overrides]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A chain, what it was compiled from, and its plans."""

    chain: Chain
    read: tuple[Entry | None, ...]
    plans: tuple[Plan, ...]
    listeners: dict[tuple[Upstream, str], bytes]

    def listener(self, upstream: Upstream, trust_domain: str) -> bytes:
        """The serialized listener of `upstream`, made once."""
        key = (upstream, trust_domain)
        if key not in self.listeners:
            made = upstream_listener(self.chain, upstream, trust_domain)
            self.listeners[key] = made.SerializeToString(deterministic=True)
        return self.listeners[key]


class ChainMemo:
    """Chains compiled before, for as long as no entry that they read is another one.

    Entries are immutable values that stay the same objects from one EntrySet to the next, so looking is cheap.
    """

    def __init__(self) -> None:
        self._chains: dict[_Request, _Compiled] = {}

    def get(self, entries: EntrySet, registration: Registration, upstream: Upstream) -> _Compiled:
        """The compiled chain behind `upstream`. Raises ChainError if it does not compile."""
        service = ServiceName(
            upstream.destination_namespace or registration.service.namespace, upstream.destination_name
        )
        used_from = registration.datacenter
        request = (service, upstream.datacenter or used_from, used_from, overrides(registration, upstream))
        known = self._chains.get(request)
        if known is not None:
            now = _read(entries, known.chain.reads)
            if len(now) == len(known.read) and all(a is b for a, b in zip(now, known.read, strict=True)):
                return known
        chain = compile_chain(entries, *request)
        compiled = _Compiled(chain, _read(entries, chain.reads), tuple(sidecar_plans(chain)), {})
        self._chains[request] = compiled
        return compiled


def _read(entries: EntrySet, services: Iterable[ServiceName]) -> tuple[Entry | None, ...]:
    out: list[Entry | None] = [entries.proxy_defaults()]
    for service in sorted(services):
        defaults: ServiceDefaults | None = entries.defaults(service)
        out += [entries.resolver(service), entries.splitter(service), entries.router(service), defaults]
    return tuple(out)


def build(
    old: Config,
    entries: EntrySet,
    registrations: Mapping[str, Registration],
    trust_domain: str,
    memo: ChainMemo,
) -> Config:
    """The config of the next generation. What did not change keeps the generation in which it last did.

    Its root has no maps and no digest yet: `old` and this differ in values only, and storing comes after.
    """
    generation = old.root.generation + 1
    plans: dict[str, Plan] = {}
    manifests: dict[str, SidecarOrGateway] = {}
    for key, registration in registrations.items():
        if registration.is_gateway:
            manifests[key] = _gateway_manifest(registration, generation)
        else:
            manifests[key] = _sidecar_manifest(entries, registration, generation, trust_domain, memo, plans)
    gateways = {each.datacenter for each in registrations.values() if each.is_gateway}
    for datacenter in gateways:
        plans.update(gateway_plans(entries, datacenter, ()))
    kept = {key: _kept_plan(old.plans.get(key), plan, generation) for key, plan in sorted(plans.items())}
    root = replace(
        old.root,
        generation=generation,
        trust_domain=trust_domain,
        namespaces=_since(old.root.namespaces, entries.namespaces(), generation) | {DEFAULT_NAMESPACE: 0},
        gateways=_since(old.root.gateways, gateways, generation),
        digest="",
    )
    return Config(
        root=root,
        entries=entries,
        registrations=dict(sorted(registrations.items())),
        plans=kept,
        manifests={key: _kept_manifest(old.manifests.get(key), new) for key, new in sorted(manifests.items())},
        index=index_of(kept),
    )


def _since(old: Mapping[str, int], names: Iterable[str], generation: int) -> dict[str, int]:
    return {name: old.get(name, generation) for name in sorted(names)}


def _kept_plan(old: PlanEntry | None, plan: Plan, generation: int) -> PlanEntry:
    return old if old is not None and old.plan == plan else PlanEntry(plan, generation)


def _kept_manifest(old: SidecarOrGateway | None, new: SidecarOrGateway) -> SidecarOrGateway:
    return old if old is not None and replace(old, generation=new.generation) == new else new


def _gateway_manifest(registration: Registration, generation: int) -> GatewayManifest:
    address, port = registration.listen
    timeout, log = registration.gateway_connect_timeout_ms, registration.access_log_path
    return GatewayManifest(generation, address, port, timeout, log)


def _sidecar_manifest(
    entries: EntrySet,
    registration: Registration,
    generation: int,
    trust_domain: str,
    memo: ChainMemo,
    plans: dict[str, Plan],
) -> SidecarManifest:
    clusters: set[str] = set()
    listeners: list[bytes] = []
    for upstream in registration.service.proxy.upstreams:
        try:
            compiled = memo.get(entries, registration, upstream)
        except ChainError:
            # Validation lets through only what compiles; overrides alone can still spoil a chain, and then only
            # that upstream has no clusters, as with Consul.
            continue
        for plan in compiled.plans:
            plans[plan.key] = plan
            clusters.add(plan.cluster_id)
        listeners.append(compiled.listener(upstream, trust_domain))
    return SidecarManifest(generation, tuple(sorted(clusters)), tuple(listeners))
