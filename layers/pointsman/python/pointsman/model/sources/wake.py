"""Wakes: messages in the queue of events with which the function that takes events in wakes itself."""

from typing import Any

DETAIL_TYPE = "Pointsman Wake"


def wake_number(raw: Any) -> int | None:
    """The number of the wake that `raw`, a message as parsed JSON, is; None for any other message."""
    match raw:
        case {"detail-type": "Pointsman Wake", "detail": {"Number": int(found)}} if found >= 0:
            return found
        case _:
            return None
