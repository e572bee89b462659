"""The log of a process: lines on stderr, with a limit per kind of line."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LINES = 20
"""Lines of one kind printed per minute; more are counted."""

_MINUTE = 60.0
_KINDS = 1000
"""Kinds that are counted separately; a new one replaces the oldest."""

KIND, FEW = "kind", "few"
"""What a record's `extra` may have: its kind (by default its unformatted text), and the lines per minute for it (by
default LINES)."""

ONE = {FEW: 1}
"""For `extra`: one line per minute, for events that clients can cause as often as they like."""


@dataclass(slots=True)
class _Window:
    began: float
    lines: int = 0
    left_out: int = 0


class Few(logging.Filter):
    """Limits the lines of each kind per minute. The last line printed says that more are left out; the first of the
    next minute says how many. Safe for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to print the record."""
        most = getattr(record, FEW, LINES)
        kind = record.name, str(getattr(record, KIND, record.msg))[:200]
        with self._lock:
            now, window = self._clock(), self._windows.get(kind)
            before = 0
            if window is None or now - window.began >= _MINUTE:
                before = window.left_out if window else 0
                if window is None and len(self._windows) >= _KINDS:
                    del self._windows[next(iter(self._windows))]
                window = self._windows[kind] = _Window(now)
            window.lines += 1
            if window.lines > most:
                window.left_out += 1
                return False
            notes = [f"{before} more like this were left out before"] if before else []
            if window.lines == most:
                notes.append("more like this are left out for a minute")
        if notes and most > 0:
            record.msg, record.args = f"{record.getMessage()} ({'; '.join(notes)})", None
        return True


def start_log() -> None:
    """Print this process's warnings and errors on stderr, with the limits of `Few`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Few())
    logging.basicConfig(format="pointsman: %(message)s", level=logging.WARNING, handlers=[handler])
