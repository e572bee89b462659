"""Finds what Terraform's state or plan has of Consul, as `terraform show -json` prints it."""

from collections.abc import Iterator
from typing import Final

from pointsman.importers.consul_pieces import block, get, text
from pointsman.importers.pieces import Ledger, Piece, below, pieces
from pointsman.model.bounded_json import read_json
from pointsman.model.errors import InvalidInput
from pointsman.model.loading import LARGEST_FILE_BYTES

TERRAFORMS: Final = "is Terraform's own"

_OF_INTENTION: Final = {
    "SourceName": "source_name",
    "SourceNS": "source_namespace",
    "DestinationName": "destination_name",
    "DestinationNS": "destination_namespace",
    "Action": "action",
    "Description": "description",
}


def is_terraform(piece: Piece) -> bool:
    """Whether a document is what `terraform show -json` prints."""
    return get(piece, "format_version") is not None and bool({"values", "planned_values"} & piece.value.keys())


def resources(piece: Piece, ledger: Ledger) -> Iterator[Piece]:
    """The resources of a document, of all its modules; tells the ledger of all else. JSON's depth is bounded."""
    chosen = "values" if "values" in piece.value else "planned_values"
    for key, each in piece.value.items():
        if key != chosen:
            ledger.pass_over(each, TERRAFORMS)
    yield from _of_module(piece.value[chosen], ledger)


def _of_module(module: Piece, ledger: Ledger) -> Iterator[Piece]:
    if not isinstance(module.value, dict) or not module.value:
        ledger.pass_over(module, TERRAFORMS)
        return
    for key, each in module.value.items():
        listed = each.value if isinstance(each.value, list) else []
        if key == "root_module":
            yield from _of_module(each, ledger)
        elif key == "child_modules" and listed:
            for child in listed:
                yield from _of_module(child, ledger)
        elif key == "resources" and listed:
            yield from listed
        else:
            ledger.pass_over(each, TERRAFORMS)


def entry_in(resource: Piece) -> Piece:
    """The config entry that a resource `consul_config_entry` writes. Its JSON becomes pieces of the resource.

    Raises InvalidInput if it holds none.
    """
    values = block(resource, "values")
    written = get(values, "config_json")
    if values is None or written is None or not isinstance(written.value, str):
        raise InvalidInput.single(resource.path, "values.config_json", "is required: it has the entry, as JSON")
    fields = read_json(written.value, "config_json", most_bytes=LARGEST_FILE_BYTES["JSON"], unique_keys=True)
    if not isinstance(fields, dict):
        raise InvalidInput.single(resource.path, "values.config_json", "is no mapping")
    inner = pieces(written.file, below(values.path, "config_json"), fields)
    values.value["config_json"] = inner
    own = {key: values.value[key] for key in ("kind", "name", "namespace", "partition") if key in values.value}
    return Piece(resource.file, resource.path, {**inner.value, **own})


def intention_in(resource: Piece) -> Piece | None:
    """The intention of a resource `consul_intention`, as Consul's API lists it; None if there is none in it."""
    values = block(resource, "values")
    found = {new: get(values, old) for new, old in _OF_INTENTION.items()}
    if not text(values, "source_name") or not text(values, "destination_name"):
        return None
    return Piece(resource.file, resource.path, {new: each for new, each in found.items() if each is not None})
