"""A few of each kind per minute, and how many were left out: for lines of a log."""

from collections.abc import Callable
from dataclasses import dataclass

MOST_SWITCH_LINES = 100
"""Lines printed per minute about switches of active targets; more are counted."""

_MINUTE = 60.0
_KINDS = 1000
"""Kinds that are counted separately; a new one replaces the oldest."""


@dataclass(slots=True)
class _Window:
    began: float
    lines: int = 0
    left_out: int = 0


class Few:
    """Counts the lines of each kind per minute. The last line printed says that more are left out; the first of the
    next minute says how many. Several threads have to take turns."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds, and never goes back."""
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}

    def admit(self, name: str, kind: str, most: int) -> str | None:
        """Count a line of a `kind` of the logger `name`. Returns None if it is not to be printed, else what is to be
        said behind it, "" for nothing."""
        key = name, kind[:200]
        now, window = self._clock(), self._windows.get(key)
        before = 0
        if window is None or now - window.began >= _MINUTE:
            before = window.left_out if window else 0
            if window is None and len(self._windows) >= _KINDS:
                del self._windows[next(iter(self._windows))]
            window = self._windows[key] = _Window(now)
        window.lines += 1
        if window.lines > most:
            window.left_out += 1
            return None
        notes = [f"{before} more like this were left out before"] if before else []
        if window.lines == most:
            notes.append("more like this are left out for a minute")
        return "; ".join(notes) if most > 0 else ""
