"""Finds what of an event has no effect, because its source stated something else that outranks it.

An event that says nothing new is one of two things. A duplicate agrees with what is known. A stale event differs from
it and loses. Its sender has to learn that, and which index would take effect, because the sender may be right: an index
once sent in nanoseconds outranks every later one in milliseconds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pointsman.model.catalog import NO_SOURCE, Body, Catalog, Stamp, is_forgotten, stated

if TYPE_CHECKING:
    from pointsman.model.events import HealthEvent

MOST_NAMED = 20
"""Instances of one event that the answer names as stale; the others are counted."""

_MOST_INDEX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Stale:
    """What of one event had no effect.

    `instances` are (node, id) of those about which the event is outranked, the first MOST_NAMED of `count`. `known` is
    the greatest (epoch, index) that outranks it. If the source counts its indexes by instance, so many instances may
    have gone that the event's own may be one whose tombstone was removed: then `forgotten` is the moment (ms since
    1970) up to which tombstones were.
    """

    source: str
    sent: tuple[int, int]
    instances: tuple[tuple[str, str], ...]
    count: int
    known: tuple[int, int] | None
    forgotten: int | None = None

    @property
    def heard_from(self) -> tuple[int, int] | None:
        """The smallest (epoch, index) that takes effect about all of them; None if no index does."""
        if self.known is None or self.forgotten is not None:
            return None
        epoch, index = self.known
        return (epoch, index + 1) if index < _MOST_INDEX else (epoch + 1, 0)

    def json(self) -> dict[str, Any]:
        """As JSON values, as in the answer to an event."""
        return {
            "source": self.source,
            "sent": _stamp(self.sent),
            "known": _stamp(self.known),
            "heard_from": _stamp(self.heard_from),
            "forgotten": self.forgotten,
            "count": self.count,
            "instances": [{"node": node, "id": id_} for node, id_ in self.instances],
        }


def _stamp(stamp: tuple[int, int] | None) -> dict[str, int] | None:
    return stamp and {"epoch": stamp[0], "index": stamp[1]}


def stale_line(stale: Mapping[str, Any]) -> str:
    """`Stale.json` as one line for a person."""
    count, first = stale["count"], stale["instances"][0]
    named = f'"{first["id"]}" on node "{first["node"]}"' + (f" and {count - 1} more" if count > 1 else "")
    what = f'stale: what "{stale["source"]}" states of {named} at {_text(stale["sent"])} has no effect'
    if stale["heard_from"] is None:
        return f"{what}: it may be an instance whose tombstone was removed since. The next event about it takes effect"
    return (
        f"{what}: it already stated something else at {_text(stale['known'])}. To take effect, send "
        f"{_text(stale['heard_from'])} or greater, or a greater Epoch"
    )


def _text(stamp: Mapping[str, int]) -> str:
    return "epoch {epoch}, index {index}".format_map(stamp)


def stale(catalog: Catalog, event: "HealthEvent") -> Stale | None:
    """What of `event` is outranked in `catalog`, into which it was merged.

    None if the catalog contains all of it, new or duplicate, or if it comes from a list: that is late now and then.
    """
    if event.listed:
        return None
    source = catalog.sources.get(event.source) or NO_SOURCE
    outranked = list(_outranked(source, event))
    if not outranked:
        return None
    names = sorted({(node, id_) for node, id_, _ in outranked})
    known = max(((stamp[0], stamp[1]) for _, _, stamp in outranked if stamp is not None), default=None)
    forgotten = source["forgotten"][1] if any(stamp is None for _, _, stamp in outranked) else None
    return Stale(event.source, (event.epoch, event.index), tuple(names[:MOST_NAMED]), len(names), known, forgotten)


def _outranked(source: Body, event: "HealthEvent") -> Iterator[tuple[str, str, Stamp | None]]:
    """(node, id, place) of everything known that differs from what `event` states.

    The place is None if, by its moment, the event may be about an instance whose tombstone was removed.
    """
    forgotten = source.get("forgotten")
    instances: Mapping[str, Body] = source["instances"]
    for statement in event.statements:
        known = instances.get(statement.node, {}).get(statement.id, {})
        floor = known.get("f", source["floor"])
        for name, said in stated(event, statement):
            if name in known:
                # No checks and no statement about checks mean the same, and those of a gone instance do not matter.
                if (known[name][3] or None) != (said[3] or None) and (name == "d" or said[3] is not None):
                    yield statement.node, statement.id, known[name][:2]
            elif said[3]:
                if floor is not None and floor >= said[:2]:
                    yield statement.node, statement.id, floor
                if is_forgotten(forgotten, said):
                    yield statement.node, statement.id, None if event.moment is not None else forgotten
    if event.states_absence:
        said_of = event.left_out | {(statement.node, statement.id) for statement in event.statements}
        for node, ids in instances.items():
            for id_, registers in ids.items():
                there = registers.get("d")
                if there is not None and there[3] is not None and (node, id_) not in said_of:
                    yield node, id_, there[:2]
