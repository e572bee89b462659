"""Finds App Mesh's resources in documents of any of the shapes in which people keep them."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pointsman.importers.cloudformation import Template
from pointsman.importers.kubernetes import Kubernetes
from pointsman.importers.pieces import Ledger, Piece, below, pieces
from pointsman.importers.resource import KINDS, MESH, NOT_OURS, Resource
from pointsman.importers.shapes import Shapes
from pointsman.importers.sources import filled, read_source
from pointsman.model.errors import InvalidInput

MOST_RESOURCES: Final = 10_000
"""App Mesh resources of one import."""

_LISTS: Final = {"meshes"} | {f"{each[0].lower()}{each[1:]}s" for each in KINDS[1:]}
"""What `aws appmesh list-…` answers."""

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
_TOLD_BY_AWS: Final = "is what AWS says of the resource"


class Gatherer:
    """Reads files; `resources` are those found so far."""

    def __init__(self, ledger: Ledger, values: Mapping[str, str]) -> None:
        self.resources: list[Resource] = []
        self._ledger = ledger
        self._values = values
        self._kubernetes = Kubernetes(ledger, values, self._add)

    def read(self, content: bytes, file: str) -> None:
        """Find the resources of one file. Raises InvalidInput if it has none of the shapes known here."""
        documents = read_source(content, file)
        before = len(self.resources)
        known = False
        strange: list[tuple[str, Any]] = []
        for i, document in enumerate(documents):
            path = f"[{i}]" if len(documents) > 1 else ""
            inner = enumerate(document) if isinstance(document, list) else [(-1, document)]
            for at, each in inner:
                place = f"{path}[{at}]" if at >= 0 else path
                if self._document(each, file, place):
                    known = True
                else:
                    strange.append((place, each))
                if len(self.resources) > MOST_RESOURCES:
                    raise InvalidInput.single(file, "", f"holds resource {MOST_RESOURCES + 1}; import fewer at a time")
        if not known and any(isinstance(each, dict) and each.keys() & _LISTS for _, each in strange):
            reason = "lists names alone; save what `aws appmesh describe-…` prints of each"
            raise InvalidInput.single(file, "", reason)
        if not known and b'resource "aws_appmesh_' in content:
            raise InvalidInput.single(file, "", "is Terraform's language; give what `terraform show -json` prints")
        for place, each in strange if known else ():
            self._ledger.pass_over(pieces(file, place, each), NOT_OURS)
        if not known:
            reason = (
                "is none of what App Mesh's configuration is kept in: what `aws appmesh describe-…` or `terraform show "
                "-json` prints, a file for --cli-input-json, a CloudFormation template, Kubernetes resources"
            )
            raise InvalidInput.single(file, "", reason)
        if len(self.resources) == before:
            self._ledger.remarks.append(f"{file}: has no resource of App Mesh")

    def finish(self) -> None:
        """Join what is said in several places, after the last file."""
        self._kubernetes.finish()

    def _document(self, document: Any, file: str, path: str) -> bool:
        if not isinstance(document, dict):
            return False
        if isinstance(document.get("Resources"), dict):
            self._template(document, file, path)
        elif "apiVersion" in document or "kind" in document:
            self._kubernetes.read(document, file, path)
        elif "terraform_version" in document and isinstance(document.get("resources"), list):
            self._state(document, file, path)
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
                if name.startswith("Fn::") and "AWS::AppMesh::" in json.dumps(resource):
                    instead = "import it as CloudFormation has expanded it: `aws cloudformation get-template "
                    reason = "is expanded by CloudFormation alone"
                    self._ledger.name(
                        pieces(file, below(at, name), resource), reason, f"{instead}--template-stage Processed`"
                    )
                    continue
                kind = str(resource.get("Type", "")) if isinstance(resource, dict) else ""
                if not kind.startswith("AWS::AppMesh::") or kind.rpartition("::")[2] not in KINDS:
                    self._ledger.pass_over(pieces(file, below(at, name), resource), f"{kind or 'this'} {NOT_OURS}")
                else:
                    self._stack_resource(kind.rpartition("::")[2], name, resource, template, file, below(at, name))

    def _stack_resource(
        self, kind: str, logical: str, resource: Mapping[str, Any], template: Template, file: str, path: str
    ) -> None:
        holds = template.holds(resource["Condition"]) if "Condition" in resource else True
        if holds is None:
            reason = f"whether its condition {resource['Condition']} holds is not said by the parameters' values"
            self._ledger.name(pieces(file, path, resource), reason, "give those it asks for: --set NAME=VALUE")
            return
        if not holds:
            self._ledger.pass_over(pieces(file, path, resource), "its condition does not hold, as the parameters are")
            return
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

    # Terraform

    def _state(self, document: Mapping[str, Any], file: str, path: str) -> None:
        """A file in which Terraform keeps its state: each resource has instances, and these its attributes."""
        for key, value in document.items():
            if key != "resources" or not value:
                self._ledger.pass_over(pieces(file, below(path, key), value), "is Terraform's own")
                continue
            for i, resource in enumerate(value):
                at = f"{below(path, 'resources')}[{i}]"
                instances = resource.get("instances") if isinstance(resource, dict) else None
                if not isinstance(instances, list) or not instances:
                    self._ledger.pass_over(pieces(file, at, resource), NOT_OURS)
                    continue
                for other in resource.keys() - {"instances"}:
                    self._ledger.pass_over(pieces(file, below(at, other), resource[other]), "is Terraform's own")
                for j, each in enumerate(instances):
                    kept = {"type": resource.get("type")} | (each if isinstance(each, dict) else {"is": each})
                    self._terraform_resource(kept, file, f"{below(at, 'instances')}[{j}]", "attributes")

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

    def _terraform_resource(self, resource: Any, file: str, path: str, inner: str = "values") -> None:
        kind = str(resource.get("type", "")) if isinstance(resource, dict) else ""
        ours = _SNAKE.get(kind.removeprefix("aws_appmesh_")) if kind.startswith("aws_appmesh_") else None
        values = resource.get(inner) if isinstance(resource, dict) else None
        if ours is None or not isinstance(values, dict):
            self._ledger.pass_over(pieces(file, path, resource), f"{kind or 'this'} {NOT_OURS}")
            return
        for key, value in resource.items():
            if key != inner or not value:
                self._ledger.pass_over(pieces(file, below(path, key), value), "is Terraform's own")
        # A plan has no name that Terraform knows only when it has made the resource.
        label = "" if values.get("name") else str(resource.get("name") or "")
        label += f"-{resource['index']}" if label and isinstance(resource.get("index"), str | int) else ""
        self._shaped("Terraform", ours, values, file, below(path, inner), aliases=[label] if label else None)

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
        plain = {_small(key): value for key, value in document.items()}
        spec = plain.get("spec")
        spec = {_small(key): value for key, value in spec.items()} if isinstance(spec, dict) else spec
        named = [kind for kind in KINDS if kind != "Mesh" and _name_key(kind) in plain]
        routes = [kind for kind in named if kind in _PARENT]
        if "spec" not in plain and not named and "meshName" not in plain:
            return False
        kind = (routes or named or [_guessed(spec) if isinstance(spec, dict) else ""])[0]
        if kind == "VirtualRouter" and isinstance(spec, dict) and _guessed(spec) == "Route":
            kind = "Route"
        if kind == "VirtualGateway" and isinstance(spec, dict) and _guessed(spec) == "GatewayRoute":
            kind = "GatewayRoute"
        if not kind and "meshName" in plain:
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
                self._ledger.pass_over(pieces(file, here, value), MESH)
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

        shapes = Shapes(self._ledger, resolved, self._kubernetes.reference)
        fitted = shapes.fitted(f"{kind}Spec", spec, file, at) or Piece(file, at, {})
        found = Resource(kind, shape, filled(name, self._values), place, fitted, aliases=aliases)
        self.resources.append(found)
        return found


def _small(key: str) -> str:
    """A name of CloudFormation's, or of the API's, as the API has it."""
    return f"{key[:1].lower()}{key[1:]}"


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
