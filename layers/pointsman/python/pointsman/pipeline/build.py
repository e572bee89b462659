"""Compiles entries and registrations into plans, manifests and index: what a change of config touches, once."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pointsman.chain.complaints import PROXY_DEFAULTS
from pointsman.chain.entryset import GLOBAL_POLICY, EntrySet, references
from pointsman.chain.graph import ChainError
from pointsman.chain.intentions import covers, keys_of
from pointsman.chain.plan import GatewayServicePlan, Plan, SidecarPlan
from pointsman.chain.upstream import destination_of
from pointsman.chain.validate import touched
from pointsman.model.entries import Entry, EntryKey
from pointsman.model.intentions import EVERY
from pointsman.model.keys import datacenter_of, end_of, gateway_in, sidecar_in, sidecar_plan_key
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName
from pointsman.model.overlay import Overlay
from pointsman.model.registration import Registration
from pointsman.pipeline.chains import Chains
from pointsman.pipeline.codecs import PlanEntry, Readers, SidecarOrGateway, index_body
from pointsman.pipeline.config import Config, Root
from pointsman.store.bears import WRITER
from pointsman.xds.inbound_of import inbound_of
from pointsman.xds.manifest import GatewayManifest, SidecarManifest
from pointsman.xds.rendered import gateway_plans

_K = TypeVar("_K")
_V = TypeVar("_V")

_OF_CHAINS = ("service-resolver", "service-splitter", "service-router", "service-defaults", "failover-policy")
"""The kinds of entries that the compiler reads of a service."""

_OF_ALL = (PROXY_DEFAULTS, GLOBAL_POLICY)
"""The entries that it reads whatever the service."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch changes: the entries and registrations that are not as before, by their keys; None for those that
    are deleted."""

    entries: Mapping[EntryKey, Entry | None] = field(default_factory=dict)
    registrations: Mapping[str, Registration | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.entries or self.registrations)


@dataclass(frozen=True, slots=True)
class Built:
    """The next generation: its root, still without maps and digest, and what changes in each map, None for what is
    deleted."""

    root: Root
    changed: Mapping[str, Mapping[Any, Any]]


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far a change of entries reaches: the services whose chains it may change, those at which these chains could
    end before, and all services whose chains may end there too. What leads to other ends stays as it is."""

    changed: Set[ServiceName]
    ends: Set[ServiceName]
    sharing: Set[ServiceName]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What of a manifest holds still after a change: clusters, and listeners by the places of their upstreams."""

    clusters: Set[str] = frozenset()
    listeners: Mapping[int, bytes] = field(default_factory=dict)


_NOTHING_KEPT = _Kept()


def build(old: Config, entries: EntrySet, changes: Changes, *, trust_domain: str) -> Built:
    """The generation after `old`: with `changes`, of which `entries` are the result.

    Only what the changes touch is compiled. Everything else, and what comes out the same, keeps the generation of its
    last change.
    """
    return _Build(old, entries, changes, trust_domain).built()


class _Build:
    """The state of one build."""

    def __init__(self, old: Config, entries: EntrySet, changes: Changes, trust_domain: str) -> None:
        self.old, self.entries, self.changes = old, entries, changes
        self.trust_domain = trust_domain
        self.generation = old.root.generation + 1
        self.changed_users = self._changed_users()
        self.registrations = after(old.registrations, changes.registrations)
        self.users = after(old.users, self.changed_users)
        self.chains = Chains(entries, trust_domain)
        self.reach = self._reach()

    def built(self) -> Built:
        redone = self._redone()
        self.old.registrations.read_ahead(redone)
        self.old.manifests.read_ahead(redone)
        kept = {key: self._kept(key) for key in redone}
        self._read_ahead(kept)
        manifests: dict[str, SidecarOrGateway | None] = {}
        plans: dict[str, Plan | None] = {}
        for key in redone:
            registration = self.registrations.get(key)
            if registration is None:
                manifests[key] = None
            elif registration.is_gateway:
                manifests[key] = _gateway_manifest(registration, self.generation)
            else:
                manifests[key] = self._sidecar_manifest(registration, kept[key], plans)
        before = {plan for key in redone for plan in _plans_of(key, self.old.manifests.get(key))}
        before -= {plan for key in redone for plan in _plans_of(key, manifests[key])}
        plans |= dict.fromkeys(each for each in before if not self._is_used(each, manifests))
        gateways = self._gateways()
        plans |= self._gateway_plans(gateways)
        self.old.plans.read_ahead(plans)
        changed_plans = {
            key: None if plan is None else PlanEntry(plan, self.generation)
            for key, plan in plans.items()
            if (known := self.old.plans.get(key)) is None or known.plan != plan
        }
        referring = self.entries.referring_keys
        assert isinstance(referring, Overlay)
        return Built(
            root=replace(
                self.old.root,
                generation=self.generation,
                trust_domain=self.trust_domain,
                namespaces=_since(self.old.root.namespaces, self.entries.namespaces(), self.generation)
                | {DEFAULT_NAMESPACE: 0},
                gateways=_since(self.old.root.gateways, gateways, self.generation),
                digest="",
                writer=WRITER,
            ),
            changed={
                "entries": self.changes.entries,
                "registrations": self.changes.registrations,
                "plans": changed_plans,
                "manifests": {
                    key: each for key, each in manifests.items() if not _is_same(self.old.manifests.get(key), each)
                },
                "index": self._index(changed_plans),
                "referring": referring.changed,
                "users": self.changed_users,
            },
        )

    def _redone(self) -> list[str]:
        """The registrations to compile, those that are gone included."""
        if self.reach is None:
            return sorted({*self.old.registrations, *self.changes.registrations})
        services = self.reach.changed
        self.old.users.read_ahead(services)
        users = {key for service in services for key in self.users.get(service, ())}
        return sorted({*users, *self._called(), *self.changes.registrations})

    def _reach(self) -> "_Reach | None":
        """How far the changed entries reach; None if everything has to be compiled."""
        if any(each in self.changes.entries for each in _OF_ALL) or self.old.root.writer != WRITER:
            return None
        changed = touched(self.entries, self.changes.entries).keys()
        ends = self._referred(self.old.entries, changed)
        return _Reach(changed, ends, _ending_at(self.entries, ends))

    def _called(self) -> Iterator[str]:
        """The sidecars of the services whose intentions change."""
        for kind, namespace, name in self.changes.entries:
            if kind == "service-intentions":
                of = ServiceName(namespace, name)
                keys = self.old.registrations.keys_alone() if name == EVERY else self.old.users.get(of, ())
                yield from (key for key in keys if (service := sidecar_in(key)) and covers(of, service))

    def _changed_users(self) -> dict[ServiceName, frozenset[str] | None]:
        """The services whose users change, with those that they have then."""
        lost: dict[ServiceName, set[str]] = {}
        won: dict[ServiceName, set[str]] = {}
        if self.old.root.writer != WRITER:
            # An older writer may have noted fewer of them.
            for key, known in self.old.registrations.items():
                for service in _destinations(known):
                    won.setdefault(service, set()).add(key)
        for key, registration in self.changes.registrations.items():
            was, now = _destinations(self.old.registrations.get(key)), _destinations(registration)
            for service in was - now:
                lost.setdefault(service, set()).add(key)
            for service in now - was:
                won.setdefault(service, set()).add(key)
        services = lost.keys() | won.keys()
        self.old.users.read_ahead(services)
        found = {
            service: (self.old.users.get(service, frozenset()) - lost.get(service, set())) | won.get(service, set())
            for service in services
        }
        return {service: keys or None for service, keys in found.items()}

    def _kept(self, key: str) -> "_Kept":
        """What of a registration's manifest holds still, because the changed entries do not reach it."""
        registration, known = self.registrations.get(key), self.old.manifests.get(key)
        if self.reach is None or key in self.changes.registrations or not isinstance(known, SidecarManifest):
            return _NOTHING_KEPT
        if registration is None or registration.destination in self.reach.changed:
            return _NOTHING_KEPT
        upstreams = registration.service.proxy.upstreams
        if len(upstreams) != len(known.listeners):
            # An upstream whose chain does not compile has no listener: nobody knows which is whose.
            return _NOTHING_KEPT
        return _Kept(
            {each for each in known.clusters if end_of(each) not in self.reach.ends},
            {
                i: known.listeners[i]
                for i, upstream in enumerate(upstreams)
                if destination_of(registration, upstream) not in self.reach.sharing
            },
        )

    def _read_ahead(self, kept: Mapping[str, "_Kept"]) -> None:
        """Read what the compiler will ask for, in few round trips to the store."""
        wanted: set[ServiceName] = set()
        called: set[ServiceName] = set()
        for key, its in kept.items():
            if (registration := self.registrations.get(key)) is None or registration.is_gateway:
                continue
            called.add(registration.destination)
            upstreams = enumerate(registration.service.proxy.upstreams)
            wanted |= {destination_of(registration, each) for i, each in upstreams if i not in its.listeners}
        self.old.maps["entries"].read_ahead(dict.fromkeys(key for service in called for key in keys_of(service)))
        self._referred(self.entries, called | wanted)

    def _referred(self, entries: EntrySet, services: Iterable[ServiceName]) -> set[ServiceName]:
        """`services` and those to which their `entries` refer, directly or through others: all that their chains read.

        The entries are read in few round trips to the store.
        """
        wanted, seen = set(services), set[ServiceName]()
        while wanted:
            found = [(kind, each.namespace, each.name) for each in wanted for kind in _OF_CHAINS]
            self.old.maps["entries"].read_ahead(found)
            seen |= wanted
            read = [entry for key in found if (entry := entries.get(key)) is not None]
            wanted = {service for entry in read for _, service in references(entry)} - seen
        return seen

    def _sidecar_manifest(
        self, registration: Registration, kept: "_Kept", plans: dict[str, Plan | None]
    ) -> SidecarManifest:
        clusters = set(kept.clusters)
        listeners: list[bytes] = []
        inbound = inbound_of(self.entries, registration, self.trust_domain)
        for i, upstream in enumerate(registration.service.proxy.upstreams):
            if i in kept.listeners:
                listeners.append(kept.listeners[i])
                continue
            try:
                its_plans, listener = self.chains.use(registration, upstream)
            except ChainError:
                # Validation accepts only entries that compile. Overrides can still break a chain; then only that
                # upstream has no clusters, as in Consul.
                continue
            for plan in its_plans:
                plans[plan.key] = plan
                clusters.add(plan.cluster_id)
            listeners.append(listener)
        return SidecarManifest(self.generation, tuple(sorted(clusters)), tuple(listeners), inbound=inbound)

    def _is_used(self, plan_key: str, redone: Mapping[str, object]) -> bool:
        """Whether a registration that is not compiled again has the plan under `plan_key`.

        Its chain ends at the service of the plan, so its upstream reaches that through entries that refer to each
        other.
        """
        known = self.old.plans.get(plan_key)
        if known is None or not isinstance(known.plan, SidecarPlan):
            return False
        end = known.plan.targets[0].target.name
        for service in _ending_at(self.entries, [end]):
            for user in self.users.get(service, ()):
                if user not in redone and plan_key in _plans_of(user, self.old.manifests.get(user)):
                    return True
        return False

    def _gateways(self) -> set[str]:
        """The datacenters with a registered mesh gateway."""
        found = set(self.old.root.gateways)
        ended: set[str] = set()
        for key, registration in self.changes.registrations.items():
            if gateway_in(key) is not None:
                (found if registration is not None else ended).add(datacenter_of(key))
        if ended:
            there = {*self.old.registrations.keys_alone(), *self.changes.registrations}
            there -= {key for key, registration in self.changes.registrations.items() if registration is None}
            found = {datacenter_of(key) for key in there if gateway_in(key) is not None}
        return found

    def _gateway_plans(self, gateways: Iterable[str]) -> dict[str, Plan | None]:
        """The plans for subsets of services that gateways get or lose, None for those."""
        before: dict[str, GatewayServicePlan] = {}
        now: dict[str, GatewayServicePlan] = {}
        was = self.old.root.gateways.keys()
        replaced = [entry for key in self.changes.entries if (entry := self.old.entries.get(key)) is not None]
        for datacenter in was:
            before |= gateway_plans(replaced if datacenter in gateways else self.old.entries, datacenter, ())
        written = [entry for entry in self.changes.entries.values() if entry is not None]
        for datacenter in gateways:
            now |= gateway_plans(written if datacenter in was else self.entries, datacenter, ())
        return {**dict.fromkeys(before.keys() - now.keys()), **now}

    def _index(self, plans: Mapping[str, PlanEntry | None]) -> dict[str, Readers | None]:
        """What changes in the index."""
        lost: dict[str, set[str]] = {}
        won: dict[str, dict[str, PlanEntry]] = {}
        for key, entry in plans.items():
            known = self.old.plans.get(key)
            for source in known.plan.inputs() if known else ():
                lost.setdefault(source, set()).add(key)
            if entry is not None:
                for source in entry.plan.inputs():
                    won.setdefault(source, {})[key] = entry
        sources = lost.keys() | won.keys()
        self.old.index.read_ahead(sources)
        found: dict[str, Readers | None] = {}
        for source in sources:
            gone = lost.get(source, set())
            kept = {key: body for key, body in self.old.index.get(source, {}).items() if key not in gone}
            found[source] = kept | {key: index_body(source, each) for key, each in won.get(source, {}).items()} or None
        return found


def _ending_at(entries: EntrySet, services: Iterable[ServiceName]) -> Set[ServiceName]:
    """The services whose chains may end at one of `services`, those included."""
    return touched(entries, [("service-resolver", each.namespace, each.name) for each in services]).keys()


def after(before: Mapping[_K, _V], changed: Mapping[_K, _V | None]) -> Overlay[_K, _V]:
    """`before` with `changed` on top, None for what is deleted."""
    puts = {key: value for key, value in changed.items() if value is not None}
    return Overlay(before, puts, changed.keys() - puts.keys())


def _destinations(registration: Registration | None) -> set[ServiceName]:
    """The services whose entries its clusters and listeners come from: those that its upstreams are for, and its own,
    which says how it calls them and is called."""
    if registration is None or registration.is_gateway:
        return set()
    upstreams = registration.service.proxy.upstreams
    return {registration.destination} | {destination_of(registration, upstream) for upstream in upstreams}


def _plans_of(key: str, manifest: SidecarOrGateway | None) -> set[str]:
    """The keys of the plans that the manifest under `key` names."""
    if not isinstance(manifest, SidecarManifest):
        return set()
    return {sidecar_plan_key(datacenter_of(key), cluster) for cluster in manifest.clusters}


def _since(old: Mapping[str, int], names: Iterable[str], generation: int) -> dict[str, int]:
    return {name: old.get(name, generation) for name in sorted(names)}


def _is_same(old: SidecarOrGateway | None, new: SidecarOrGateway | None) -> bool:
    """Whether they differ in nothing but their generation."""
    if old is None or new is None:
        return old is new
    return replace(old, generation=new.generation) == new


def _gateway_manifest(registration: Registration, generation: int) -> GatewayManifest:
    address, port = registration.listen
    timeout, log = registration.gateway_connect_timeout_ms, registration.access_log_path
    return GatewayManifest(generation, address, port, timeout, log)
