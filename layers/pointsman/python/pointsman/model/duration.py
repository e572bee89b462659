"""Go durations, as Consul's config entries write them."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from pointsman.model.complaints import shown

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
LONGEST_MS = 9_223_372_035_000
"""The longest duration, in milliseconds: Go counts nanoseconds in 64 bits, and Envoy takes no more whole seconds."""

_LONGEST = LONGEST_MS * 1_000_000
_LONGEST_TEXT = 100
_MAYBE_MILLISECONDS = 100
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?\Z")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(value: Any) -> int:
    """Nanoseconds of a Go duration (`"250ms"`, `"1m30s"`, `"0"`) or of a whole number of nanoseconds.

    Raises ValueError for anything else, and for a number other than 0 below a millisecond: no timeout is that short, so
    seconds or milliseconds were meant. The grammar is that of Go's time.ParseDuration.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LONGEST:
        if 0 < value < _UNITS["ms"]:
            raise ValueError(f"{value} is {value} nanoseconds; write {_meant(value)}")
        return value
    if isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        text, sign = value.strip(), 1
        if text[:1] in ("-", "+"):
            sign, text = (-1 if text[0] == "-" else 1), text[1:]
        if text == "0":
            return 0
        total, at = 0.0, 0
        while match := _PART.match(text, at):
            total += float(match[1]) * _UNITS[match[2]]
            at = match.end()
        if at and at == len(text) and total <= _LONGEST:
            return sign * round(total)
        if _NUMBER.match(text):
            raise ValueError(f"{shown(value)} has no unit; write {_meant(float(text))}")
    elif isinstance(value, float) and 0 < value < _UNITS["ms"]:
        raise ValueError(f"{value:g} has no unit; write {_meant(value)}")
    what = 'write one like "250ms" or "1m30s", or whole nanoseconds, 292 years at most'
    raise ValueError(f"{shown(value)} is not a duration; {what}")


def _meant(number: int | float) -> str:
    """What the author of a `number` without a unit meant: seconds, or milliseconds if the number is large."""
    text = f"{number:.15g}"
    return f"{text}s" if number < _MAYBE_MILLISECONDS else f"{text}s or {text}ms"


def duration_text(nanoseconds: int) -> str:
    """`nanoseconds` in Go's syntax, for people: `250ms`, `1m30s`, `1.5s`; parts that are zero are left out."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < _UNITS["s"]:
        unit = next((each for each in ("ms", "µs", "ns") if rest >= _UNITS[each]), "s")
        return f"{sign}{_decimal(rest, _UNITS[unit])}{unit}"
    text = ""
    for unit in ("h", "m"):
        if rest >= _UNITS[unit]:
            text += f"{rest // _UNITS[unit]}{unit}"
            rest %= _UNITS[unit]
    return f"{sign}{text}{_decimal(rest, _UNITS['s'])}s" if rest or not text else f"{sign}{text}"


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    digits = f"{part:0{len(str(unit)) - 1}d}".rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)


def _written(nanoseconds: int) -> int | str:
    """A number, or text where `parse_duration` takes no number."""
    return duration_text(nanoseconds) if 0 < nanoseconds < _UNITS["ms"] else nanoseconds


Nanoseconds = Annotated[int, BeforeValidator(parse_duration), PlainSerializer(_written)]
"""A pydantic field type: a Go duration in, nanoseconds out."""
