"""Why something was published: the cause that the writer noted who published it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from pointsman.model.note import Note
from pointsman.model.stored import Damaged, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.model.events import HealthEvent
    from pointsman.model.lease import Lease
    from pointsman.model.orders import Order

LONGEST_CAUSE: Final = 300
"""Characters of the text of a cause, and of its id."""


class CauseKind(StrEnum):
    """What caused something."""

    UNKNOWN = ""
    """An older writer published it, and noted nothing."""

    EVENT = "event"
    """A health event; the id is the event's own, "" if it has none."""

    CONFIG = "config"
    """A change of config; the id is the number of the generation."""

    ORDER = "order"
    """An order that began, changed or ended; the id is the order's."""

    LAPSE = "lapse"
    """A source that was not heard for its lease; the id is its name."""

    HEARD = "heard"
    """A source that was silent and is heard again; the id is its name."""

    WAIT = "wait"
    """A target that was healthy for as long as its policy wants."""

    RECONCILE = "reconcile"
    """A reconcile found that it was not published: a crash or a lost message kept it back."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause: its `kind`, the `id` of what it was, and a sentence about it for people.

    It stands beside what is published and is no part of it: two writers that publish the same may name two causes.
    """

    kind: CauseKind = CauseKind.UNKNOWN
    id: str = ""
    text: str = ""

    def json(self) -> dict[str, str]:
        """As plain JSON values."""
        return {"kind": self.kind.value, "id": self.id, "text": self.text}


NO_CAUSE: Final = Cause()


def cause_json(cause: Cause) -> list[str]:
    """`cause` as it is stored; `read_cause` is its inverse."""
    return [cause.kind.value, cause.id, cause.text]


def read_cause(found: Any) -> Cause:
    """The cause that `cause_json` wrote, NO_CAUSE for None. Raises Damaged.

    One of a kind that only newer writers know is of none.
    """
    match found:
        case None:
            return NO_CAUSE
        case [str(kind), str(id_), str(text)]:
            return Cause(CauseKind(kind) if kind in _KINDS else CauseKind.UNKNOWN, id_, text)
        case other:
            raise Damaged(f"its cause is {shown(other)}")


_KINDS: Final = frozenset(CauseKind)


def _cause(kind: CauseKind, id_: str, text: str) -> Cause:
    return Cause(kind, id_[:LONGEST_CAUSE], text if len(text) <= LONGEST_CAUSE else f"{text[: LONGEST_CAUSE - 1]}…")


def by_event(event: "HealthEvent") -> Cause:
    """The cause of what a health event moves."""
    about = "its mesh gateways" if event.service is None else event.service.name
    place = f"epoch {event.epoch}, index {event.index}" if event.epoch else f"index {event.index}"
    named = f", event {event.id}" if event.id else ""
    return _cause(CauseKind.EVENT, event.id, f"{event.source} told of {about} in {event.datacenter} ({place}{named})")


def by_config(generation: int, note: Note) -> Cause:
    """The cause of what a generation of the config moves."""
    by = f" by {note.by}" if note.by else ""
    said = f": {note.message}" if note.message else ""
    return _cause(CauseKind.CONFIG, str(generation), f"generation {generation}{by}{said}")


def by_order(began: "Sequence[Order]", ended: "Sequence[tuple[Order, str]]" = ()) -> Cause:
    """The cause of what orders move that began or changed, and others that ended: each of these with who ended it
    early, "" if its time was up."""
    said = [f"order {each.id}: {each.subject}, by {each.by} ({each.reason})" for each in began]
    said += [
        f"the end of order {each.id}: {each.subject}, " + (f"ended by {by}" if by else f"over at {each.until}")
        for each, by in ended
    ]
    ids = [each.id for each in began] + [each.id for each, _ in ended]
    return _cause(CauseKind.ORDER, ids[0] if ids else "", "; ".join(said))


def by_lapse(leases: "Sequence[Lease]", heard: "Sequence[Lease]" = ()) -> Cause:
    """The cause of what moves because sources were not heard for their leases, or because some are heard again."""
    if not leases:
        return by_return(heard)
    said = [f"{each.source} of {each.datacenter}" for each in leases]
    last = max(each.at for each in leases)
    return _cause(CauseKind.LAPSE, leases[0].source, f"not heard for a whole lease, last at {last}: {', '.join(said)}")


def by_return(leases: "Sequence[Lease]") -> Cause:
    """The cause of what moves because silent sources are heard again."""
    said = ", ".join(f"{each.source} of {each.datacenter}" for each in leases)
    return _cause(CauseKind.HEARD, leases[0].source if leases else "", f"heard again: {said}")


BY_WAIT: Final = Cause(CauseKind.WAIT, "", "a target was healthy for as long as FailbackAfter wants")

BY_RECONCILE: Final = Cause(
    CauseKind.RECONCILE, "", "a reconcile found it: a crash or a lost message had kept it from being published"
)
