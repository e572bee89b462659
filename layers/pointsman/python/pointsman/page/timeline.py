"""The last 24 hours as a picture: a lane for each kind of happening, and a mark for each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from pointsman.model.cause import CauseKind
from pointsman.overview.history import SWITCH, Happening, History

MOST_MARKS: Final = 300
"""Happenings that are drawn and listed, the newest."""

WIDTH: Final = 960
LEFT: Final = 92
LANE: Final = 30
_TOP: Final = 8
_RIGHT: Final = 12
_NEAR: Final = 14

_LANES: Final = (
    ("switches", (SWITCH,)),
    ("config", (CauseKind.CONFIG.value,)),
    ("orders", (CauseKind.ORDER.value,)),
    ("silence", (CauseKind.LAPSE.value,)),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark in the picture: for the happening with `number` in the list, and with it for those that were so shortly
    before that their marks would lie on it: `count` in all."""

    x: float
    number: int
    first: Happening
    count: int


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane of the picture, with the middle of its height, and its marks, the newest first."""

    name: str
    y: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The picture, and what it shows, the newest first. `ticks` are (x, hour). With `more`, older things are left
    out."""

    height: int
    lanes: tuple[Lane, ...]
    ticks: tuple[tuple[float, str], ...]
    listed: tuple[Happening, ...]
    more: bool


def timeline_of(history: History) -> Timeline:
    """The picture of what happened, on a scale from `since` to `until`."""
    since, until = datetime.fromisoformat(history.since), datetime.fromisoformat(history.until)
    span = max((until - since).total_seconds(), 1.0)

    def x(moment: datetime) -> float:
        share = min(max((moment - since).total_seconds() / span, 0.0), 1.0)
        return round(LEFT + share * (WIDTH - LEFT - _RIGHT), 1)

    listed = tuple(reversed(history.happenings[-MOST_MARKS:]))
    hour = since.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    hours = [hour + timedelta(hours=i) for i in range(int(span // 3600) + 1)]
    # The last hour's label would be cut at the edge.
    ticks = tuple((x(each), f"{each:%H:%M}") for each in hours if each.hour % 3 == 0 and x(each) < WIDTH - 2 * _RIGHT)
    return Timeline(
        _TOP + LANE * len(_LANES) + 24,
        tuple(
            Lane(name, _TOP + LANE * i + LANE / 2, _marks(listed, kinds, x)) for i, (name, kinds) in enumerate(_LANES)
        ),
        ticks,
        listed,
        history.more or len(history.happenings) > len(listed),
    )


def _marks(listed: Sequence[Happening], kinds: Sequence[str], x: Callable[[datetime], float]) -> tuple[Mark, ...]:
    marks: list[Mark] = []
    for number, each in enumerate(listed):
        if each.kind not in kinds:
            continue
        place = x(datetime.fromisoformat(each.at))
        if marks and marks[-1].x - place < _NEAR:
            marks[-1] = replace(marks[-1], count=marks[-1].count + 1)
        else:
            marks.append(Mark(place, number, each, 1))
    return tuple(marks)
