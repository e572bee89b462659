"""Objects that went back because the store did: each is logged once, counted, and shown."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

_log = logging.getLogger(__name__)

MOST_SHOWN = 100
"""Resets that are shown: the latest ones."""

MOST_KNOWN = 10_000
"""Resets that are remembered as logged; beyond that the oldest may be logged and counted again."""


class Resets:
    """The resets of a process. Safe for several threads."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """`now` returns Unix time in seconds."""
        self._now = now
        self._found: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._lock = threading.Lock()
        self.total = 0
        """The number of resets so far."""

    def note(self, what: str, went: str) -> None:
        """Record that `what` went back, as the store has it now; `went` is from where to where."""
        with self._lock:
            if (what, went) in self._found:
                return
            at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self._found[what, went] = at
            self.total += 1
            if len(self._found) > MOST_KNOWN:
                self._found.popitem(last=False)
        _log.warning("reset: %s went %s: the store itself was read, and has this now", what, went)

    def all(self) -> list[dict[str, str]]:
        """The latest resets, for pages."""
        with self._lock:
            latest = list(self._found.items())[-MOST_SHOWN:]
        return [{"what": what, "went": went, "at": at} for (what, went), at in latest]
