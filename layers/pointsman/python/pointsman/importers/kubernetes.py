"""App Mesh's resources in Kubernetes, `appmesh.k8s.aws/v1beta2` and `v1beta1`."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pointsman.importers.names import known_as
from pointsman.importers.pieces import Ledger, Piece, below, pieces
from pointsman.importers.resource import KINDS, MESH, NOT_OURS, Resource
from pointsman.importers.sources import filled

_NO_SPEC: Final = ("awsName", "meshName", "meshRef", "meshOwner", "serviceDiscoveryType")
"""What stands in a spec, and is none of the API's spec."""


class Kubernetes:
    """Reads Kubernetes' resources, and gives those of App Mesh to `add`."""

    def __init__(self, ledger: Ledger, values: Mapping[str, str], add: Callable[..., Resource]) -> None:
        self._ledger = ledger
        self._values = values
        self._add = add
        self._namespace = ""
        self._groups: dict[str, Piece] = {}
        self._grouped: list[tuple[Resource, Piece]] = []

    def read(self, document: Mapping[str, Any], file: str, path: str) -> None:
        """Add what a document is, or what those in a list are."""
        listed = str(document.get("kind"))
        if listed.endswith("List") and isinstance(document.get("items"), list) and document["items"]:
            of = (
                {"apiVersion": document.get("apiVersion"), "kind": listed.removesuffix("List")}
                if listed != "List"
                else {}
            )
            for key, value in document.items():
                if key != "items":
                    self._ledger.pass_over(pieces(file, below(path, key), value), "is the list's own")
            for i, each in enumerate(document["items"]):
                if isinstance(each, dict):
                    self.read(of | each, file, f"{below(path, 'items')}[{i}]")
                else:
                    self._ledger.pass_over(pieces(file, f"{below(path, 'items')}[{i}]", each), NOT_OURS)
            return
        kind = document.get("kind")
        if kind == "BackendGroup" and str(document.get("apiVersion", "")).startswith("appmesh.k8s.aws/"):
            self._backend_group(document, file, path)
            return
        if not str(document.get("apiVersion", "")).startswith("appmesh.k8s.aws/") or kind not in KINDS:
            self._ledger.pass_over(pieces(file, path, document), f"a {kind} {NOT_OURS}")
            return
        metadata, spec = _block(document.get("metadata")), _block(document.get("spec"))
        own, namespace = (filled(str(metadata.get(each) or ""), self._values) for each in ("name", "namespace"))
        self._namespace = namespace
        for key, value in document.items():
            if key == "metadata" and isinstance(value, dict) and value:
                for each in value:
                    if each != "name":
                        at = below(below(path, key), each)
                        self._ledger.pass_over(pieces(file, at, value[each]), "is Kubernetes' own")
            elif key != "spec" or not isinstance(value, dict):
                self._ledger.pass_over(pieces(file, below(path, key), value), "is Kubernetes' own")
        at = below(path, "spec")
        place = Piece(file, path, {})
        name = filled(str(spec.get("awsName") or ""), self._values)
        if kind == "VirtualService" and not name and namespace and "." not in own:
            name = f"{own}.{namespace}"
        names = [pieces(file, below(below(path, "metadata"), "name"), metadata["name"])] if "name" in metadata else []
        rest = dict(spec)
        if kind == "VirtualService" and isinstance(rest.get("virtualRouter"), dict) and "name" in rest["virtualRouter"]:
            rest["virtualRouter"] = dict(rest["virtualRouter"])
            where = below(below(at, "virtualRouter"), "name")
            reason = f"its routes are those of {own}"
            self._ledger.pass_over(pieces(file, where, rest["virtualRouter"].pop("name")), reason)
        for key in [each for each in rest if each in _NO_SPEC or each.endswith("Selector")]:
            piece = pieces(file, below(at, key), rest.pop(key))
            if key == "awsName":
                names.append(piece)
            else:
                reason = (
                    MESH
                    if key.startswith(("mesh", "serviceD"))
                    else "is for App Mesh's controller: which pods belong to it"
                )
                self._ledger.pass_over(piece, reason)
        parent = ""
        gateway = rest.pop("virtualGatewayRef", None)
        if gateway is not None:
            parent = self.reference(gateway)
            self._ledger.pass_over(pieces(file, below(at, "virtualGatewayRef"), gateway), "is where its routes went")
        aliases = [f"{namespace}/{own}", own]
        groups = rest.pop("backendGroups", None)
        routes = rest.pop("routes", None)
        if kind == "VirtualService" and "virtualRouter" in rest:
            router = rest.pop("virtualRouter")
            rest["provider"] = {"virtualRouter": {"virtualRouterName": own}}
            self._add(file, "Kubernetes", "VirtualRouter", own, place, router, below(at, "virtualRouter"), aliases)
        elif kind == "VirtualService" and routes is not None:
            rest["provider"] = {"virtualRouter": {"virtualRouterName": own}}
        found = self._add(file, "Kubernetes", kind, name or own, place, rest, at, aliases)
        found.names, found.parent = names, parent
        if "backendGroups" in spec:
            self._have_groups(found, groups, file, below(at, "backendGroups"))
        for i, each in enumerate(routes if isinstance(routes, list) else []):
            where = f"{below(at, 'routes')}[{i}]"
            if not isinstance(each, dict):
                self._ledger.name(pieces(file, where, each), "is no route", "write a route")
                continue
            body = {key: value for key, value in each.items() if key != "name"}
            route = self._add(
                file, "Kubernetes", "Route", str(each.get("name") or f"route-{i}"), place, body, where, []
            )
            route.parent = f"{namespace}/{own}"
            route.names = [pieces(file, below(where, "name"), each["name"])] if "name" in each else []
        if routes == [] or (routes is None and "routes" in spec):
            self._ledger.pass_over(pieces(file, below(at, "routes"), routes), "says nothing")
        elif routes is not None and not isinstance(routes, list):
            self._ledger.name(pieces(file, below(at, "routes"), routes), "is no list", "write a list of routes")

    def _backend_group(self, document: Mapping[str, Any], file: str, path: str) -> None:
        """A list of virtual services that virtual nodes have as backends, all of them."""
        metadata, spec = _block(document.get("metadata")), _block(document.get("spec"))
        self._namespace = str(metadata.get("namespace") or "")
        at = below(below(path, "spec"), "virtualservices")
        services = spec.get("virtualservices")
        found = [
            Piece(file, f"{at}[{i}]", self.reference(each) if isinstance(each, dict) else "")
            for i, each in enumerate(services if isinstance(services, list) else [])
        ]
        named = [each for each in found if each.value]
        if named:
            self._groups[f"{self._namespace}/{metadata.get('name')}"] = Piece(file, at, named)
        for each in found:
            if not each.value:
                self._ledger.name(each, "refers to no virtual service", "write its name")
        for key, value in document.items():
            if key != "spec" or not named:
                self._ledger.pass_over(pieces(file, below(path, key), value), "is Kubernetes' own")
        for key in spec.keys() - {"virtualservices"} if named else ():
            self._ledger.pass_over(pieces(file, below(below(path, "spec"), key), spec[key]), "is Kubernetes' own")

    def _have_groups(self, node: Resource, groups: Any, file: str, path: str) -> None:
        if not groups and isinstance(groups, list | str | None):
            self._ledger.pass_over(pieces(file, path, groups), "says nothing")
            return
        listed = groups if isinstance(groups, list) else []
        references = [self.reference(each) if isinstance(each, dict) else "" for each in listed]
        if not references or not all(references):
            self._ledger.name(pieces(file, path, groups), "refers to no backend group", "write a list of their names")
            return
        self._grouped += [(node, Piece(file, f"{path}[{i}]", each)) for i, each in enumerate(references)]

    def reference(self, value: Mapping[str, Any]) -> str:
        """What a Kubernetes reference, `{name, namespace}`, refers to; "" if it is none."""
        if not isinstance(value.get("name"), str) or value.keys() - {"name", "namespace", "uid"}:
            return ""
        return filled(f"{value.get('namespace') or self._namespace}/{value['name']}", self._values)

    def finish(self) -> None:
        """Give virtual nodes the backends of their groups, which may come after them, in another file."""
        for node, group in self._grouped:
            found = self._groups.get(known_as(str(group.value), self._groups))
            if found is None:
                self._ledger.name(group, "its backend group is in none of these files", "add the file with it")
                continue
            self._ledger.pass_over(group, "its virtual services are backends of the node")
            backends = [_around(_around(each, "virtualServiceName"), "virtualService") for each in found.items()]
            if isinstance(node.spec.value, dict):
                there = node.spec.value.setdefault("backends", Piece(group.file, group.path, []))
                there.value = [*there.value, *backends]
        for group in self._groups.values():
            self._ledger.pass_over(group, "no virtual node in these files has this group")


def _around(piece: Piece, name: str) -> Piece:
    """A block with `piece` under this name."""
    return Piece(piece.file, piece.path, {name: piece})


def _block(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
