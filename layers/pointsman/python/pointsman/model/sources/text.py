"""Reads the JSON of an event, or of the list that an event points to."""

from typing import Any, Final

from pointsman.model import bounded_json

MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one event, or of a list that it points to: as many instances as Consul lists them as MOST_VALUES has room
for. What is refused is in memory twice, and four times as large in Python if it has a rare letter."""

MOST_VALUES: Final = 750_000
"""Values in one of them, as model/bounded_json.py counts: seven thousand instances as Consul lists them fit."""


def read_json(text: bytes | str, thing: str = "event") -> Any:
    """The value that `text` holds. Raises InvalidInput, naming `thing`, if it is no JSON or beyond the bounds."""
    return bounded_json.read_json(text, thing, most_bytes=MOST_BYTES, most_values=MOST_VALUES)
