"""Tracks which Envoys wait for a read of the store itself, and which keys have to be read for that."""

import logging
import threading
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

from pointsman.discovery.proxy import ProxyId

_log = logging.getLogger(__name__)

GAP_S = 1.0
"""Seconds between two unconditional reads of one key, however many Envoys are ahead of it."""

MOST_KEYS = 1000
"""Keys in one such read; the rest is read right after it."""


@dataclass(eq=False, slots=True)
class Meeting:
    """An Envoy that has something of `proxy` that is newer than the replica, or different with the same number.

    `clusters` are the ids of the clusters concerned, besides the manifests; None for all. `what` describes the meeting
    for people, `node` is the Envoy's node id. `done` is called once, on any thread, when everything concerned was read
    from the store after `at` and the replica holds what the store has.
    """

    proxy: ProxyId
    clusters: frozenset[str] | None
    what: str
    done: Callable[[], None]
    at: float = 0.0
    node: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """The current needs of a meeting: its keys, and whether the view is made of the manifests under these."""

    keys: Set[str]
    is_current: bool


class Confirming:
    """The waiting meetings, the doubtful keys, and the times of the reads.

    Safe for several threads.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns seconds, from any zero."""
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
        """Ask for reads of the store for this meeting, until it is done or `leave` is called."""
        with self._changed:
            meeting.at = self._clock()
            self._meetings[meeting] = None
            self._tell()

    def leave(self, meeting: Meeting) -> None:
        """End a meeting: the Envoy has disconnected, or is no longer ahead."""
        with self._changed:
            self._meetings.pop(meeting, None)

    def doubt(self, wanted: Iterable[str]) -> None:
        """Ask for one read of these keys."""
        with self._changed:
            before = len(self._doubts)
            self._doubts |= {*wanted}
            if len(self._doubts) > before:
                self._tell()

    @property
    def meetings(self) -> list[Meeting]:
        """The waiting meetings."""
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
            # Forget keys that no meeting needs any more, and keys that may be tried again.
            self._read = {key: self._read[key] for keys in needs.values() for key in keys if key in self._read}
            self._tried = {key: when for key, when in self._tried.items() if now - when < GAP_S}
            found = sorted(wanted - self._tried.keys())
            self._news = len(found) > MOST_KEYS
            self._tried |= dict.fromkeys(found[:MOST_KEYS], now)
            return found[:MOST_KEYS]

    def failed(self, problem: str) -> None:
        """Record that the store could not be read; the next attempt follows."""
        if not self._problem:
            _log.warning("the store cannot be read to confirm what it has, everything stays unchanged: %s", problem)
        self._problem = problem

    def confirmed(self, asked: Iterable[str], good: Iterable[str], at: float) -> None:
        """Record a read of the keys `asked` that began at `at`; for the `good` ones the replica holds what the store
        has."""
        with self._changed:
            self._problem = ""
            self._doubts.difference_update(asked)
            self._read |= dict.fromkeys(good, at)

    def ended(self, need: Callable[[Meeting], Need]) -> list[Meeting]:
        """The meetings whose needs are met."""
        with self._changed:
            found = []
            for meeting in self._meetings:
                now = need(meeting)
                unread = {key for key in now.keys if self._read.get(key, _NEVER) < meeting.at}
                if not unread and now.is_current:
                    found.append(meeting)
                self._news |= bool(unread - self._tried.keys())  # keys that became necessary only now
            return found

    def wait(self) -> bool:
        """Block until there is something to read or to try again. False after `close`."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._news or self._closed, GAP_S if self._meetings or self._doubts else None
            )
            return not self._closed

    def open(self) -> None:
        """Let `wait` block, also again after `close`."""
        with self._changed:
            self._closed = False

    def close(self) -> None:
        """Make `wait` return."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _tell(self) -> None:
        self._news = True
        self._changed.notify_all()


_NEVER = float("-inf")
