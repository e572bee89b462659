"""Go durations, as Consul's config entries write them."""

import json
import re
from typing import Annotated, Any

from pydantic import BeforeValidator

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
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(value: Any) -> int:
    """Nanoseconds of a Go duration (`"250ms"`, `"1m30s"`, `"0"`) or of an integer of nanoseconds.

    Raises ValueError for anything else. The grammar is that of Go's time.ParseDuration.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LONGEST:
        return value
    if isinstance(value, str):
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
    what = 'write one like "250ms" or "1m30s", or whole nanoseconds, 292 years at most'
    raise ValueError(f"{json.dumps(value, ensure_ascii=False, default=str)[:80]} is not a duration; {what}")


def duration_text(nanoseconds: int) -> str:
    """`nanoseconds` in Go's syntax, for people: `250ms`, `1m30s`, `1.5s`; what is zero is left out."""
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


Nanoseconds = Annotated[int, BeforeValidator(parse_duration)]
"""A pydantic field type: a Go duration in, nanoseconds out."""
