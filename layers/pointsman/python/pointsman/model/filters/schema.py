"""What a subset filter can select of an instance, and which operators each kind of field has.

The fields are those of Consul 1.6 (the page of its HTTP API on health, "List Nodes for Service", table of selectors): a
node, a service and a list of checks, in the shape `{"Node": …, "Service": …, "Checks": […]}`. Each kind has the
operators of go-bexpr. Opaque configuration (`Proxy.Config`) cannot be selected.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final


class Operator(StrEnum):
    """The operator of a condition. `contains` is `in` with its sides swapped, here as in go-bexpr."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    IN = "in"
    NOT_IN = "not in"
    IS_EMPTY = "is empty"
    IS_NOT_EMPTY = "is not empty"
    MATCHES = "matches"
    NOT_MATCHES = "not matches"


class Scalar(Enum):
    """A field that holds one value."""

    STRING = "a string"
    INTEGER = "an integer"
    BOOLEAN = "a boolean"


@dataclass(frozen=True, slots=True)
class Strings:
    """A list of strings."""


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map from any string to `value`; `in` tests its keys."""

    value: "Field"


@dataclass(frozen=True, slots=True)
class Structure:
    """Named fields. It has no operators itself."""

    fields: Mapping[str, "Field"]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of structures: a selector continues into their fields, and a condition is true if it is for any
    element."""

    item: Structure


Field = Scalar | Strings | MapOf | Structure | ListOf

_EMPTINESS: Final = (Operator.IS_EMPTY, Operator.IS_NOT_EMPTY)
_MEMBERSHIP: Final = (Operator.IN, Operator.NOT_IN)
_EQUALITY: Final = (Operator.EQUAL, Operator.NOT_EQUAL)


def operators_of(field: Field) -> tuple[Operator, ...]:
    """The operators that a field of this kind has, in the order in which messages list them."""
    if field is Scalar.STRING:
        return (*_EQUALITY, *_MEMBERSHIP, Operator.MATCHES, Operator.NOT_MATCHES)
    if isinstance(field, Scalar):
        return _EQUALITY
    if isinstance(field, Strings | MapOf):
        return (*_MEMBERSHIP, *_EMPTINESS)
    return _EMPTINESS if isinstance(field, ListOf) else ()


def describe(field: Field) -> str:
    """The kind of `field` as messages name it: `an integer`."""
    if isinstance(field, Scalar):
        return field.value
    if isinstance(field, Strings):
        return "a list of strings"
    if isinstance(field, MapOf):
        return "a map"
    return "a structure" if isinstance(field, Structure) else "a list of structures"


def step(field: Field, name: str) -> Field | None:
    """What `name` selects inside `field`: any key of a map, a field of a structure or of a list's structures.

    None if there is no such field, or nothing can be selected inside `field`.
    """
    if isinstance(field, MapOf):
        return field.value
    return fields_of(field).get(name)


def fields_of(field: Field) -> Mapping[str, Field]:
    """The named fields that can be selected inside `field`; empty for maps and values."""
    if isinstance(field, ListOf):
        return field.item.fields
    return field.fields if isinstance(field, Structure) else {}


_STRINGS: Final = MapOf(Scalar.STRING)
_MESH_GATEWAY: Final = Structure({"Mode": Scalar.STRING})

_NODE: Final = Structure(
    {
        "ID": Scalar.STRING,
        "Node": Scalar.STRING,
        "Address": Scalar.STRING,
        "Datacenter": Scalar.STRING,
        "TaggedAddresses": _STRINGS,
        "Meta": _STRINGS,
    }
)

_UPSTREAM: Final = Structure(
    {
        "DestinationType": Scalar.STRING,
        "DestinationNamespace": Scalar.STRING,
        "DestinationName": Scalar.STRING,
        "Datacenter": Scalar.STRING,
        "LocalBindAddress": Scalar.STRING,
        "LocalBindPort": Scalar.INTEGER,
        "MeshGateway": _MESH_GATEWAY,
    }
)

_PROXY: Final = Structure(
    {
        "DestinationServiceName": Scalar.STRING,
        "DestinationServiceID": Scalar.STRING,
        "LocalServiceAddress": Scalar.STRING,
        "LocalServicePort": Scalar.INTEGER,
        "Upstreams": ListOf(_UPSTREAM),
        "MeshGateway": _MESH_GATEWAY,
    }
)

_SERVICE: Final = Structure(
    {
        "ID": Scalar.STRING,
        "Service": Scalar.STRING,
        "Kind": Scalar.STRING,
        "Tags": Strings(),
        "Address": Scalar.STRING,
        "TaggedAddresses": MapOf(Structure({"Address": Scalar.STRING, "Port": Scalar.INTEGER})),
        "Meta": _STRINGS,
        "Port": Scalar.INTEGER,
        "Weights": Structure({"Passing": Scalar.INTEGER, "Warning": Scalar.INTEGER}),
        "EnableTagOverride": Scalar.BOOLEAN,
        "Proxy": _PROXY,
        "Connect": Structure({"Native": Scalar.BOOLEAN}),
    }
)

_CHECK: Final = Structure(
    {
        "Node": Scalar.STRING,
        "CheckID": Scalar.STRING,
        "Name": Scalar.STRING,
        "Status": Scalar.STRING,
        "Notes": Scalar.STRING,
        "Output": Scalar.STRING,
        "ServiceID": Scalar.STRING,
        "ServiceName": Scalar.STRING,
        "ServiceTags": Strings(),
    }
)

INSTANCE: Final = Structure({"Node": _NODE, "Service": _SERVICE, "Checks": ListOf(_CHECK)})
"""Where a selector starts: one instance, as Consul's health API lists it."""
