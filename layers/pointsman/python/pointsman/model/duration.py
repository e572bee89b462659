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
# Go counts nanoseconds in 64 bits: about 292 years.
_LONGEST = 2**63 - 1
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


Nanoseconds = Annotated[int, BeforeValidator(parse_duration)]
"""A pydantic field type: a Go duration in, nanoseconds out."""
