"""The log of a process: lines on stderr, as text or JSON, with a limit per kind of line."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import orjson

LINES = 20
"""Lines of one kind printed per minute; more are counted."""

MOST_SWITCH_LINES = 100
"""Lines printed per minute about switches of active targets; more are counted."""

_MINUTE = 60.0
_KINDS = 1000
"""Kinds that are counted separately; a new one replaces the oldest."""

KIND, FEW, FIELDS = "kind", "few", "fields"
"""What a record's `extra` may have: its kind (by default its unformatted text), the lines per minute for it (by default
LINES), and what it says for programs, by name (JSON values)."""

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
        note = self.admit(record.name, str(getattr(record, KIND, record.msg)), most)
        if note:
            record.msg, record.args = f"{record.getMessage()} ({note})", None
        return note is not None

    def admit(self, name: str, kind: str, most: int) -> str | None:
        """Count a line of a `kind` of the logger `name`. Returns None if it is not to be printed, else what is to be
        said behind it, "" for nothing."""
        key = name, kind[:200]
        with self._lock:
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


class LogFormat(StrEnum):
    """How lines are written."""

    TEXT = "text"
    """For people: a sentence each."""

    JSON = "json"
    """For programs: an object each, with the names that the functions on AWS use."""


class JsonLines(logging.Formatter):
    """Writes each record as a line of JSON: `level`, `message`, `timestamp` (RFC 3339, UTC), `service`, the record's
    FIELDS, and `exception` if there is one."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {
            "level": record.levelname,
            "message": record.getMessage(),
            "timestamp": moment,
            "service": self._service,
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def start_log(format_: LogFormat = LogFormat.TEXT, service: str = "pointsman") -> None:
    """Print this process's warnings and errors on stderr, with the limits of `Few`. In JSON, `service` is the part of
    Pointsman that this process is."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Few())
    handler.setFormatter(
        JsonLines(service) if format_ is LogFormat.JSON else logging.Formatter("pointsman: %(message)s")
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
