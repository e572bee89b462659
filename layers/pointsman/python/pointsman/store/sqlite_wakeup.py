"""Wakes those who wait for a write to an SQLite file, by this process or another."""

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager

POLL_PERIOD_S = 0.005
"""Seconds between two polls of the file for writes of other processes."""

LookOut = Callable[[], AbstractContextManager[Callable[[], int]]]

_known: "weakref.WeakValueDictionary[tuple[int, str, str], Wakeup]" = weakref.WeakValueDictionary()
_known_lock = threading.Lock()


class Wakeup:
    """Shared by all stores of one file within a process: the waiters for its writes, and the turns of its writers.

    A writer of this process wakes the waiters itself. One waiter polls for writes of other processes, for all.
    `writing` is held during a write, so that threads take turns at once; SQLite would make them retry after growing
    pauses.
    """

    def __init__(self) -> None:
        self.writing = threading.Lock()
        self._changed = threading.Condition()
        self._latest = 0
        self._looked_after = False

    def written(self, seq: int) -> None:
        """Wake the waiters for a write after one older than `seq`, which was just committed."""
        with self._changed:
            if seq > self._latest:
                self._latest = seq
                self._changed.notify_all()

    def wake(self) -> None:
        """Let every waiter check again whether it should still wait."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, since: int, timeout: float, look_out: LookOut, stopped: Callable[[], bool]) -> bool:
        """Block until a write after `since` was committed (True), or `stopped()` or `timeout` seconds are over (False).

        `look_out` is a context that gives a function which reads the greatest sequence number from the file. Raises
        what either raises.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._looked_after and self._latest <= since and not stopped():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            if self._latest > since or stopped():
                return not stopped()
            self._looked_after = True
        try:
            with look_out() as greatest:
                return self._look(since, deadline, greatest, stopped)
        finally:
            with self._changed:
                self._looked_after = False
                self._changed.notify_all()  # another one takes over

    def _look(self, since: int, deadline: float, greatest: Callable[[], int], stopped: Callable[[], bool]) -> bool:
        while True:
            seq = greatest()
            with self._changed:
                if seq > self._latest:
                    self._latest = seq
                    self._changed.notify_all()
                left = deadline - time.monotonic()
                if self._latest > since or stopped() or left <= 0:
                    return self._latest > since and not stopped()
                self._changed.wait(min(left, POLL_PERIOD_S))


def wakeup_of(path: str, identity: str) -> Wakeup:
    """The Wakeup of the store with this identity in the file `path`, one per process."""
    # The process is part of the name: after a fork, the parent's waiters are not here.
    name = (os.getpid(), os.path.realpath(path), identity)
    with _known_lock:
        wakeup = _known.get(name)
        if wakeup is None:
            wakeup = _known[name] = Wakeup()
        return wakeup
