"""JSON that somebody sent, read within bounds: the one way in for JSON from outside.

Size, depth and number of values are checked on the text, before anything is built from it, so that what is refused
costs a fraction of what it would have cost to read.
"""

import json
from typing import Any, Final, NoReturn

import orjson

from pointsman.model.errors import InvalidInput

MOST_DEPTH: Final = 64
"""Lists and mappings inside one another, in any document and event. Nothing honest has ten."""

MOST_VALUES: Final = 500_000
"""Values in one document: mappings, lists and what is in them. Python takes up to 125 bytes for each."""

_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_PIECE_BYTES: Final = 64 * 1024


def read_json(
    content: bytes | str,
    thing: str,
    *,
    most_bytes: int,
    most_values: int = MOST_VALUES,
    unique_keys: bool = False,
) -> Any:
    """The value that `content` holds: a JSON text of at most `most_bytes` bytes and `most_values` values.

    Whole numbers beyond 64 bits are floats, as in Go. `unique_keys` refuses a key that one mapping has twice, which
    costs a second look; without it the last one counts.

    Raises InvalidInput, which names `thing`, the line and the reason: for what is longer, deeper (MOST_DEPTH) or has
    more values, for what is no JSON, no UTF-8 or half a surrogate pair, for a number that no double holds. Raises
    MemoryError where there is no memory left to read it: the content is not to blame.
    """
    data = _utf8(content, thing)
    if len(data) > most_bytes:
        raise InvalidInput.single(thing, "", f"is longer than {most_bytes} bytes; split it")
    _check_shape(data, thing, most_values)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if "memory" in error.msg:
            raise MemoryError(error.msg) from None
        _refuse(thing, error.lineno, f"is not JSON: {error.msg} (column {error.colno})")
    if unique_keys:
        _check_keys(data, thing)
    return value


def _utf8(content: bytes | str, thing: str) -> bytes:
    try:
        if isinstance(content, str):
            return content.encode()
        content.decode()
    except UnicodeError as error:
        at = error.start if isinstance(error, UnicodeDecodeError | UnicodeEncodeError) else 0
        raise InvalidInput.single(thing, "", f"is not UTF-8 (at {at}); save it as that") from None
    return content


def _refuse(thing: str, line: int, reason: str) -> NoReturn:
    raise InvalidInput.single(thing, f"line {line}", reason)


def _check_shape(data: bytes, thing: str, most_values: int) -> None:
    """Refuse what is too deep or has too many values.

    What strings hold may look like brackets and commas. It is taken out only where the count with it is too high,
    which it hardly ever is.
    """
    # Values first: to look for depth takes a round for each level, of as many brackets as there are.
    if _values(data) <= most_values and _depth_is_bounded(data):
        return
    bare = _without_strings(data)
    values = _values(bare)
    if _opens_too_many(bare) or (values <= most_values and not _depth_is_bounded(bare)):
        raise InvalidInput.single(thing, "", f"is nested too deeply: more than {MOST_DEPTH} levels")
    if values > most_values:
        raise InvalidInput.single(thing, "", f"has {values} values; {most_values} are the most, split it")


def _without_strings(data: bytes) -> bytes:
    """`data` without what is in quotes, piece by piece: the parts of all of it at once would take far more memory."""
    data = data.replace(rb"\\", b"").replace(rb"\"", b"")
    out = bytearray()
    inside = 0
    for start in range(0, len(data), _PIECE_BYTES):
        parts = data[start : start + _PIECE_BYTES].split(b'"')
        out += b"".join(parts[inside::2])
        inside ^= (len(parts) - 1) % 2
    return bytes(out)


def _values(data: bytes) -> int:
    """How many values and containers `data` has, at most."""
    return 1 + data.count(b",") + data.count(b"[") + data.count(b"{")


def _depth_is_bounded(data: bytes) -> bool:
    """Whether no more than MOST_DEPTH brackets are open at once: each round takes away the innermost of all."""
    brackets = data.translate(_SQUARE, _NO_BRACKETS)
    for _ in range(MOST_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    # What is left over is no JSON; the parser says so, and says where.
    return b"[]" not in brackets and brackets.count(b"[") <= MOST_DEPTH


def _opens_too_many(data: bytes) -> bool:
    """Whether more than MOST_DEPTH brackets open one after the other: the plainest way to be nested too deeply."""
    return b"[" * (MOST_DEPTH + 1) in data.translate(_SQUARE, _NO_BRACKETS)


def _check_keys(data: bytes, thing: str) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidInput.single(thing, "", f'the key "{key}" is given twice')
            seen.add(key)

    # The numbers were read before; only the keys are of interest.
    json.loads(data, object_pairs_hook=unique, parse_int=len, parse_float=len)
