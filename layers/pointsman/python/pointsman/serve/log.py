"""The log of a process: lines on stderr, as text or JSON, with a limit per kind of line."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

import orjson

from pointsman.model.few import Few

LINES = 20
"""Lines of one kind printed per minute; more are counted."""

KIND, FEW, FIELDS = "kind", "few", "fields"
"""What a record's `extra` may have: its kind (by default its unformatted text), the lines per minute for it (by default
LINES; None if who logs it keeps to a limit already), and what it says for programs, by name (JSON values)."""

ONE = {FEW: 1}
"""For `extra`: one line per minute, for events that clients can cause as often as they like."""


class FewLines(logging.Filter):
    """Limits the lines of each kind per minute, as `Few` says."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._few = Few(clock)
        self._turn = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to print the record."""
        most = getattr(record, FEW, LINES)
        if most is None:
            return True
        with self._turn:
            note = self._few.admit(record.name, str(getattr(record, KIND, record.msg)), most)
        if note:
            record.msg, record.args = f"{record.getMessage()} ({note})", None
        return note is not None


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
    """Print this process's warnings and errors on stderr, with the limits of `FewLines`. In JSON, `service` is the part
    of Pointsman that this process is."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(FewLines())
    handler.setFormatter(
        JsonLines(service) if format_ is LogFormat.JSON else logging.Formatter("pointsman: %(message)s")
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
