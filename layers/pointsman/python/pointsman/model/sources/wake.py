"""Wakes: messages in the queue of events with which the function that takes events in wakes itself."""

from typing import Any

DETAIL_TYPE = "Pointsman Wake"


def order_moment(raw: Any) -> int | None:
    """The moment of the wake that ends orders (milliseconds since 1970) that `raw`, a message as parsed JSON, is; None
    for any other message."""
    match raw:
        case {"detail-type": "Pointsman Wake", "detail": {"Orders": int(found)}}:
            return found
        case _:
            return None


def wait_moment(raw: Any) -> int | None:
    """The moment of the wake for what waits (milliseconds since 1970) that `raw`, a message as parsed JSON, is; None
    for any other message."""
    match raw:
        case {"detail-type": "Pointsman Wake", "detail": {"Moment": int(found)}}:
            return found
        case _:
            return None


def wake_number(raw: Any) -> int | None:
    """The number of the wake that `raw`, a message as parsed JSON, is; None for any other message."""
    match raw:
        case {"detail-type": "Pointsman Wake", "detail": {"Number": int(found)}} if found >= 0:
            return found
        case _:
            return None
