"""Bounds on the size of a config entry or registration, checked before anything else."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pointsman.model.bounded_json import MOST_DEPTH
from pointsman.model.complaints import path_of
from pointsman.model.errors import InvalidInput

MOST_ENTRY_VALUES: Final = 30_000
"""Values in one entry or registration: each may be wrong, and a problem takes a kilobyte."""

MOST_ITEMS: Final = 1000
"""Items of one list or mapping: routes, splits, upstreams and so on."""

LONGEST_TEXT: Final = 64 * 1024
"""Characters of one text."""

_Path = tuple[str | int, ...]


def check_size(raw: Mapping[str, Any], thing: str) -> None:
    """Raise InvalidInput if `raw` has more than MOST_ENTRY_VALUES, MOST_ITEMS, LONGEST_TEXT or MOST_DEPTH."""
    level: list[tuple[_Path, Any]] = [((), raw)]
    values = 0
    for _ in range(MOST_DEPTH):
        inside: list[tuple[_Path, Any]] = []
        for path, value in level:
            if len(value) > MOST_ITEMS:
                _refuse(thing, path, f"has {len(value)} items, {MOST_ITEMS} are the most")
            values += len(value)
            if values > MOST_ENTRY_VALUES:
                _refuse(thing, (), f"has more than {MOST_ENTRY_VALUES} values; split it")
            for key, inner in _items(value):
                if isinstance(inner, Mapping | list):
                    inside.append(((*path, key), inner))
                for text in (key, inner):
                    if isinstance(text, str) and len(text) > LONGEST_TEXT:
                        _refuse(thing, path, f"has a text of {len(text)} characters, {LONGEST_TEXT} are the most")
        level = inside
        if not level:
            return
    _refuse(thing, (), f"is nested too deeply: more than {MOST_DEPTH} levels")


def _items(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, Mapping):
        return ((str(key), inner) for key, inner in value.items())
    return iter(enumerate(value))


def _refuse(thing: str, path: _Path, reason: str) -> None:
    raise InvalidInput.single(thing, path_of(path), reason)
