"""Finds indexes that are probably mistakes. An index counts for ever, so a mistake is reported at once.

A producer without a counter sends milliseconds since 1970. One mistake (seconds as nanoseconds, a clock that is a year
ahead) outranks everything sent correctly afterwards. The event is taken in all the same, because an index is the
producer's own; the answer has a warning.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from pointsman.model.catalog import Catalog
from pointsman.model.words import counted

if TYPE_CHECKING:
    from pointsman.model.events import HealthEvent

MOST_AHEAD_SECONDS: Final = 24 * 60 * 60
"""How far ahead of the clock an index that looks like a time may lie. No clock and no time zone is wrong by more."""

_UNITS: Final = (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
_EARLIEST, _LATEST = 10**9, 10**10
"""Seconds since 1970, of 2001 and of 2286: between them no number can be read in two of the units."""


def index_doubt(before: Catalog, event: "HealthEvent", now: datetime) -> str:
    """What looks wrong about the index of `event`, as a sentence; "" if nothing does.

    An index looks wrong if it reads as a time more than MOST_AHEAD_SECONDS ahead of `now`, or if it is greater than the
    one known in `before` and counts in another unit of time.
    """
    unit = _unit(event.index)
    if unit is None:
        return ""
    name, per_second = unit
    sent = f'"{event.source}" sent the index {event.index}, which reads as {name} since 1970'
    ahead = event.index // per_second - now.timestamp()
    if ahead > MOST_AHEAD_SECONDS:
        days = counted(int(ahead // MOST_AHEAD_SECONDS), "day")
        return (
            f"{sent} and is {days} ahead of the clock here. It was taken in, and smaller indexes of this source have "
            "no effect from now on; to start over, send a greater Epoch"
        )
    known = _known(before, event)
    earlier = _unit(known) if known is not None and known < event.index else None
    if earlier is not None and earlier != unit:
        return (
            f"{sent}, but it counted in {earlier[0]} before ({known}). It was taken in, and indexes in {earlier[0]} "
            "have no effect from now on; to use them again, send a greater Epoch"
        )
    return ""


def _unit(index: int) -> tuple[str, int] | None:
    if index < _EARLIEST:  # a counter, as most are
        return None
    return next((unit for unit in _UNITS if _EARLIEST * unit[1] <= index < _LATEST * unit[1]), None)


def _known(before: Catalog, event: "HealthEvent") -> int | None:
    """The greatest index of `event.source` in this epoch, of its lists and of the instances in `event`."""
    source = before.sources.get(event.source)
    if source is None:
        return None
    stamps = [source["floor"]] if source["floor"] is not None else []
    for statement in event.statements:
        stamps += source["instances"].get(statement.node, {}).get(statement.id, {}).values()
    return max((stamp[1] for stamp in stamps if stamp[0] == event.epoch), default=None)
