"""Since when an instance is healthy, as its source stated it.

Beside its registers an instance has two *marks*, each the place of a statement and its time: `b`, the newest that it
was bad (critical, or gone), and `g`, the oldest after it that it was good. It is healthy since the later of the two.
Good statements may come late, twice and in any order. A bad one that comes after a newer good one changes nothing, here
as in the registers: the instance was never seen bad here. (To know then which good one was the first after it, every
good statement would have to be kept.)

What is not there has no marks: the register of a tombstone says where it was gone, and what is there again is healthy
since it was stated there.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pointsman.model.moments import moment_of

if TYPE_CHECKING:
    from pointsman.model.events import HealthEvent, Statement

Mark = list[int]
"""Epoch, index and rank of a statement, as in a register, and its time in milliseconds since 1970, 0 if unknown."""

MARKS: Final = frozenset("bg")

_Registers = Mapping[str, Any]


def timed(event: "HealthEvent", now_ms: int) -> "HealthEvent":
    """`event` with the time at which it counts: its own, or that of who takes it in, who has `now_ms`.

    One ahead of the taker counts from now on. An event that has one already keeps it.
    """
    if event.at:
        return event
    own = event.moment if event.moment is not None else moment_of(event.time) if event.time else None
    return event._replace(at=now_ms if own is None else min(own, now_ms))


def time_doubt(event: "HealthEvent") -> str:
    """What is wrong with the time of `event`, as a sentence; "" if nothing is."""
    if not event.time or event.moment is not None or moment_of(event.time) is not None:
        return ""
    return f'its time "{event.time[:64]}" is not RFC 3339 with an offset, so it counts from when it was taken in'


def since_of(registers: _Registers) -> int:
    """Since when the instance with these registers is not critical (milliseconds since 1970), 0 if that is unknown or
    it is critical."""
    bad, good = registers.get("b"), registers.get("g")
    if (bad is None and good is None) or _is_critical(registers):
        return 0
    return max(bad[3] if bad is not None else 0, good[3] if good is not None else 0)


def marks(
    before: _Registers, after: _Registers, event: "HealthEvent", statement: "Statement | None", floor: list[int] | None
) -> dict[str, Mark]:
    """The marks of an instance whose registers `event` changes from `before` to `after`.

    `statement` is what the event states of it, None if it is a list without the instance. `floor` is the place of the
    newest list before that spoke of it.
    """
    there = after.get("d")
    if there is None or there[3] is None:
        return {}
    bad, good = before.get("b"), before.get("g")
    is_new = bad is None and good is None
    if event.at and not (is_new and _is_well(before)):
        if is_new:
            bad = _end(before, floor)
        place = [event.epoch, event.index, event.rank if statement is not None else 0]
        if statement is not None and _is_good(statement, event):
            # What says nothing but how the checks are is about an instance that somebody else stated.
            if (bad is None or place >= bad[:3]) and not (good and event.checks_only):
                good = min(good or [*place, event.at], [*place, event.at])
        elif not _is_well(after):
            # Gone has no time: what is there again is healthy since it was stated there.
            mark = [*place, event.at if statement is not None and statement.checks is not None else 0]
            if bad is None or place > bad[:3]:
                bad = mark
            elif place == bad[:3]:
                bad = min(bad, mark)
            if good is not None and good[:3] < bad[:3]:
                good = None
    return {name: mark for name, mark in (("b", bad), ("g", good)) if mark is not None}


def _end(before: _Registers, floor: list[int] | None) -> Mark | None:
    """The newest place at which an instance without marks was bad, as far as that is known."""
    places = [before[name][:3] for name in ("c", "d") if name in before and not _is_fine(name, before[name][3])]
    if not before and floor is not None:
        places = [[*floor, 0]]
    return [*max(places), 0] if places else None


def _is_well(registers: _Registers) -> bool:
    """Whether there is an instance with these registers, and it is not critical."""
    there, checks = registers.get("d"), registers.get("c")
    return there is not None and there[3] is not None and (checks is None or _are_fine(checks[3]))


def _is_fine(name: str, value: Any) -> bool:
    return value is not None if name == "d" else _are_fine(value)


def _are_fine(checks: Any) -> bool:
    for check in checks or ():  # noqa: SIM110  most instances have one or two, and a generator costs more than they do
        if check.get("Status") == "critical":
            return False
    return True


def _is_good(statement: "Statement", event: "HealthEvent") -> bool:
    if statement.checks is None:
        return statement.description is not None and not event.checks_only
    return _are_fine(statement.checks)


def _is_critical(registers: _Registers) -> bool:
    checks = registers.get("c")
    return checks is not None and not _are_fine(checks[3])
