"""The discovery chain compiler: entries in, one chain or one error out (docs/semantics.md, section 2)."""

from dataclasses import replace

from pointsman.chain.complaints import (
    CATCH_ALL,
    Place,
    Spoken,
    circular_redirect,
    inconsistent_protocols,
    missing_subset,
    not_http,
    too_deep,
    too_large,
    too_many_redirects,
)
from pointsman.chain.entryset import EntrySet
from pointsman.chain.flatten import flatten_splitters, reached_nodes, used_targets
from pointsman.chain.graph import (
    HTTP_PROTOCOLS,
    Chain,
    ChainError,
    ChainTarget,
    Node,
    Overrides,
    ResolverNode,
    RouterNode,
    SplitterNode,
    headers_of,
)
from pointsman.chain.protocol import spoken_by
from pointsman.chain.rewriting import failover_targets, resolver_key, rewrite
from pointsman.model.canonical import canonical, digest
from pointsman.model.entries import EntryKey, key_of
from pointsman.model.names import ServiceName, Target
from pointsman.model.policy import NO_POLICY
from pointsman.model.resolver import ServiceResolver
from pointsman.model.router import Destination, HTTPMatch, Match, Route
from pointsman.model.shape import shape_json
from pointsman.model.upstream_config import Mode

DEFAULT_CONNECT_TIMEOUT_MS = 5000
MOST_SPLITTERS = 100
"""Splitters in a row in one chain: nobody needs more, and the stack is finite."""

MOST_REDIRECTS = 64
"""Redirects and default subsets that a target follows in a row."""

MOST_SPLITS = 1000
"""Splits of all splitters of one chain: flattening multiplies them."""

MOST_TARGETS = 10_000
"""Targets of one chain, each counted once for every resolver that fails over to it."""

NO_OVERRIDES = Overrides()


def compile_chain(
    entries: EntrySet,
    service: ServiceName,
    datacenter: str,
    used_from: str,
    *,
    overrides: Overrides = NO_OVERRIDES,
) -> Chain:
    """The chain of `service`, evaluated in its namespace and in `datacenter`, as the proxies of `used_from` see it.

    Raises ChainError if the entries do not compile.
    """
    return _Compiler(entries, service, datacenter, used_from, overrides=overrides).compile()


class _Compiler:
    """The working state of one compilation, private to it."""

    def __init__(
        self, entries: EntrySet, service: ServiceName, datacenter: str, used_from: str, *, overrides: Overrides
    ) -> None:
        self.entries = entries
        self.service = service
        self.datacenter = datacenter
        self.used_from = used_from
        self.overrides = overrides
        self.spoken: Spoken | None = None
        # The routers and splitters on the way: they need HTTP requests to decide by.
        self.advanced: list[EntryKey] = []
        self.customized: set[str] = set()
        self.nodes: dict[str, Node] = {}
        self.targets: dict[str, ChainTarget] = {}
        self.reads: set[ServiceName] = set()
        self.splits = 0
        self.target_count = 0

    def compile(self) -> Chain:
        start = self.assemble()
        nodes = reached_nodes(flatten_splitters(self.nodes, start, self.service.namespace), start)
        assert self.spoken is not None, "every chain ends at a service"
        protocol = self.spoken.protocol
        if self.advanced and protocol not in HTTP_PROTOCOLS:
            raise not_http(self.service, self.spoken, self.advanced)
        if self.overrides.protocol and self.overrides.protocol.lower() != protocol:
            protocol = self.overrides.protocol.lower()
            self.customized.add("protocol")
        # Other callers do not share what limits these.
        self.customized |= {each for each in ("limits", "passive_health_check") if getattr(self.overrides, each)}
        return Chain(
            service=self.service,
            datacenter=self.datacenter,
            used_from=self.used_from,
            protocol=protocol,
            customization=self.customization(),
            start=start,
            nodes=nodes,
            targets=used_targets(nodes, self.targets),
            reads=frozenset(self.reads),
            limits=self.overrides.limits,
            passive_health_check=self.overrides.passive_health_check,
        )

    def customization(self) -> str:
        """The hash of the overrides that took effect, the same for equal ones; "" if none did."""
        if not self.customized:
            return ""
        effective = {
            "mode": self.overrides.mode,
            "protocol": self.overrides.protocol.lower(),
            "connect_timeout_ms": self.overrides.connect_timeout_ms,
            "limits": shape_json(self.overrides.limits),
            "passive_health_check": shape_json(self.overrides.passive_health_check),
        }
        return digest(canonical({name: effective[name] for name in self.customized}))[:8]

    def new_target(self, service: str, subset: str = "", namespace: str = "") -> Target:
        return Target(service, subset, namespace or self.service.namespace, self.datacenter)

    def assemble(self) -> str:
        top = self.new_target(self.service.name)
        override = self.overrides.protocol.lower()
        self.reads.add(self.service)
        router = self.entries.router(self.service)
        if override and override not in HTTP_PROTOCOLS:
            if router or self.entries.splitter(self.service):
                self.customized.add("protocol")
            return self.resolver_node(top, None)
        if router is None:
            return self.splitter_or_resolver_node(top, None)
        entry = key_of(router)
        self.advanced.append(entry)
        # The routed requests are this service's, even if none of them ends there.
        self.record_protocol(self.service, Place(entry, CATCH_ALL))
        routes: list[tuple[Route, str]] = []
        for i, route in enumerate(router.routes):
            place = Place(entry, f"Routes[{i}].Destination")
            destination = route.destination or Destination()
            target = self.new_target(
                destination.service or self.service.name, destination.service_subset, destination.namespace
            )
            if destination.service_subset or destination.namespace:
                routes.append((route, self.resolver_node(target, place)))
            else:
                routes.append((route, self.splitter_or_resolver_node(target, place)))
        catch_all = Route(match=Match(http=HTTPMatch(path_prefix="/")), destination=Destination())
        routes.append((catch_all, self.splitter_or_resolver_node(top, Place(entry, CATCH_ALL))))
        key = f"router:{self.service.name}"
        self.nodes[key] = RouterNode(self.service.name, tuple(routes))
        return key

    def splitter_or_resolver_node(self, target: Target, place: Place | None) -> str:
        return self.splitter_node(target.name, place) or self.resolver_node(target, place)

    def splitter_node(self, service: ServiceName, place: Place | None, depth: int = 1) -> str | None:
        """The key of the service's splitter node, to which `place` leads; None if it has no splitter."""
        try:
            return self.known_splitter_node(service, depth)
        except ChainError as error:
            if place:
                error.reached_by(*place)
            raise

    def known_splitter_node(self, service: ServiceName, depth: int) -> str | None:
        key = f"splitter:{service.name}"
        if key in self.nodes:
            return key
        self.reads.add(service)
        splitter = self.entries.splitter(service)
        if splitter is None:
            return None
        # Recorded before its splits are followed, so that a loop below stops at the key.
        self.nodes[key] = SplitterNode(service.name, ())
        entry = key_of(splitter)
        self.advanced.append(entry)
        if depth > MOST_SPLITTERS:
            raise too_deep(self.service, self.advanced, MOST_SPLITTERS)
        self.splits += len(splitter.splits)
        if self.splits > MOST_SPLITS:
            raise too_large(self.service, Place(entry, "Splits"), f"{MOST_SPLITS} splits")
        splits: list[tuple[int, str]] = []
        for i, split in enumerate(splitter.splits):
            place = Place(entry, f"Splits[{i}]")
            name = split.service or service.name
            node = None
            if name != service.name and not split.service_subset and not split.namespace:
                node = self.splitter_node(ServiceName(service.namespace, name), place, depth + 1)
            if node is None:
                node = self.resolver_node(self.new_target(name, split.service_subset, split.namespace), place)
            splits.append((split.hundredths, node))
        headers = headers_of((split.request_headers, split.response_headers) for split in splitter.splits)
        self.nodes[key] = SplitterNode(service.name, tuple(splits), headers)
        return key

    def record_protocol(self, service: ServiceName, place: Place | None) -> None:
        """Check the protocol of `service` against the chain's: services with a router count, and those that traffic
        ends at or is redirected from; services with only a splitter do not."""
        self.reads.add(service)
        spoken = spoken_by(self.entries, service, place)
        if self.spoken is None:
            self.spoken = spoken
        elif self.spoken.protocol != spoken.protocol:
            raise inconsistent_protocols(self.service, spoken, self.spoken)

    def resolver_node(self, target: Target, place: Place | None) -> str:
        """The key of the resolver node for `target`, to which `place` leads; a new node is created."""
        places = [place]
        try:
            target, resolver = self.resolve(target, places)
            key = f"resolver:{target.id}"
            if key not in self.nodes:
                # Recorded before its failover is resolved, so that a failover back to it does not load it again.
                self.count_target(target)
                node = self.nodes[key] = self.load(target, resolver)
                failover = [self.failover_target(*each) for each in failover_targets(target, resolver)]
                self.nodes[key] = replace(node, failover=tuple(failover))
            return key
        except ChainError as error:
            for each in reversed(places):
                if each:
                    error.reached_by(*each)
            raise

    def failover_target(self, target: Target, place: Place) -> str:
        """The id of the target that a failover target resolves to, without another failover."""
        target, resolver = self.resolve(target, [place])
        self.count_target(target)
        if f"resolver:{target.id}" not in self.nodes:
            self.load(target, resolver)
        return target.id

    def resolve(self, target: Target, places: list[Place | None]) -> tuple[Target, ServiceResolver]:
        """Follow redirects and default subsets from `target` to the end; add the redirects to `places`."""
        visited: dict[str, Target] = {}
        while f"resolver:{target.id}" not in self.nodes:
            if target.id in visited:
                seen = list(visited)
                raise circular_redirect([visited[each] for each in seen[seen.index(target.id) :]])
            if len(visited) > MOST_REDIRECTS:
                raise too_many_redirects(self.service, list(visited.values()), MOST_REDIRECTS)
            visited[target.id] = target
            self.record_protocol(target.name, places[-1])
            resolver = self.resolver_of(target)
            redirected = target
            if resolver.redirect:
                to = resolver.redirect
                redirected = rewrite(target, to, to.datacenter)
                if redirected.name != target.name or redirected.subset != target.subset:
                    places.append(Place(resolver_key(target), "Redirect"))
            if redirected == target and not target.subset and resolver.default_subset:
                redirected = target._replace(subset=resolver.default_subset)
            if redirected == target:
                break
            target = redirected
        resolver = self.resolver_of(target)
        if target.subset and target.subset not in resolver.subsets:
            raise missing_subset(self.service, target, resolver, places[-1])
        return target, resolver

    def resolver_of(self, target: Target) -> ServiceResolver:
        self.reads.add(target.name)
        return self.entries.resolver(target.name) or ServiceResolver(kind="service-resolver", name=target.service)

    def load(self, target: Target, resolver: ServiceResolver) -> ResolverNode:
        """Add `target` to the chain, with its own gateway mode; its node, still without failover."""
        # Rounded up: Envoy rejects a cluster whose timeout is 0.
        timeout = -(-resolver.connect_timeout // 1_000_000) or DEFAULT_CONNECT_TIMEOUT_MS
        override = self.overrides.connect_timeout_ms
        if override > 0 and timeout != override:
            timeout = override
            self.customized.add("connect_timeout_ms")
        mode, source = self.mode(target)
        subset = resolver.subsets.get(target.subset)
        self.targets[target.id] = ChainTarget(
            target,
            filter=subset.filter if subset else "",
            only_passing=subset.only_passing if subset else False,
            mode=mode,
            mode_source=source,
        )
        entry = self.entries.policy(target.name)
        return ResolverNode(
            name=target.id,
            target=target.id,
            failover=(),
            connect_timeout_ms=timeout,
            load_balancer=resolver.load_balancer,
            request_timeout=resolver.request_timeout,
            policy=entry.policy if entry else NO_POLICY,
            policy_of=entry.name if entry else "",
        )

    def count_target(self, target: Target) -> None:
        """Count one more target, or one more use of one."""
        self.target_count += 1
        if self.target_count > MOST_TARGETS:
            place = Place(resolver_key(target), "Failover")
            raise too_large(self.service, place, f"{MOST_TARGETS} targets, those of failover included")

    def mode(self, target: Target) -> tuple[Mode, str]:
        """The gateway mode of `target` and who set it."""
        if target.datacenter == self.used_from:
            return "", ""
        mode: Mode = ""
        source = ""
        defaults, proxy_defaults = self.entries.defaults(target.name), self.entries.proxy_defaults()
        if defaults and defaults.mesh_gateway.mode:
            mode, source = defaults.mesh_gateway.mode, "service-defaults"
        elif proxy_defaults and proxy_defaults.mesh_gateway.mode:
            mode, source = proxy_defaults.mesh_gateway.mode, "proxy-defaults"
        if self.overrides.mode:
            if self.overrides.mode != mode:
                self.customized.add("mode")
            mode, source = self.overrides.mode, self.overrides.mode_source or "override"
        return mode, source
