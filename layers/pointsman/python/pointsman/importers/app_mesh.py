"""What App Mesh's resources become: config entries and registrations, and a report of every field of every source."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from pointsman.chain.entryset import EntrySet
from pointsman.chain.validate import validate
from pointsman.importers.drafts import Drafts, Protocols
from pointsman.importers.gateways import Gateway
from pointsman.importers.gather import Gatherer
from pointsman.importers.imported import Imported
from pointsman.importers.matches import not_tried_again
from pointsman.importers.names import Names, known_as
from pointsman.importers.nodes import Target, convert_backends, convert_node, convert_policy, full_name, target_of
from pointsman.importers.pieces import Ledger, Piece
from pointsman.importers.resource import Resource
from pointsman.importers.routes import Router
from pointsman.model.entries import key_of
from pointsman.model.errors import InvalidInput, Problem
from pointsman.pipeline.configure import parse_documents

JSON = dict[str, Any]

UNREAD: Final = "nothing here reads it"
"""The reason of a field that no part of the import decided about."""


def import_app_mesh(
    files: Iterable[tuple[str, bytes]],
    *,
    datacenter: str,
    names: Mapping[str, str] = {},
    values: Mapping[str, str] = {},
    for_agent: bool = False,
    beside: Collection[str] = (),
) -> Imported:
    """Convert the App Mesh resources in `files` (names and contents).

    `datacenter` is where the registrations are, `names` gives services other names (by their old ones), `values` those
    of placeholders. `for_agent` also makes definitions for the agents of the hosts. Files that `beside` names may be
    something else. Raises InvalidInput if another is none of the shapes known, if two things would have one name, or
    describe one resource differently.
    """
    ledger = Ledger()
    gatherer = Gatherer(ledger, values, beside)
    for name, content in files:
        gatherer.read(content, name)
    gatherer.finish()
    drafts = Drafts(datacenter, for_agent)
    return _Import(_once(gatherer.resources, ledger), ledger, Names(names), drafts).run()


class _Import:
    def __init__(self, resources: list[Resource], ledger: Ledger, names: Names, drafts: Drafts) -> None:
        self._all = resources
        self._ledger = ledger
        self._names = names
        self._drafts = drafts
        self._protocols = Protocols()
        self._of: dict[str, list[Resource]] = {}
        for each in resources:
            self._of.setdefault(each.kind, []).append(each)
        self._nodes = self._of.get("VirtualNode", [])
        self._targets = {id(node): target_of(node, names) for node in self._nodes}
        self._node_of = _by_name(self._nodes)
        self._router_of = _by_name(self._of.get("VirtualRouter", []))
        self._services = {
            called: names.service(each.name, str(each), *each.aliases)
            for called, each in _by_name(self._of.get("VirtualService", [])).items()
        }
        self._leading: dict[str, list[Resource]] = {}
        """The virtual nodes that a service leads to."""

    def run(self) -> Imported:
        gateways = self._gateways()
        leads = {id(each): self._led_to(each) for each in self._of.get("VirtualService", [])}
        for each in self._of.get("VirtualService", []):
            for node in leads[id(each)]:
                self._names.same(each.name, full_name(node))
            self._leading.setdefault(self._services[each.name], []).extend(leads[id(each)])
        # A name that only a reference has may be one of those too.
        for node in self._nodes:
            for backend in node.spec.items("backends"):
                self._service(backend.get("virtualService", "virtualServiceName"))
        self._names.check()
        for each in self._of.get("Mesh", []):
            if each.spec.text("egressFilter", "type") == "DROP_ALL":
                reason = "nothing keeps an application from calling what is not an upstream"
                self._ledger.name(each.spec.get("egressFilter"), reason, "use the network's own rules")
            self._ledger.pass_over(each.spec, "a sidecar reaches its upstreams, and the application what it likes")
            for name in each.names:
                self._ledger.pass_over(name, "there are no meshes here: one store is one mesh")
        for node in self._nodes:
            convert_node(node, self._targets[id(node)], self._drafts, self._protocols, self._ledger)
        self._virtual_services()
        for called, (gateway, routes) in gateways.items():
            Gateway(called, self._service, self._drafts, self._protocols, self._ledger).convert(gateway, routes)
        self._callers()
        self._protocols.write(self._drafts, self._ledger)
        return self._result()

    def _gateways(self) -> dict[str, tuple[Resource | None, list[Resource]]]:
        found: dict[str, tuple[Resource | None, list[Resource]]] = {}
        known: dict[str, str] = {}
        for each in self._of.get("VirtualGateway", []):
            name = self._names.service(each.name, str(each), *each.aliases)
            found[name] = (each, [])
            known |= dict.fromkeys((each.name, *each.aliases), name)
        for route in self._of.get("GatewayRoute", []):
            parent = route.parent or (next(iter(known)) if len(set(known.values())) == 1 else "gateway")
            parent = known_as(parent, known)
            if parent not in known:
                known[parent] = self._names.service(parent, f'virtual gateway "{parent}"')
                found[known[parent]] = (None, [])
            if not route.parent:
                self._ledger.remark(route.spec, f"does not say its gateway; it is taken to be {parent}")
            found[known[parent]][1].append(route)
        return found

    def _service(self, name: Piece | None) -> str:
        """The service of a virtual service by a name of it; it need not be in the files."""
        if name is None:
            return ""
        called = known_as(_last(str(name.value)), self._services)
        if called not in self._services:
            self._services[called] = self._names.service(called, f'virtual service "{called}"')
            namespace, _, own = called.rpartition("/")
            for node in self._nodes:  # what Kubernetes calls namespace/own
                if namespace and full_name(node).startswith(f"{own}.{namespace}."):
                    self._names.same(called, full_name(node))
            self._ledger.remark(name, f"{called} is in none of these files; it is taken to be one service")
        self._services.setdefault(str(name.value), self._services[called])
        return self._services[called]

    def _node(self, name: Piece) -> Resource | None:
        return self._node_of.get(known_as(_last(str(name.value)), self._node_of))

    def _target(self, name: Piece) -> Target:
        if (node := self._node(name)) is not None:
            return self._targets[id(node)]
        called = _last(str(name.value)).rpartition("/")[2]
        service = self._names.service(called, f'virtual service or node "{called}"')
        self._ledger.remark(name, f"{called} is in none of these files; it is taken to be the service {service}")
        return Target(service)

    def _routes_of(self, service: Resource) -> tuple[Resource | None, list[Resource]]:
        named = service.spec.get("provider", "virtualRouter", "virtualRouterName")
        if named is None:
            return None, []
        called = known_as(_last(str(named.value)), self._router_of)
        router = self._router_of.get(called)
        names = {called} | ({router.name, *router.aliases} if router else set())
        return router, [each for each in self._of.get("Route", []) if each.parent in names]

    def _led_to(self, service: Resource) -> list[Resource]:
        named = [service.spec.get("provider", "virtualNode", "virtualNodeName")]
        for route in self._routes_of(service)[1]:
            named += _node_names(route)
        return [node for each in named if each is not None and (node := self._node(each)) is not None]

    def _virtual_services(self) -> None:
        routed: set[int] = set()
        taken: set[str] = set()
        for each in self._of.get("VirtualService", []):
            service = self._services[each.name]
            router, routes = self._routes_of(each)
            made = self._router(service)
            for name in each.names:
                self._ledger.is_service(name, service)
            if "." in each.name and each.names:
                text = f"{each.name} stays a host of {service}: its routes take every host"
                self._ledger.remark(each.names[0], text)
            provider = each.spec.get("provider")
            node = each.spec.get("provider", "virtualNode", "virtualNodeName")
            if node is not None:
                made.direct(self._target(node), [each.spec])
                if self._protocols.of(service) != "tcp":
                    not_tried_again(each.spec, self._ledger)
            elif provider is None:
                self._ledger.remark(each.spec, f"{service} has no provider: nothing leads to its instances")
            elif not routes:
                instead = "add the file with them; until then requests go to the instances of that name"
                self._ledger.name(provider, "its router has no routes in these files", instead)
                made.convert([], router.spec.items("listeners") if router else [])
                taken |= {router.name, *router.aliases} if router else set()
            else:
                self._ledger.is_service(provider, service)
                if routed.isdisjoint(map(id, routes)):
                    made.convert(routes, router.spec.items("listeners") if router else [])
                else:
                    self._copy(service, routes, router)
                routed |= {id(route) for route in routes}
                taken |= {route.parent for route in routes} | ({router.name, *router.aliases} if router else set())
            for name in router.names if router else []:
                self._ledger.pass_over(name, f"its routes are those of {service}")
        self._orphans(routed, taken)

    def _orphans(self, routed: set[int], taken: set[str]) -> None:
        """Routes and routers that no virtual service leads to: of a service that has the router's name."""
        routers = {each.name: each for each in self._of.get("VirtualRouter", []) if each.name not in taken}
        parents: dict[str, list[Resource]] = {name: [] for name in routers}
        for route in self._of.get("Route", []):
            if id(route) not in routed:
                called = next((r.name for r in routers.values() if route.parent in (r.name, *r.aliases)), route.parent)
                parents.setdefault(called or route.name, []).append(route)
        for parent, routes in parents.items():
            service = self._names.service(parent, f'virtual router "{parent}"')
            router = routers.get(parent)
            first = routes[0].spec if routes else router.spec if router else None
            if first is not None:
                text = f"no virtual service here leads to {parent}; it is the service {service}: --name {parent}=NEW"
                self._ledger.remark(first, text)
            self._router(service).convert(routes, router.spec.items("listeners") if router else [])
            for name in router.names if router else []:
                self._ledger.is_service(name, service)

    def _copy(self, service: str, routes: list[Resource], router: Resource | None) -> None:
        """A second virtual service of one router has the same routes: told once, made twice."""
        quiet = Ledger()
        again = Router(service, self._target, self._is_node(service), self._names, self._drafts, self._protocols, quiet)
        again.convert(routes, [])

    def _router(self, service: str) -> Router:
        return Router(
            service, self._target, self._is_node(service), self._names, self._drafts, self._protocols, self._ledger
        )

    def _is_node(self, service: str) -> bool:
        return any(target.service == service for target in self._targets.values())

    def _callers(self) -> None:
        calls: dict[str, list[str]] = {}
        for node in self._nodes:
            target = self._targets[id(node)]
            for called in convert_backends(node, target, self._services, self._drafts, self._ledger):
                if target.service not in calls.setdefault(called, []):
                    calls[called].append(target.service)
        for node in self._nodes:
            upstreams = [
                (caller, service)
                for service, nodes in sorted(self._leading.items())
                if node in nodes
                for caller in calls.get(service, [])
            ]
            convert_policy(node, self._targets[id(node)], upstreams, self._drafts, self._ledger)

    def _result(self) -> Imported:
        self._names.check()
        self._names.check_chosen()
        self._ledger.tell_services(self._drafts.services())
        for each in self._all:
            for piece in _said(each):
                self._ledger.name(piece, UNREAD, "report it, with the file")
        services = self._drafts.by_service()
        _check([document for documents in services.values() for document in documents])
        imported = Imported(services, self._ledger)
        for each in self._all:
            imported.count(each.kind, each.shape, _said(each))
        imported.definitions = self._drafts.definitions
        return imported


def _said(resource: Resource) -> list[Piece]:
    """Where the source says something of a resource: its names and its spec, unless that is empty."""
    return [*resource.names, *([resource.spec] if resource.spec.value else [])]


def _once(resources: list[Resource], ledger: Ledger) -> list[Resource]:
    """Each resource once: files often say the same twice. Raises InvalidInput if they say it differently."""
    found: dict[tuple[str, str, str], Resource] = {}
    problems = []
    for each in resources:
        key = (each.kind, each.parent, each.aliases[0] if each.shape == "Kubernetes" and each.aliases else each.name)
        first = found.setdefault(key, each)
        if first is each:
            continue
        if first.spec.plain() != each.spec.plain():
            where = f"{first.spec.file} {first.spec.path}"
            reason = f"is described differently at {where}; import only the one that holds, and each mesh by itself"
            problems.append(Problem(f"{each} of {each.spec.file} {each.spec.path}", "", reason))
        for piece in [*each.names, each.spec]:
            ledger.pass_over(piece, f"is said at {first.spec.file} {first.spec.path} already")
    if problems:
        raise InvalidInput(problems)
    return list(found.values())


def _by_name(resources: Sequence[Resource]) -> dict[str, Resource]:
    """Resources by their names, and by their other names where these are no other's name."""
    found: dict[str, Resource] = {}
    for each in resources:
        found.setdefault(each.name, each)
    for each in resources:
        for called in each.aliases:
            found.setdefault(called, each)
    return found


def _node_names(route: Resource) -> list[Piece | None]:
    return [
        each.get("virtualNode")
        for kind in ("httpRoute", "http2Route", "grpcRoute", "tcpRoute")
        for each in route.spec.items(kind, "action", "weightedTargets")
    ]


def _last(name: str) -> str:
    """The name in an ARN; any other name as it is."""
    return name.rpartition("/")[2] if name.startswith("arn:") else name


def _check(documents: list[JSON]) -> None:
    """Raises InvalidInput unless `documents` are a config that an empty store takes."""
    if not documents:
        return
    batch = parse_documents(documents)
    if problems := validate(EntrySet.of(batch.entries), map(key_of, batch.entries)):
        raise InvalidInput(problems)
