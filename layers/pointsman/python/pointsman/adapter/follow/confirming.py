"""Who has to know what the store itself says, and which keys are read for that."""

import logging
import threading
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

from pointsman.discovery.proxy import ProxyId

_log = logging.getLogger(__name__)

GAP_S = 1.0
"""Seconds between two unconditional reads of one key, however many Envoys are ahead of it."""

MOST_KEYS = 1000
"""Keys in one such read; the rest follows at once."""


@dataclass(eq=False, slots=True)
class Meeting:
    """An Envoy that has something newer of `proxy` than what is here, or another of the same number.

    `clusters` are the ids of those that this is about, beside the manifests; None for all. `what` says who has what.
    `done` is called once, on any thread: when everything that it is about was read from the store after `at`, and what
    is here is what the store has.
    """

    proxy: ProxyId
    clusters: frozenset[str] | None
    what: str
    done: Callable[[], None]
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Need:
    """What a meeting is about now: its keys, and whether the view is what the manifests under these name."""

    keys: Set[str]
    is_current: bool


class Confirming:
    """The meetings that wait for the store, the keys that are in doubt by themselves, and what was read when.

    Safe for several threads.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` tells seconds, from whenever."""
        self._clock = clock
        self._changed = threading.Condition()
        self._meetings: dict[Meeting, None] = {}
        self._doubts: set[str] = set()
        self._tried: dict[str, float] = {}
        self._read: dict[str, float] = {}
        self._news = False
        self._closed = False
        self._problem = ""

    def meet(self, meeting: Meeting) -> None:
        """Have the store read for this one from now on, until it is done or `leave` is called."""
        with self._changed:
            meeting.at = self._clock()
            self._meetings[meeting] = None
            self._tell()

    def leave(self, meeting: Meeting) -> None:
        """The Envoy is gone, or ahead no more."""
        with self._changed:
            self._meetings.pop(meeting, None)

    def doubt(self, wanted: Iterable[str]) -> None:
        """Have these keys read, once."""
        with self._changed:
            before = len(self._doubts)
            self._doubts |= {*wanted}
            if len(self._doubts) > before:
                self._tell()

    @property
    def meetings(self) -> list[Meeting]:
        """Those that wait."""
        with self._changed:
            return list(self._meetings)

    def due(self, need: Callable[[Meeting], Need]) -> list[str]:
        """The keys to read now, `MOST_KEYS` at most, none of them tried within the `GAP_S`; they count as tried."""
        with self._changed:
            now = self._clock()
            needs = {each: need(each).keys for each in self._meetings}
            wanted = self._doubts.copy()
            for meeting, keys in needs.items():
                wanted |= {key for key in keys if self._read.get(key, _NEVER) < meeting.at}
            # What no meeting is about any more need not be remembered, nor what may be tried again.
            self._read = {key: self._read[key] for keys in needs.values() for key in keys if key in self._read}
            self._tried = {key: when for key, when in self._tried.items() if now - when < GAP_S}
            found = sorted(wanted - self._tried.keys())
            self._news = len(found) > MOST_KEYS
            self._tried |= dict.fromkeys(found[:MOST_KEYS], now)
            return found[:MOST_KEYS]

    def failed(self, problem: str) -> None:
        """The store could not be read; it is tried again."""
        if not self._problem:
            _log.warning("the store cannot be read to confirm what it has, everything stays as it is: %s", problem)
        self._problem = problem

    def confirmed(self, asked: Iterable[str], good: Iterable[str], at: float) -> None:
        """The keys `asked` were read, in a read that began at `at`; under the `good` ones is what is here."""
        with self._changed:
            self._problem = ""
            self._doubts.difference_update(asked)
            self._read |= dict.fromkeys(good, at)

    def ended(self, need: Callable[[Meeting], Need]) -> list[Meeting]:
        """The meetings that have what they wait for."""
        with self._changed:
            found = []
            for meeting in self._meetings:
                now = need(meeting)
                unread = {key for key in now.keys if self._read.get(key, _NEVER) < meeting.at}
                if not unread and now.is_current:
                    found.append(meeting)
                self._news |= bool(unread - self._tried.keys())  # what it turned out to be about only now
            return found

    def wait(self) -> bool:
        """Block until there is something to read, or to try again; False once it is closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._news or self._closed, GAP_S if self._meetings or self._doubts else None
            )
            return not self._closed

    def open(self) -> None:
        """Begin to wait, also once more after it was closed."""
        with self._changed:
            self._closed = False

    def close(self) -> None:
        """Have nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _tell(self) -> None:
        self._news = True
        self._changed.notify_all()


_NEVER = float("-inf")
