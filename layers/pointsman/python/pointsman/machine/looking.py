"""Something that `pointsman up` looks at again and again, in a thread of its own that survives every failure."""

import threading
from abc import ABC, abstractmethod

from pointsman.machine.turns import Turns
from pointsman.serve.turning import Turning

LOOK_SECONDS = 5.0
"""The most seconds between two looks: what other processes wrote is noticed then."""

_SHORTEST_S = 0.05


class Looking(ABC):
    """Looks from `start` to `stop`: at once, then each time after `pause_s` seconds, and at once after `nudge`."""

    def __init__(self, name: str) -> None:
        """`name` is what is looked at, for the log."""
        self._stop, self._again = threading.Event(), threading.Event()
        self._turns, self._turning = Turns(name, self._stop, self._run), Turning()

    def start(self) -> None:
        """Start the thread."""
        self._turns.start()

    def stop(self) -> None:
        """Stop after the current look, which gets five seconds."""
        self._stop.set()
        self._again.set()
        self._turns.join(5.0)

    def nudge(self) -> None:
        """Look at once. Any thread may call it."""
        self._again.set()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._turns.alive

    @property
    def problem(self) -> str:
        """Why the last look failed; "" if it did not."""
        return self._turns.problem

    @property
    def stands_still(self) -> str:
        """For how long the current look has not ended; "" if that is not too long."""
        return self._turning.stands_still

    @property
    @abstractmethod
    def pause_s(self) -> float:
        """Seconds until the next look."""

    @abstractmethod
    def look(self) -> None:
        """Look once. Raises StoreError."""

    def _run(self) -> None:
        while not self._stop.is_set():
            self._again.clear()
            self._turning.goes_on()
            try:
                self.look()
            finally:
                self._turning.rests()
            self._again.wait(self.pause_s)


def until(left_s: float | None) -> float:
    """The pause before a look that is due in `left_s` seconds, None if none is."""
    return LOOK_SECONDS if left_s is None else min(max(left_s, _SHORTEST_S), LOOK_SECONDS)
