"""Compiles entries and registrations into plans, manifests and index, once per change of config."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Chain, ChainError, Overrides
from pointsman.chain.plan import Plan, sidecar_plans
from pointsman.chain.upstream import destination_of, overrides
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
    """A chain, the entries it was compiled from, its plans, and the serialized listeners of its upstreams."""

    chain: Chain
    read: tuple[Entry | None, ...]
    plans: tuple[Plan, ...]
    listeners: dict[tuple[Upstream, str], bytes]


class ChainMemo:
    """The chains that the last build used. Others are dropped, so there are no more chains than upstreams.

    A chain stays valid while every entry that it read is the same object. Entries are immutable and pass from one
    EntrySet to the next, so the check is cheap.
    """

    def __init__(self) -> None:
        self.chains: dict[_Request, _Compiled] = {}

    def __len__(self) -> int:
        return sum(1 + len(each.listeners) for each in self.chains.values())


class _Chains:
    """The chains of one build; valid ones of the build before are reused."""

    def __init__(self, entries: EntrySet, trust_domain: str, before: Mapping[_Request, _Compiled]) -> None:
        self.used: dict[_Request, _Compiled] = {}
        self._entries, self._trust_domain, self._before = entries, trust_domain, before

    def use(self, registration: Registration, upstream: Upstream) -> tuple[tuple[Plan, ...], bytes]:
        """The plans of the chain for `upstream`, and its listener. Raises ChainError if it does not compile."""
        service, used_from = destination_of(registration, upstream), registration.datacenter
        request = (service, upstream.datacenter or used_from, used_from, overrides(registration, upstream))
        before, compiled = self._before.get(request), self.used.get(request)
        if compiled is None:
            taken_over = before is not None and self._counts(before)
            compiled = replace(before, listeners={}) if before and taken_over else self._compiled(request)
            self.used[request] = compiled
        key = (upstream, self._trust_domain)
        if key not in compiled.listeners:
            known = before.listeners.get(key) if before and before.chain is compiled.chain else None
            compiled.listeners[key] = known or _listener(compiled.chain, *key)
        return compiled.plans, compiled.listeners[key]

    def _counts(self, known: _Compiled) -> bool:
        now = _read(self._entries, known.chain.reads)
        return len(now) == len(known.read) and all(a is b for a, b in zip(now, known.read, strict=True))

    def _compiled(self, request: _Request) -> _Compiled:
        service, datacenter, used_from, changed = request
        chain = compile_chain(self._entries, service, datacenter, used_from, overrides=changed)
        return _Compiled(chain, _read(self._entries, chain.reads), tuple(sidecar_plans(chain)), {})


def _listener(chain: Chain, upstream: Upstream, trust_domain: str) -> bytes:
    return bytes(upstream_listener(chain, upstream, trust_domain).SerializeToString(deterministic=True))


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
    *,
    trust_domain: str,
    memo: ChainMemo,
) -> Config:
    """The config of the next generation. What did not change keeps the generation of its last change.

    Its root has no maps and no digest yet: they are filled in when it is stored.
    """
    generation = old.root.generation + 1
    plans: dict[str, Plan] = {}
    manifests: dict[str, SidecarOrGateway] = {}
    chains = _Chains(entries, trust_domain, memo.chains)
    for key, registration in registrations.items():
        if registration.is_gateway:
            manifests[key] = _gateway_manifest(registration, generation)
        else:
            manifests[key] = _sidecar_manifest(registration, generation, chains, plans)
    memo.chains = chains.used
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
    registration: Registration, generation: int, chains: _Chains, plans: dict[str, Plan]
) -> SidecarManifest:
    clusters: set[str] = set()
    listeners: list[bytes] = []
    for upstream in registration.service.proxy.upstreams:
        try:
            its_plans, listener = chains.use(registration, upstream)
        except ChainError:
            # Validation accepts only entries that compile. Overrides can still break a chain; then only that upstream
            # has no clusters, as in Consul.
            continue
        for plan in its_plans:
            plans[plan.key] = plan
            clusters.add(plan.cluster_id)
        listeners.append(listener)
    return SidecarManifest(generation, tuple(sorted(clusters)), tuple(listeners))
