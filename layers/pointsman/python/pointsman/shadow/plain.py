"""Messages as plain mappings that are equal if Envoys act alike: no names, no order where none counts, defaults left
out."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from pointsman.model.canonical import canonical
from pointsman.shadow.typed import UNKNOWN_TYPE

Plain = dict[str, Any]


def plain(message: Message, *without: str) -> Plain:
    """`message` as a mapping by its fields' names, without the fields that say nothing for traffic."""
    found: Plain = MessageToDict(message, preserving_proto_field_name=True)
    for name in without:
        found.pop(name, None)
    return found


def type_of(value: Mapping[str, Any]) -> str:
    """The name of the type of a part that is an Any."""
    name = str(value.get("@type", ""))
    if name.endswith(f"/{Struct.DESCRIPTOR.full_name}"):
        name = str(value.get("value", {}).get(UNKNOWN_TYPE, ""))
    return name.rpartition("/")[2]


def in_order(values: Iterable[Any]) -> list[Any]:
    """`values`, whose order does not count, in one order."""
    return sorted(values, key=text_of)


def text_of(value: Any) -> str:
    """`value` on one line: equal texts are equal values."""
    return value if isinstance(value, str) else canonical(value).decode()


def settled(found: Plain, defaults: Mapping[str, Any]) -> Plain:
    """`found` without empty messages, and without what is Envoy's default for the field."""
    kept = {name: each for name, each in found.items() if each not in ({}, [])}
    return {name: each for name, each in kept.items() if name not in defaults or each != defaults[name]}


def leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of `value` that holds no other field, with its path."""
    for name, each in value.items():
        here = f"{path}.{name}" if path else name
        if isinstance(each, Mapping) and each:
            yield from leaves(each, here)
        else:
            yield here, each


def field(value: Mapping[str, Any], *path: str) -> Any:
    """What is under a path of names; None if nothing is."""
    here: Any = value
    for name in path:
        here = here.get(name) if isinstance(here, Mapping) else None
    return here
