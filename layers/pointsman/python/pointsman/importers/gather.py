"""Finds App Mesh's resources in documents of any of the shapes in which people keep them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pointsman.importers.cloudformation import Template
from pointsman.importers.pieces import Ledger, Piece, below, pieces
from pointsman.importers.shapes import Shapes
from pointsman.importers.sources import filled, read_source
from pointsman.model.errors import InvalidInput

MOST_RESOURCES: Final = 10_000
"""App Mesh resources of one import."""

KINDS: Final = ("Mesh", "VirtualNode", "VirtualRouter", "Route", "VirtualService", "VirtualGateway", "GatewayRoute")

_PARENT: Final = {"Route": "VirtualRouter", "GatewayRoute": "VirtualGateway"}
_SNAKE: Final = {
    "mesh": "Mesh",
    "virtual_node": "VirtualNode",
    "virtual_router": "VirtualRouter",
    "route": "Route",
    "virtual_service": "VirtualService",
    "virtual_gateway": "VirtualGateway",
    "gateway_route": "GatewayRoute",
}
_NOT_OURS: Final = "is not App Mesh's; passed over"
_MESH: Final = "there are no meshes here: one store is one mesh"
_TOLD_BY_AWS: Final = "is what AWS says of the resource"


@dataclass(slots=True, eq=False)
class Resource:
    """One App Mesh resource: its kind, its name and the others by which the source calls it, and its spec.

    `parent` is the router of a route, the gateway of a gateway route; "" if the source does not say. `shape` is
    `CloudFormation`, `Kubernetes`, `Terraform` or `JSON`; `names` is where its name stands.
    """

    kind: str
    shape: str
    name: str
    place: Piece
    spec: Piece
    parent: str = ""
    names: list[Piece] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        words = "".join(f" {each.lower()}" if each.isupper() else each for each in self.kind).strip()
        return f'{words} "{self.name}"'


class Gatherer:
    """Reads files; `resources` are those found so far."""

    def __init__(self, ledger: Ledger, values: Mapping[str, str]) -> None:
        self.resources: list[Resource] = []
        self._ledger = ledger
        self._values = values
        self._namespace = ""

    def read(self, content: bytes, file: str) -> None:
        """Find the resources of one file. Raises InvalidInput if it has none of the shapes known here."""
        documents = read_source(content, file)
        before = len(self.resources)
        known = False
        for i, document in enumerate(documents):
            known = self._document(document, file, f"[{i}]" if len(documents) > 1 else "") or known
            if len(self.resources) > MOST_RESOURCES:
                raise InvalidInput.single(file, "", f"holds resource {MOST_RESOURCES + 1}; import fewer at a time")
        if not known:
            reason = (
                "is none of what App Mesh's configuration is kept in: what `aws appmesh describe-…` or `terraform show "
                "-json` prints, a file for --cli-input-json, a CloudFormation template, Kubernetes resources"
            )
            raise InvalidInput.single(file, "", reason)
        if len(self.resources) == before:
            self._ledger.remarks.append(f"{file}: has no resource of App Mesh")

    def _document(self, document: Any, file: str, path: str) -> bool:
        if not isinstance(document, dict):
            return False
        if isinstance(document.get("Resources"), dict):
            self._template(document, file, path)
        elif "apiVersion" in document or "kind" in document:
            self._kubernetes(document, file, path)
        elif "values" in document or "planned_values" in document:
            self._terraform(document, file, path)
        else:
            return self._json(document, file, path)
        return True

    # CloudFormation

    def _template(self, document: Mapping[str, Any], file: str, path: str) -> None:
        template = Template(document, self._values)
        for key, value in document.items():
            at = below(path, key)
            if key != "Resources" or not value:
                reason = "is the template's own; what it says of App Mesh is used where it is referred to"
                self._ledger.pass_over(pieces(file, at, value), reason)
                continue
            for name, resource in value.items():
                kind = str(resource.get("Type", "")) if isinstance(resource, dict) else ""
                if not kind.startswith("AWS::AppMesh::") or kind.rpartition("::")[2] not in KINDS:
                    self._ledger.pass_over(pieces(file, below(at, name), resource), f"{kind or 'this'} {_NOT_OURS}")
                else:
                    self._stack_resource(kind.rpartition("::")[2], name, resource, template, file, below(at, name))

    def _stack_resource(
        self, kind: str, logical: str, resource: Mapping[str, Any], template: Template, file: str, path: str
    ) -> None:
        for key in resource:
            if key != "Properties" or not isinstance(resource[key], dict) or not resource[key]:
                self._ledger.pass_over(pieces(file, below(path, key), resource[key]), "is the template's own")
        properties = resource.get("Properties")
        self._shaped(
            "CloudFormation",
            kind,
            properties if isinstance(properties, dict) else {},
            file,
            below(path, "Properties"),
            template=template,
            aliases=[logical],
        )

    # Kubernetes

    def _kubernetes(self, document: Mapping[str, Any], file: str, path: str) -> None:
        if document.get("kind") == "List" and isinstance(document.get("items"), list) and document["items"]:
            for key, value in document.items():
                if key != "items":
                    self._ledger.pass_over(pieces(file, below(path, key), value), "is the list's own")
            for i, each in enumerate(document["items"]):
                if isinstance(each, dict):
                    self._kubernetes(each, file, f"{below(path, 'items')}[{i}]")
                else:
                    self._ledger.pass_over(pieces(file, f"{below(path, 'items')}[{i}]", each), _NOT_OURS)
            return
        kind = document.get("kind")
        if not str(document.get("apiVersion", "")).startswith("appmesh.k8s.aws/") or kind not in KINDS:
            self._ledger.pass_over(pieces(file, path, document), f"a {kind} {_NOT_OURS}")
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
        for key in [each for each in rest if each in ("awsName", "meshName", "meshRef") or each.endswith("Selector")]:
            piece = pieces(file, below(at, key), rest.pop(key))
            if key == "awsName":
                names.append(piece)
            else:
                reason = _MESH if key.startswith("mesh") else "is for App Mesh's controller: which pods belong to it"
                self._ledger.pass_over(piece, reason)
        parent = ""
        gateway = rest.pop("virtualGatewayRef", None)
        if gateway is not None:
            parent = self._reference(gateway)
            self._ledger.pass_over(pieces(file, below(at, "virtualGatewayRef"), gateway), "is where its routes went")
        aliases = [f"{namespace}/{own}", own]
        routes = rest.pop("routes", None)
        if kind == "VirtualService" and "virtualRouter" in rest:
            router = rest.pop("virtualRouter")
            rest["provider"] = {"virtualRouter": {"virtualRouterName": own}}
            self._add(file, "Kubernetes", "VirtualRouter", own, place, router, below(at, "virtualRouter"), aliases)
        elif kind == "VirtualService" and routes is not None:
            rest["provider"] = {"virtualRouter": {"virtualRouterName": own}}
        found = self._add(file, "Kubernetes", kind, name or own, place, rest, at, aliases)
        found.names, found.parent = names, parent
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

    def _reference(self, value: Mapping[str, Any]) -> str:
        """What a Kubernetes reference, `{name, namespace}`, refers to; "" if it is none."""
        if not isinstance(value.get("name"), str) or value.keys() - {"name", "namespace", "uid"}:
            return ""
        return filled(f"{value.get('namespace') or self._namespace}/{value['name']}", self._values)

    # Terraform

    def _terraform(self, document: Mapping[str, Any], file: str, path: str) -> None:
        chosen = "values" if "values" in document else "planned_values"
        for key, value in document.items():
            if key != chosen:
                self._ledger.pass_over(pieces(file, below(path, key), value), "is Terraform's own")
        self._module(document[chosen], file, below(path, chosen))

    def _module(self, module: Any, file: str, path: str) -> None:
        """The resources of a module of Terraform's, and of those within it; how deep JSON may be is bounded."""
        if not isinstance(module, dict) or not module:
            self._ledger.pass_over(pieces(file, path, module), "is no module of Terraform's")
            return
        for key, value in module.items():
            at = below(path, key)
            if key == "root_module":
                self._module(value, file, at)
            elif key == "child_modules" and isinstance(value, list) and value:
                for i, each in enumerate(value):
                    self._module(each, file, f"{at}[{i}]")
            elif key == "resources" and isinstance(value, list) and value:
                for i, each in enumerate(value):
                    self._terraform_resource(each, file, f"{at}[{i}]")
            else:
                self._ledger.pass_over(pieces(file, at, value), "is Terraform's own")

    def _terraform_resource(self, resource: Any, file: str, path: str) -> None:
        kind = str(resource.get("type", "")) if isinstance(resource, dict) else ""
        ours = _SNAKE.get(kind.removeprefix("aws_appmesh_")) if kind.startswith("aws_appmesh_") else None
        values = resource.get("values") if isinstance(resource, dict) else None
        if ours is None or not isinstance(values, dict):
            self._ledger.pass_over(pieces(file, path, resource), f"{kind or 'this'} {_NOT_OURS}")
            return
        for key, value in resource.items():
            if key != "values" or not value:
                self._ledger.pass_over(pieces(file, below(path, key), value), "is Terraform's own")
        self._shaped("Terraform", ours, values, file, below(path, "values"))

    # JSON of the API

    def _json(self, document: Mapping[str, Any], file: str, path: str) -> bool:
        """Whether it is what `describe-…` answers or `--cli-input-json` takes."""
        for key, value in document.items():
            kind = key[:1].upper() + key[1:]
            if kind in KINDS and isinstance(value, dict) and "spec" in value:
                for other in document.keys() - {key}:
                    self._ledger.pass_over(pieces(file, below(path, other), document[other]), _TOLD_BY_AWS)
                self._shaped("JSON", kind, value, file, below(path, key))
                return True
        spec = document.get("spec")
        named = [kind for kind in KINDS if kind != "Mesh" and _name_key(kind) in document]
        routes = [kind for kind in named if kind in _PARENT]
        if "spec" not in document and not named and "meshName" not in document:
            return False
        kind = (routes or named or [_guessed(spec) if isinstance(spec, dict) else ""])[0]
        if kind == "VirtualRouter" and isinstance(spec, dict) and _guessed(spec) == "Route":
            kind = "Route"
        if kind == "VirtualGateway" and isinstance(spec, dict) and _guessed(spec) == "GatewayRoute":
            kind = "GatewayRoute"
        if not kind and "meshName" in document:
            kind = "Mesh"
        if not kind:
            return False
        self._shaped("JSON", kind, document, file, path)
        return True

    # All

    def _shaped(
        self,
        shape: str,
        kind: str,
        values: Mapping[str, Any],
        file: str,
        path: str,
        *,
        template: Template | None = None,
        aliases: list[str] | None = None,
    ) -> None:
        """A resource whose names stand beside its spec, as in the API, CloudFormation and Terraform."""
        resolve: Callable[[Any], Any] = template.resolved if template else lambda value: value
        name = parent = ""
        names: list[Piece] = []
        spec: Any = {}
        at = below(path, "spec")
        for key, value in values.items():
            plain = key.replace("_", "").casefold()
            here = below(path, key)
            if plain == "spec":
                spec, at = value, here
            elif plain == _name_key(kind).casefold() or plain == "name":
                name = self._text(resolve(value))
                names.append(Piece(file, here, name))
            elif kind in _PARENT and plain == _name_key(_PARENT[kind]).casefold():
                parent = self._text(resolve(value))
                self._ledger.pass_over(pieces(file, here, value), f"its routes are those of {parent}")
            elif plain == "meshname":
                self._ledger.pass_over(pieces(file, here, value), _MESH)
            else:
                self._ledger.pass_over(pieces(file, here, value), _TOLD_BY_AWS)
        if not name:
            name = (aliases or [""])[0] or file.rpartition("/")[2].partition(".")[0].rpartition("__")[2]
            place = Piece(file, path, name)
            if not aliases:
                self._ledger.remark(place, f"does not say its name; it is taken to be {name}, after the file")
        found = self._add(file, shape, kind, name, Piece(file, path, {}), spec, at, aliases or [], template)
        found.parent, found.names = parent, names

    def _text(self, value: Any) -> str:
        return filled(str(value), self._values) if isinstance(value, str | int) else ""

    def _add(
        self,
        file: str,
        shape: str,
        kind: str,
        name: str,
        place: Piece,
        spec: Any,
        at: str,
        aliases: list[str],
        template: Template | None = None,
    ) -> Resource:
        def resolved(value: Any, path: str) -> tuple[Any, str]:
            while template and (chosen := template.branch(value)):
                index, value = chosen
                parts = f"{below(path, 'Fn::If')}"
                for i in {0, 1, 2} - {index}:
                    self._ledger.pass_over(Piece(file, f"{parts}[{i}]", ""), "is not chosen, as the parameters are")
                path = f"{parts}[{index}]"
            value = template.resolved(value) if template else value
            return (filled(value, self._values) if isinstance(value, str) else value), path

        shapes = Shapes(self._ledger, resolved, self._reference)
        fitted = shapes.fitted(f"{kind}Spec", spec, file, at) or Piece(file, at, {})
        found = Resource(kind, shape, filled(name, self._values), place, fitted, aliases=aliases)
        self.resources.append(found)
        return found


def _block(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name_key(kind: str) -> str:
    return f"{kind[0].lower()}{kind[1:]}Name"


def _guessed(spec: Mapping[str, Any]) -> str:
    """The kind of resource with this spec, "" if it can be none."""
    routes = [spec[each] for each in ("httpRoute", "http2Route", "grpcRoute", "tcpRoute") if each in spec]
    if routes:
        action = routes[0].get("action") if isinstance(routes[0], dict) else None
        return "GatewayRoute" if isinstance(action, dict) and "target" in action else "Route"
    if "provider" in spec:
        return "VirtualService"
    if "listeners" in spec or "backends" in spec:
        if "serviceDiscovery" in spec or "backends" in spec:
            return "VirtualNode"
        listeners = spec.get("listeners")
        plain = (
            spec.keys() == {"listeners"}
            and isinstance(listeners, list)
            and all(isinstance(each, dict) and each.keys() <= {"portMapping"} for each in listeners)
        )
        return "VirtualRouter" if plain else "VirtualGateway"
    return "Mesh" if not spec or "egressFilter" in spec else ""
