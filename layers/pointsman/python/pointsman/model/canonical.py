"""The canonical form: equal values give equal bytes. Everything stored, hashed and compared uses it."""

import hashlib
from typing import Any

import orjson


def canonical(value: Any) -> bytes:
    """`value` as JSON with sorted keys and no white space. Equal values give equal bytes."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(data: bytes) -> str:
    """The name of immutable content: its SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()
