"""The discovery chain compiler: entries in, one chain or one error out (docs/semantics.md, section 2)."""

from collections.abc import Iterator
from dataclasses import replace

from pointsman.chain.complaints import (
    CATCH_ALL,
    PROXY_DEFAULTS,
    Place,
    Spoken,
    circular_redirect,
    circular_splitters,
    inconsistent_protocols,
    missing_subset,
    not_http,
    too_deep,
    too_large,
    too_many_redirects,
)
from pointsman.chain.entryset import EntrySet
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
)
from pointsman.model.canonical import canonical, digest
from pointsman.model.entries import EntryKey, Mode, key_of
from pointsman.model.names import ServiceName, Target
from pointsman.model.resolver import ServiceResolver
from pointsman.model.router import Destination, HTTPMatch, Match, Route
from pointsman.model.splitter import share

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
    overrides: Overrides = NO_OVERRIDES,
) -> Chain:
    """The chain of `service`, evaluated in its namespace and in `datacenter`, as the proxies of `used_from` see it.

    Raises ChainError if the entries do not compile.
    """
    return _Compiler(entries, service, datacenter, used_from, overrides).compile()


def _or(value: str, default: str) -> str:
    return value or default


class _Compiler:
    """The working state of one compilation, private to it."""

    def __init__(
        self, entries: EntrySet, service: ServiceName, datacenter: str, used_from: str, overrides: Overrides
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
        self.flatten_splitters(self.innermost_first(start))
        self.drop_unreached(start)
        assert self.spoken is not None, "every chain ends at a service"
        protocol = self.spoken.protocol
        if self.advanced and protocol not in HTTP_PROTOCOLS:
            raise not_http(self.service, self.spoken, self.advanced)
        if self.overrides.protocol and self.overrides.protocol.lower() != protocol:
            protocol = self.overrides.protocol.lower()
            self.customized.add("protocol")
        return Chain(
            service=self.service,
            datacenter=self.datacenter,
            used_from=self.used_from,
            protocol=protocol,
            customization=self.customization(),
            start=start,
            nodes=self.nodes,
            targets=self.targets,
            reads=frozenset(self.reads),
        )

    def customization(self) -> str:
        """The hash of the overrides that took effect, the same for equal ones; "" if none did."""
        if not self.customized:
            return ""
        effective = {
            "mode": self.overrides.mode,
            "protocol": self.overrides.protocol.lower(),
            "connect_timeout_ms": self.overrides.connect_timeout_ms,
        }
        return digest(canonical({name: effective[name] for name in self.customized}))[:8]

    def new_target(self, service: str, subset: str = "", namespace: str = "") -> Target:
        return Target(service, subset, _or(namespace, self.service.namespace), self.datacenter)

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
                _or(destination.service, self.service.name), destination.service_subset, destination.namespace
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
            name = _or(split.service, service.name)
            node = None
            if name != service.name and not split.service_subset and not split.namespace:
                node = self.splitter_node(ServiceName(service.namespace, name), place, depth + 1)
            if node is None:
                node = self.resolver_node(self.new_target(name, split.service_subset, split.namespace), place)
            splits.append((split.hundredths, node))
        self.nodes[key] = SplitterNode(service.name, tuple(splits))
        return key

    def record_protocol(self, service: ServiceName, place: Place | None) -> None:
        """Check the protocol of `service` against the chain's: services with a router count, and those that traffic
        ends at or is redirected from; services with only a splitter do not."""
        self.reads.add(service)
        protocol, source = "", None
        if defaults := self.entries.defaults(service):
            protocol, source = defaults.protocol, key_of(defaults)
        elif proxy_defaults := self.entries.proxy_defaults():
            protocol, source = proxy_defaults.protocol, PROXY_DEFAULTS
        spoken = Spoken(service, _or(protocol, "tcp").lower(), source, bool(protocol), place)
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
                failover = [self.failover_target(*each) for each in _failover_targets(target, resolver)]
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
                redirected = _rewrite(target, to.service, to.service_subset, to.namespace, to.datacenter)
                if redirected.name != target.name or redirected.subset != target.subset:
                    places.append(Place(_resolver_key(target), "Redirect"))
            if redirected == target and not target.subset and resolver.default_subset:
                redirected = replace(target, subset=resolver.default_subset)
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
        return ResolverNode(target.id, target.id, (), timeout, resolver.load_balancer, resolver.request_timeout)

    def count_target(self, target: Target) -> None:
        """Count one more target, or one more use of one."""
        self.target_count += 1
        if self.target_count > MOST_TARGETS:
            place = Place(_resolver_key(target), "Failover")
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

    def innermost_first(self, start: str) -> list[str]:
        """The keys of all nodes that `start` reaches, each after those that it leads to.

        Raises ChainError for circular splitters: flattening them would never end.
        """
        path: list[tuple[str, int]] = []
        done: dict[str, None] = {}

        def visit(key: str) -> None:
            keys = [each for each, _ in path]
            if key in keys:
                raise circular_splitters([self.place(each, i) for each, i in path[keys.index(key) :]])
            if key in done:
                return
            for i, following in enumerate(_next_nodes(self.nodes[key])):
                path.append((key, i))
                visit(following)
                path.pop()
            done[key] = None

        visit(start)
        return list(done)

    def place(self, key: str, split: int) -> Place:
        """The place in the entry of the splitter node under `key` that defines its `split`th share."""
        return Place(("service-splitter", self.service.namespace, self.nodes[key].name), f"Splits[{split}]")

    def flatten_splitters(self, innermost_first: list[str]) -> None:
        """Replace each split that leads to a splitter by that splitter's own splits, which are already flat.

        Consul multiplies in the random order of a Go map, so any order will do.
        """
        for key in innermost_first:
            node = self.nodes[key]
            if isinstance(node, SplitterNode):
                splits: list[tuple[int, str]] = []
                for weight, following in node.splits:
                    inner = self.nodes[following]
                    if isinstance(inner, SplitterNode):
                        splits.extend((share(weight, part), last) for part, last in inner.splits)
                    else:
                        splits.append((weight, following))
                self.nodes[key] = replace(node, splits=_merged(splits))

    def drop_unreached(self, start: str) -> None:
        reached: set[str] = set()
        waiting = [start]
        while waiting:
            key = waiting.pop()
            if key not in reached:
                reached.add(key)
                waiting.extend(_next_nodes(self.nodes[key]))
        self.nodes = {key: self.nodes[key] for key in sorted(reached)}
        kept: set[str] = set()
        for node in self.nodes.values():
            if isinstance(node, ResolverNode):
                kept |= {node.target, *node.failover}
        self.targets = {key: self.targets[key] for key in sorted(kept)}


def _merged(splits: list[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """The shares, added up by node: otherwise nested splitters that meet again would double with every level."""
    shares: dict[str, int] = {}
    for weight, key in splits:
        shares[key] = shares.get(key, 0) + weight
    return tuple((weight, key) for key, weight in shares.items())


def _next_nodes(node: Node) -> list[str]:
    if isinstance(node, RouterNode):
        return [key for _, key in node.routes]
    if isinstance(node, SplitterNode):
        return [key for _, key in node.splits]
    return []


def _rewrite(target: Target, service: str, subset: str, namespace: str, datacenter: str) -> Target:
    """`target` with the given parts replaced. At another service it loses its subset, because subsets belong to a
    service."""
    moved = Target(
        _or(service, target.service), "", _or(namespace, target.namespace), _or(datacenter, target.datacenter)
    )
    kept = target.subset if moved.name == target.name else ""
    return replace(moved, subset=_or(subset, kept))


def _resolver_key(target: Target) -> EntryKey:
    return ("service-resolver", target.namespace, target.service)


def _failover_targets(target: Target, resolver: ServiceResolver) -> Iterator[tuple[Target, Place]]:
    """The failover targets of `target`, in order, each with the place that names it; `target` itself is left out."""
    name = target.subset if target.subset in resolver.failover else "*"
    section = resolver.failover.get(name)
    if section is None:
        return
    entry, field = _resolver_key(target), f'Failover["{name}"]'
    for i, to in enumerate(section.targets):
        each = _rewrite(target, to.service, to.service_subset, to.namespace, to.datacenter)
        if each != target:
            yield each, Place(entry, f"{field}.Targets[{i}]")
    for datacenter in [] if section.targets else section.datacenters or [""]:
        each = _rewrite(target, section.service, section.service_subset, section.namespace, datacenter)
        if each != target:
            yield each, Place(entry, field)
