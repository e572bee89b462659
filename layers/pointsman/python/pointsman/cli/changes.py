"""What changes in documents, field by field, for people."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
import orjson

from pointsman.model.differing import Differing, differing
from pointsman.model.duration import duration_text

MOST_FIELDS: Final = 40
"""Fields of a document that are shown; the others are counted."""

LONGEST_VALUE: Final = 160
"""Characters of a value that are shown."""

_DURATIONS: Final = frozenset({"ConnectTimeout", "RequestTimeout", "FailbackAfter", "TTL"})
"""Fields whose value is a number of nanoseconds."""

_MARKS: Final = {"new": ("+", "green"), "gone": ("-", "red"), "changed": ("~", "yellow")}


def colored(text: str, color: str | None, *, bold: bool = False) -> str:
    """`text` in a color if stdout is a terminal."""
    return click.style(text, fg=color, bold=bold or None) if color and sys.stdout.isatty() else text


def change_lines(change: Mapping[str, Any], thing: str) -> Iterator[str]:
    """What became of a thing (`what`: new, gone or changed), and of one that changed each field that differs."""
    mark, color = _MARKS[change["what"]]
    yield colored(f"{mark} {thing}", color)
    if change["what"] != "changed":
        return
    fields = list(differing(_as_written(change["before"]), _as_written(change["after"])))
    for each in fields[:MOST_FIELDS]:
        yield f"    {_line(each)}"
    if len(fields) > MOST_FIELDS:
        yield f"    and {len(fields) - MOST_FIELDS:,} more fields; --json has all"


def _line(field: Differing) -> str:
    if field.before is None:
        return f"{field.path}: added {_shown(field.after)}"
    if field.after is None:
        return f"{field.path}: removed, was {_shown(field.before)}"
    return f"{field.path}: {_shown(field.before)} -> {_shown(field.after)}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _as_written(value: Any) -> Any:
    """A document with its durations as people write them."""
    if isinstance(value, list):
        return [_as_written(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: duration_text(each) if key in _DURATIONS and isinstance(each, int) else _as_written(each)
        for key, each in value.items()
    }
