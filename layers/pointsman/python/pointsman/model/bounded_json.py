"""Reads JSON from outside within bounds: all of it comes in here.

It checks size, depth and number of values on the text before it builds anything, so refusing costs a fraction of
reading.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import orjson

from pointsman.model.errors import InvalidInput

MOST_DEPTH: Final = 64
"""Levels of lists and mappings in a document or an event. Honest ones have fewer than ten."""

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

    Whole numbers beyond 64 bits become floats, as in Go. `unique_keys` refuses a key that one mapping has twice, which
    takes a second pass; without it the last one counts.

    Raises InvalidInput with `thing`, the line and the reason if the text is longer, deeper (MOST_DEPTH) or has more
    values, if it is no JSON, no UTF-8 or has half a surrogate pair, or if no double holds a number. Raises MemoryError
    if there is no memory left to read it: the content is not at fault.
    """
    data = content if isinstance(content, bytes) else _utf8(content, thing)
    if len(data) > most_bytes:
        raise InvalidInput.single(thing, "", f"is longer than {most_bytes} bytes; split it")
    _check_shape(data, thing, most_values)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if "memory" in error.msg:
            raise MemoryError(error.msg) from None
        _check_utf8(data, thing)
        _refuse(thing, error.lineno, f"is not JSON: {error.msg} (column {error.colno})")
    if unique_keys:
        _check_keys(data, thing)
    return value


def _utf8(content: str, thing: str) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError as error:
        _refuse_encoding(thing, error.start)


def _check_utf8(data: bytes, thing: str) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        _refuse_encoding(thing, error.start)


def _refuse_encoding(thing: str, at: int) -> NoReturn:
    raise InvalidInput.single(thing, "", f"is not UTF-8 (at {at}); save it as that") from None


def _refuse(thing: str, line: int, reason: str) -> NoReturn:
    raise InvalidInput.single(thing, f"line {line}", reason)


def _check_shape(data: bytes, thing: str, most_values: int) -> None:
    """Refuse text that is too deep or has too many values.

    Strings may contain brackets and commas. They are removed only if the count with them is too high, which is rare.
    """
    squares, curlies = data.count(b"["), data.count(b"{")
    # Values first: the check of depth takes one pass over all brackets for each level, unless there are so few.
    if 1 + data.count(b",") + squares + curlies <= most_values and (
        squares + curlies <= MOST_DEPTH or _depth_is_bounded(_brackets(data))
    ):
        return
    too_deep = InvalidInput.single(thing, "", f"is nested too deeply: more than {MOST_DEPTH} levels")
    values, brackets = 1, b""
    for piece in _without_strings(data):
        values += _values(piece)
        new = _brackets(piece)
        # The simplest case first: more than MOST_DEPTH brackets open in a row.
        if b"[" * (MOST_DEPTH + 1) in brackets[-MOST_DEPTH:] + new:
            raise too_deep
        if values > most_values:
            raise InvalidInput.single(thing, "", f"has too many values; {most_values} are the most, split it")
        brackets += new
    if not _depth_is_bounded(brackets):
        raise too_deep


def _without_strings(data: bytes) -> Iterator[bytes]:
    """`data` without what is in quotes, piece by piece, so that the reader can stop early."""
    start = inside = 0
    while start < len(data):
        piece = data[start : start + _PIECE_BYTES]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2 and len(piece) > 1:
            piece = piece[:-1]  # what it escapes is in the next one
        start += len(piece)
        parts = piece.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
        yield b"".join(parts[inside::2])
        inside ^= (len(parts) - 1) % 2


def _values(data: bytes) -> int:
    """How many values and containers `data` has beside the first, at most."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _brackets(data: bytes) -> bytes:
    """The brackets of `data`, all of them square."""
    return data.translate(_SQUARE, _NO_BRACKETS)


def _depth_is_bounded(brackets: bytes) -> bool:
    """Whether no more than MOST_DEPTH are open at once: each round takes away the innermost of all."""
    for _ in range(MOST_DEPTH):
        before, brackets = len(brackets), brackets.replace(b"[]", b"")
        if len(brackets) == before:
            break
    # What is left is no JSON; the parser says so, and where.
    return b"[]" not in brackets and brackets.count(b"[") <= MOST_DEPTH


def _check_keys(data: bytes, thing: str) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidInput.single(thing, "", f'the key "{key}" is given twice')
            seen.add(key)

    # The numbers were checked before; only the keys matter.
    json.loads(data, object_pairs_hook=unique, parse_int=len, parse_float=len)
