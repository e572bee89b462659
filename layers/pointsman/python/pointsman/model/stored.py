"""Stored objects: their kinds, and how their fields are read, so that no value of a wrong type gets further.

Any object in a store may be damaged, or written by hand. All reading of objects goes through here: a damaged one raises
Damaged, which says what is wrong, and one that a newer Pointsman wrote raises NewerSchema.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import orjson

from pointsman.model.errors import PointsmanError

SCHEMA = 1
"""The layout of what is stored; raised when an older Pointsman could not read what this one writes."""

LARGEST = 2**53 - 1
"""The greatest number in a stored object: the greatest that every reader of JSON represents exactly."""

Body = dict[str, Any]


class Kind(StrEnum):
    """What an object is, as its `kind` says."""

    CONFIG_HEAD = "config-head"
    CONFIG_ROOT = "config-root"
    CONFIG_MAP = "config-map"
    CATALOG = "catalog"
    SNAPSHOT = "snapshot"
    SIDECAR_MANIFEST = "sidecar-manifest"
    GATEWAYS_MANIFEST = "gateways-manifest"
    GATEWAY_MANIFEST = "gateway-manifest"
    PROBE = "probe"
    LEASE = "lease"
    SILENCE = "silence"
    WAKE = "wake"
    WAITS = "waits"
    ORDERS = "orders"
    FROZEN = "frozen"
    TOKENS = "tokens"
    TROUBLE = "trouble"
    SEEN = "seen"


MANIFEST_KINDS = (Kind.SIDECAR_MANIFEST, Kind.GATEWAYS_MANIFEST, Kind.GATEWAY_MANIFEST)


class Damaged(PointsmanError):
    """An object is not what Pointsman wrote."""


class NewerSchema(PointsmanError):
    """A newer Pointsman wrote the object, and it may mean something unknown here."""


def tagged(kind: Kind, body: Mapping[str, Any]) -> Body:
    """`body` as it is stored: with its kind and the schema."""
    return {"kind": kind.value, "schema": SCHEMA, **body}


def parse(data: bytes) -> Any:
    """The JSON value in `data`. Raises Damaged."""
    try:
        return orjson.loads(data)
    except ValueError as error:
        raise Damaged(f"it is not JSON: {error}") from None


def check_kind(body: object, *kinds: Kind) -> Body:
    """`body`, if it is an object of one of these kinds. Raises Damaged or NewerSchema."""
    if type(body) is not dict:
        raise Damaged("it is not a JSON object")
    kind = body.get("kind")
    if kind not in kinds:
        raise Damaged(f"its kind is {shown(kind)} instead of {' or '.join(kinds)}")
    if (schema := number(body, "schema")) > SCHEMA:
        raise NewerSchema(f"a newer Pointsman wrote it (schema {schema}; this one knows {SCHEMA}): upgrade Pointsman")
    return body


def number(body: Body, field: str) -> int:
    """A whole number from 0 to LARGEST. Raises Damaged."""
    value = body.get(field)
    if type(value) is int and 0 <= value <= LARGEST:
        return value
    raise Damaged(f"its {field} is {shown(value)}, which is not a number from 0 to {LARGEST}")


def text(body: Body, field: str) -> str:
    """A text. Raises Damaged."""
    value = body.get(field)
    if type(value) is str:
        return value
    raise Damaged(f"its {field} is {shown(value)}, which is not a text")


def truth(body: Body, field: str) -> bool:
    """True or false. Raises Damaged."""
    value = body.get(field)
    if type(value) is bool:
        return value
    raise Damaged(f"its {field} is {shown(value)}, which is neither true nor false")


def texts(body: Body, field: str) -> tuple[str, ...]:
    """A list of texts. Raises Damaged."""
    value = body.get(field)
    if type(value) is list and all(type(each) is str for each in value):
        return tuple(value)
    raise Damaged(f"its {field} is {shown(value)}, which is not a list of texts")


def mapping(body: Body, field: str) -> Body:
    """A JSON object with any content. Raises Damaged."""
    value = body.get(field)
    if type(value) is dict:
        return value
    raise Damaged(f"its {field} is {shown(value)}, which is not an object")


def numbers(body: Body, field: str) -> dict[str, int]:
    """An object whose values are numbers from 0 to LARGEST. Raises Damaged."""
    found = mapping(body, field)
    return {name: number(found, name) for name in found}


def shown(value: object) -> str:
    """A value for a message: short, and on one line."""
    if value is None:
        return "missing"
    written = repr(value)
    return written if len(written) <= _SHOWN else f"{written[:_SHOWN]}…"


_SHOWN = 40
"""Characters of a value in a message."""
