"""Finds App Mesh's resources in what Terraform keeps and prints."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pointsman.importers.pieces import Ledger, below, pieces
from pointsman.importers.resource import NOT_OURS

_SNAKE: Final = {
    "mesh": "Mesh",
    "virtual_node": "VirtualNode",
    "virtual_router": "VirtualRouter",
    "route": "Route",
    "virtual_service": "VirtualService",
    "virtual_gateway": "VirtualGateway",
    "gateway_route": "GatewayRoute",
}
_PREFIX: Final = "aws_appmesh_"
"""What the types of Terraform's resources begin with."""


class Terraform:
    """Reads Terraform's state and plans, and gives the values of App Mesh's resources to `add`."""

    def __init__(self, ledger: Ledger, add: Callable[..., None]) -> None:
        self._ledger = ledger
        self._add = add

    def state(self, document: Mapping[str, Any], file: str, path: str) -> None:
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
                    self._resource(kept, file, f"{below(at, 'instances')}[{j}]", "attributes")

    def shown(self, document: Mapping[str, Any], file: str, path: str) -> None:
        """What `terraform show -json` prints of a state or a plan; one that removes everything says what there was."""
        whole = [each for each in ("values", "planned_values") if each in document]
        chosen = next((each for each in whole if _PREFIX in json.dumps(document[each])), "resource_changes")
        changes = document.get("resource_changes")
        if chosen not in document or (chosen == "resource_changes" and not isinstance(changes, list)):
            chosen = whole[0] if whole else ""
        for key, value in document.items():
            if key != chosen:
                self._ledger.pass_over(pieces(file, below(path, key), value), "is Terraform's own")
        if chosen in whole:
            self._module(document[chosen], file, below(path, chosen))
        elif chosen:
            self._changes(document[chosen], file, below(path, chosen))

    def _changes(self, changes: list[Any], file: str, path: str) -> None:
        """The resources that a plan changes: as they are to be, else as they were."""
        if not changes:
            self._ledger.pass_over(pieces(file, path, changes), "says nothing")
        for i, each in enumerate(changes):
            at = f"{path}[{i}]"
            change = each.get("change") if isinstance(each, dict) else None
            if not isinstance(change, dict) or not change:
                self._ledger.pass_over(pieces(file, at, each), NOT_OURS)
                continue
            for key in each.keys() - {"change"}:
                self._ledger.pass_over(pieces(file, below(at, key), each[key]), "is Terraform's own")
            inner = "after" if isinstance(change.get("after"), dict) else "before"
            kept = {key: each[key] for key in ("type", "name", "index") if key in each} | change
            self._resource(kept, file, below(at, "change"), inner)

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
                    self._resource(each, file, f"{at}[{i}]")
            else:
                self._ledger.pass_over(pieces(file, at, value), "is Terraform's own")

    def _resource(self, resource: Any, file: str, path: str, inner: str = "values") -> None:
        kind = str(resource.get("type", "")) if isinstance(resource, dict) else ""
        ours = _SNAKE.get(kind.removeprefix(_PREFIX)) if kind.startswith(_PREFIX) else None
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
        self._add("Terraform", ours, values, file, below(path, inner), aliases=[label] if label else None)
