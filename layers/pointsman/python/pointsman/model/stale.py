"""What of an event the catalog does not believe, because its source said something else that outranks it.

An event that says nothing new is one of two things. A duplicate agrees with what is known. A stale one differs from
it and loses: then its sender has to hear that, and from which index on it will be heard, for the sender may be the one
who is right (an index that was once sent in nanoseconds outranks every later one in milliseconds).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pointsman.model.catalog import Body, Catalog, Register, effective

if TYPE_CHECKING:
    from pointsman.model.events import HealthEvent

MOST_NAMED = 20
"""Instances of one event that are named as stale; the rest is counted."""

_MOST_INDEX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Stale:
    """What of one event had no effect.

    `instances` are (node, id) of those that the event is outranked about, the first MOST_NAMED of `count`. `known` is
    the greatest (epoch, index) that outranks it, `heard_from` the smallest with which all of it would have been heard.
    """

    source: str
    sent: tuple[int, int]
    instances: tuple[tuple[str, str], ...]
    count: int
    known: tuple[int, int]

    @property
    def heard_from(self) -> tuple[int, int]:
        """The smallest (epoch, index) at which the source is heard about all of them."""
        epoch, index = self.known
        return (epoch, index + 1) if index < _MOST_INDEX else (epoch + 1, 0)

    def json(self) -> dict[str, Any]:
        """As answers have it."""
        return {
            "source": self.source,
            "sent": _stamp(self.sent),
            "known": _stamp(self.known),
            "heard_from": _stamp(self.heard_from),
            "count": self.count,
            "instances": [{"node": node, "id": id_} for node, id_ in self.instances],
        }


def _stamp(stamp: tuple[int, int]) -> dict[str, int]:
    return {"epoch": stamp[0], "index": stamp[1]}


def stale_line(stale: Mapping[str, Any]) -> str:
    """What `Stale.json` says, as one line for a person."""
    sent, known, heard = (
        "epoch {epoch}, index {index}".format_map(stale[name]) for name in ("sent", "known", "heard_from")
    )
    count, first = stale["count"], stale["instances"][0]
    named = f'"{first["id"]}" on node "{first["node"]}"' + (f" and {count - 1} more" if count > 1 else "")
    return (
        f'stale: what "{stale["source"]}" says of {named} at {sent} has no effect: it said something else at {known} '
        f"already. It is heard from {heard} on, or with a greater Epoch"
    )


def stale(catalog: Catalog, event: "HealthEvent") -> Stale | None:
    """What of `event` the `catalog`, into which it was merged, does not say, because something outranks it.

    None if the catalog says all of it, be it new or a duplicate.
    """
    outranked = list(_outranked(catalog, event))
    if not outranked:
        return None
    names = sorted({(node, id_) for node, id_, _ in outranked})
    epoch, index = max(tuple(register[:2]) for _, _, register in outranked)
    return Stale(event.source, (event.epoch, event.index), tuple(names[:MOST_NAMED]), len(names), (epoch, index))


def _outranked(catalog: Catalog, event: "HealthEvent") -> Iterator[tuple[str, str, Register]]:
    """(node, id, what is known instead) of everything that `event` states and `catalog` does not say."""
    source: Body = catalog.sources.get(event.source) or {"floor": None, "instances": {}}
    for statement in event.statements:
        said: dict[str, Any] = {}
        if not event.checks_only:
            said["d"] = statement.description
        if statement.checks is not None:
            said["c"] = statement.checks
        for name, value in said.items():
            known = effective(source, statement.node, statement.id, name)
            # No checks and no word of checks come to the same.
            if known is not None and (known[3] or None) != (value or None):
                yield statement.node, statement.id, known
    if event.full:
        listed = {(statement.node, statement.id) for statement in event.statements}
        for node, ids in source["instances"].items():
            for id_, registers in ids.items():
                known = registers.get("d")
                if known is not None and known[3] is not None and (node, id_) not in listed:
                    yield node, id_, known
