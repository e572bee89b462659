"""Trouble: what was wrong with what a source sent, for as long as people want to see it.

It is for people alone: nothing is computed from it. What a source sent has its effect, or has not, as docs/events.md
says; its trouble is kept beside it so that `pointsman status` can show what the sender was answered.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pointsman.model.stored import Body, Damaged, Kind, check_kind, mapping, shown, tagged, text

KEPT_SECONDS: Final = 86_400
"""How long trouble is shown after it was last met."""

NOTED_EVERY_SECONDS: Final = 60
"""Trouble of one kind with one source is written again after so long."""

MOST_TROUBLED: Final = 100
"""Sources of one datacenter whose trouble is kept: those that had some last."""

LONGEST_TEXT: Final = 500
"""Characters of what is kept of it; the log has all."""


class What(StrEnum):
    """What was wrong."""

    STALE = "stale"
    DOUBTED = "doubted"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What was wrong with what `source` sent of `datacenter`: in words, when it was `first` and when it was `last` met
    (RFC 3339)."""

    source: str
    datacenter: str
    what: What
    words: str
    first: str
    last: str

    def json(self) -> dict[str, str]:
        """As plain JSON values."""
        return {
            "source": self.source,
            "datacenter": self.datacenter,
            "what": self.what.value,
            "words": self.words,
            "first": self.first,
            "last": self.last,
        }


def noted(known: Iterable[Trouble], met: Iterable[Trouble], now: str) -> tuple[Trouble, ...]:
    """The `known` trouble of a datacenter with what was `met` at `now`, without what is older than KEPT_SECONDS; equal
    to `known` if it was all noted within NOTED_EVERY_SECONDS."""
    found = {(each.source, each.what): each for each in current(known, now)}
    for each in met:
        before = found.get((each.source, each.what))
        if before is None or _age(before, now) >= NOTED_EVERY_SECONDS:
            first = each.first if before is None else before.first
            found[each.source, each.what] = Trouble(
                each.source, each.datacenter, each.what, each.words[:LONGEST_TEXT], first, each.last
            )
    last: dict[str, str] = {}
    for each in found.values():
        last[each.source] = max(last.get(each.source, ""), each.last)
    kept = set(sorted(last, key=lambda source: (last[source], source))[-MOST_TROUBLED:])
    return tuple(sorted((each for each in found.values() if each.source in kept), key=_order))


def current(known: Iterable[Trouble], now: str) -> tuple[Trouble, ...]:
    """What of `known` is not older than KEPT_SECONDS."""
    return tuple(each for each in known if _age(each, now) < KEPT_SECONDS)


def _age(trouble: Trouble, now: str) -> float:
    """Seconds since it was last met. A clock that went back has met it just now."""
    try:
        return max((datetime.fromisoformat(now) - datetime.fromisoformat(trouble.last)) / timedelta(seconds=1), 0.0)
    except (ValueError, TypeError):
        return float(KEPT_SECONDS)


def _order(trouble: Trouble) -> tuple[str, str, str]:
    return trouble.datacenter, trouble.source, trouble.what


def trouble_json(troubles: Iterable[Trouble]) -> Body:
    """The trouble of one datacenter as plain JSON values; `read_trouble` is its inverse."""
    return tagged(Kind.TROUBLE, {"troubles": [each.json() for each in troubles]})


def read_trouble(body: object) -> tuple[Trouble, ...]:
    """What `trouble_json` wrote. Raises Damaged or NewerSchema for anything else."""
    body = check_kind(body, Kind.TROUBLE)
    found = body.get("troubles")
    if type(found) is not list:
        raise Damaged(f"its troubles are {shown(found)}, which is no list")
    return tuple(_read(mapping({"trouble": each}, "trouble")) for each in found)


def _read(body: Body) -> Trouble:
    try:
        what = What(text(body, "what"))
    except ValueError:
        raise Damaged(f"its trouble is {shown(body.get('what'))}, which is unknown") from None
    return Trouble(
        text(body, "source"),
        text(body, "datacenter"),
        what,
        text(body, "words"),
        text(body, "first"),
        text(body, "last"),
    )
