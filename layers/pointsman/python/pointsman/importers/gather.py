"""Finds App Mesh's resources in documents of any of the shapes in which people keep them."""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from pointsman.importers.cloudformation import Exports, Template
from pointsman.importers.kubernetes import Kubernetes
from pointsman.importers.pieces import NAMED, Ledger, Piece, below, pieces
from pointsman.importers.resource import KINDS, MESH, NOT_OURS, Resource
from pointsman.importers.shapes import SET_PARAMETERS, Shapes, remark_placeholders, unknown_condition
from pointsman.importers.sources import UNRENDERED, filled, read_source
from pointsman.importers.terraform import Terraform
from pointsman.model.errors import InvalidInput, Problem

MOST_RESOURCES: Final = 10_000
"""App Mesh resources of one import."""

_LISTS: Final = {"meshes": "Mesh"} | {f"{each[0].lower()}{each[1:]}s": each for each in KINDS[1:]}
"""What `aws appmesh list-…` answers, and the kind of each."""

_PARENT: Final = {"Route": "VirtualRouter", "GatewayRoute": "VirtualGateway"}
_ENDINGS: Final = (".json", ".yaml", ".yml", ".template", ".tfstate", ".txt")
"""Of names of files that may be meant to hold App Mesh's resources, whatever is wrong with them."""

_TERRAFORM: Final = b'resource "aws_appmesh_'
TERRAFORM: Final = "is Terraform's language; give what `terraform show -json` prints"
"""The reason of a file that only Terraform reads."""

NONE_OF_THESE: Final = (
    "is none of what App Mesh's configuration is kept in: what `aws appmesh describe-…` or `terraform show -json` "
    "prints, a file for --cli-input-json, a CloudFormation template, Kubernetes resources"
)
"""The reason of a file with none of the shapes known here."""

_OF_AWS: Final = (
    "arn", "clienttoken", "createddate", "id", "lastupdateddate", "meshowner", "metadata", "region", "resourceowner",
    "status", "tags", "tagsall", "timeouts",
)  # fmt: skip
"""What stands beside a spec, in small letters without `_`, and says nothing of what the mesh does."""

_TOLD_BY_AWS: Final = "is what AWS says of the resource"


class Gatherer:
    """Reads files; `resources` are those found so far. Files of `beside` may be none of those known here."""

    def __init__(self, ledger: Ledger, values: Mapping[str, str], beside: Collection[str] = ()) -> None:
        self._beside = beside
        self.resources: list[Resource] = []
        self._ledger = ledger
        self._values = values
        self._kubernetes = Kubernetes(ledger, values, self._add)
        self._terraform = Terraform(ledger, self._shaped)
        self._exports = Exports()
        self._templates: dict[int, Template] = {}
        self._files: list[tuple[str, list[Any], bool]] = []
        self._problems: list[Problem] = []

    def read(self, content: bytes, file: str) -> None:
        """Read one file; `finish` tells if it cannot be read."""
        try:
            documents = [_unwrapped(each, file) for each in read_source(content, file)]
        except InvalidInput as refused:
            is_other = "." in file.rpartition("/")[2] and not file.lower().endswith(_ENDINGS)
            reason = TERRAFORM if _TERRAFORM in content else NONE_OF_THESE if is_other else ""
            self._problems += [Problem(file, "", reason)] if reason else refused.problems
            return
        for each in documents:
            if (template := _template_in(each)) is not None:
                self._templates[id(template)] = Template(template, self._values, self._exports)
                self._exports.add(self._templates[id(template)], template)
        self._files.append((file, documents, b"aws_appmesh_" in content))

    def finish(self) -> None:
        """Find the resources of all files. Raises InvalidInput if one has none of the shapes known here."""
        for file, documents, is_terraform in self._files:
            try:
                self._find(file, documents, is_terraform)
            except InvalidInput as refused:
                others = [each for each in refused.problems if file in self._beside and each.reason == NONE_OF_THESE]
                self._problems += [each for each in refused.problems if each not in others]
                for each in documents if others else ():
                    self._ledger.pass_over(pieces(file, "", each), NOT_OURS)
                self._ledger.remarks += [str(each) for each in others]
            if len(self.resources) > MOST_RESOURCES:
                break
        if self._problems:
            raise InvalidInput(self._problems)
        self._kubernetes.finish()

    def _find(self, file: str, documents: list[Any], is_terraform: bool) -> None:
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
        if not known and any(isinstance(each, dict) and each.keys() & _LISTS.keys() for _, each in strange):
            reason = "lists names alone; save what `aws appmesh describe-…` prints of each"
            raise InvalidInput.single(file, "", reason)
        if not known and is_terraform:
            raise InvalidInput.single(file, "", TERRAFORM)
        for place, each in strange if known else ():
            self._ledger.pass_over(pieces(file, place, each), NOT_OURS)
        if not known:
            raise InvalidInput.single(file, "", NONE_OF_THESE)
        if len(self.resources) == before:
            self._ledger.remarks.append(f"{file}: has no resource of App Mesh")

    def _document(self, document: Any, file: str, path: str) -> bool:
        if not isinstance(document, dict):
            return False
        if (template := _template_in(document)) is not None:
            if template is not document:
                for key in document.keys() - {"TemplateBody"}:
                    self._ledger.pass_over(pieces(file, below(path, key), document[key]), "is CloudFormation's own")
                path = below(path, "TemplateBody")
                self._ledger.pass_over(Piece(file, path, ""), "is read as the template that it is")
            self._template(template, file, path)
        elif "apiVersion" in document or "kind" in document:
            self._kubernetes.read(document, file, path)
        elif "terraform_version" in document and isinstance(document.get("resources"), list):
            self._terraform.state(document, file, path)
        elif document.keys() & {"values", "planned_values", "resource_changes", "format_version"}:
            self._terraform.shown(document, file, path)
        elif any(_specs(document.get(each)) for each in _LISTS):
            self._lists(document, file, path)
        else:
            return self._json(document, file, path)
        return True

    # CloudFormation

    def _template(self, document: Mapping[str, Any], file: str, path: str) -> None:
        template = self._templates[id(document)]
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
            reason = unknown_condition(str(resource["Condition"]))
            self._ledger.name(pieces(file, path, resource), reason, SET_PARAMETERS)
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

    # JSON of the API

    def _lists(self, document: Mapping[str, Any], file: str, path: str) -> None:
        """Lists of resources by kind, as a script collects what `describe-…` answers."""
        for key, value in document.items():
            at = below(path, key)
            if key not in _LISTS or not _specs(value):
                self._ledger.pass_over(pieces(file, at, value), _TOLD_BY_AWS)
                continue
            for i, each in enumerate(value):
                if _specs([each]):
                    self._shaped("JSON", _LISTS[key], each, file, f"{at}[{i}]")
                else:
                    reason = "is a name alone"
                    instead = "add what `aws appmesh describe-…` prints of it"
                    self._ledger.name(pieces(file, f"{at}[{i}]", each), reason, instead)

    def _json(self, document: Mapping[str, Any], file: str, path: str) -> bool:
        """Whether it is what `describe-…` answers or `--cli-input-json` takes."""
        for key, value in document.items():
            kind = key[:1].upper() + key[1:]
            if kind in KINDS and _specs([value]):
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
            elif plain in _OF_AWS:
                self._ledger.pass_over(pieces(file, here, value), _TOLD_BY_AWS)
            else:
                reason = f"App Mesh's API has no such field in {kind}"
                self._ledger.name(pieces(file, here, value), reason, "check its spelling and its place")
        if not name:
            name = (aliases or [""])[0] or file.rpartition("/")[2].partition(".")[0].rpartition("__")[2]
            place = Piece(file, path, name)
            if names and template:
                self._ledger.remark(names[0], f"only CloudFormation knows its name; it is taken to be {name}")
            elif not aliases:
                self._ledger.remark(place, f"does not say its name; it is taken to be {name}, after the file")
        found = self._add(file, shape, kind, name, Piece(file, path, {}), spec, at, [], template)
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

        if "{{" in f"{name}{json.dumps(spec)}":
            raise InvalidInput.single(file, at, UNRENDERED)
        remark_placeholders(place if not place.value else Piece(file, at, name), name, self._ledger)
        shapes = Shapes(self._ledger, resolved, self._kubernetes.reference)
        before = len(self._ledger.told)
        fitted = shapes.fitted(f"{kind}Spec", spec, file, at) or Piece(file, at, {})
        found = Resource(kind, shape, filled(name, self._values), place, fitted, aliases=aliases)
        found.unread = [each for each in self._ledger.told[before:] if each.fate == NAMED]
        self.resources.append(found)
        return found


def _unwrapped(document: Any, file: str) -> Any:
    """What `aws cloudformation get-template` answers with the template in it read; any other document as it is."""
    if isinstance(document, dict) and isinstance(body := document.get("TemplateBody"), str):
        found = read_source(body.encode(), f"{file} TemplateBody")
        return document | {"TemplateBody": found[0] if found else {}}
    return document


def _template_in(document: Any) -> dict[str, Any] | None:
    """The CloudFormation template that a document is, or has in it."""
    for each in (document, document.get("TemplateBody") if isinstance(document, dict) else None):
        if isinstance(each, dict) and isinstance(each.get("Resources"), dict):
            return each
    return None


def _specs(value: Any) -> bool:
    """Whether it is a list with a resource that has its spec."""
    listed = value if isinstance(value, list) else []
    return any(isinstance(each, dict) and "spec" in map(_small, each) for each in listed)


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
