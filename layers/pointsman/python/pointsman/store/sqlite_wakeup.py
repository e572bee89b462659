"""How those who wait for a write to an SQLite file learn of it, within one process and from others."""

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager

POLL_PERIOD = 0.005
"""Seconds between two looks at the file for writes of other processes."""

LookOut = Callable[[], AbstractContextManager[Callable[[], int]]]

_known: "weakref.WeakValueDictionary[tuple[int, str, str], Wakeup]" = weakref.WeakValueDictionary()
_known_lock = threading.Lock()


class Wakeup:
    """What all stores of one file share within a process: who waits for its writes, and whose turn it is to write.

    A writer here wakes the waiters itself. Writes of other processes are found by looking, which one of the waiters
    does for all. `writing` is held around a write: threads then take turns at once, where SQLite would have them try
    again after pauses that grow.
    """

    def __init__(self) -> None:
        self.writing = threading.Lock()
        self._changed = threading.Condition()
        self._latest = 0
        self._looked_after = False

    def written(self, seq: int) -> None:
        """Wake whoever waits for a write after one older than `seq`, which was just committed."""
        with self._changed:
            if seq > self._latest:
                self._latest = seq
                self._changed.notify_all()

    def wake(self) -> None:
        """Let every waiter look again whether it should still wait."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, since: int, timeout: float, look_out: LookOut, stopped: Callable[[], bool]) -> bool:
        """Block until a write after `since` was committed (True), or `stopped()` or `timeout` seconds are over (False).

        `look_out` gives, for as long as it is entered, what reads the greatest sequence number from the file. What
        either raises, this raises.
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
                self._changed.wait(min(left, POLL_PERIOD))


def wakeup_of(path: str, identity: str) -> Wakeup:
    """The Wakeup of the store with this identity in the file `path`, the same for all who ask in this process."""
    # The process is part of the name: after a fork, the waiters that the parent's object knows are not here.
    name = (os.getpid(), os.path.realpath(path), identity)
    with _known_lock:
        wakeup = _known.get(name)
        if wakeup is None:
            wakeup = _known[name] = Wakeup()
        return wakeup
