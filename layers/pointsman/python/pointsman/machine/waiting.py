"""Computes clusters again at the moment at which what they wait for is over, in a thread of its own that survives every
failure."""

import threading
from collections.abc import Callable

from pointsman.machine.turns import Turns
from pointsman.model.words import counted
from pointsman.pipeline.settle import Settled
from pointsman.pipeline.wait_watch import WaitWatch

LOOK_SECONDS = 5.0
"""The most seconds between two looks at what waits: what other processes noted is noticed then."""

_SHORTEST_S = 0.05


class Waiting:
    """Looks at what waits again and again, from `start` to `stop`: when the next wait is over, and at once after
    `nudge`. `report` gets a line where traffic moves."""

    def __init__(self, watch: WaitWatch, report: Callable[[str], None]) -> None:
        self._watch, self._report = watch, report
        self._stop, self._again = threading.Event(), threading.Event()
        self._turns = Turns("waits", self._stop, self._run)

    def start(self) -> None:
        """Start the thread, with a look at once."""
        self._turns.start()

    def stop(self) -> None:
        """Stop after the current look, which gets five seconds."""
        self._stop.set()
        self._again.set()
        self._turns.join(5.0)

    def nudge(self) -> None:
        """Look at once, on any thread: this process noted something that waits."""
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
    def waiting(self) -> int:
        """How many clusters wait."""
        return self._watch.waiting

    @property
    def pause_s(self) -> float:
        """Seconds until the next look."""
        left_ms = self._watch.left_ms
        return LOOK_SECONDS if left_ms is None else min(max(left_ms / 1000, _SHORTEST_S), LOOK_SECONDS)

    def look(self) -> None:
        """Look at what waits once. Raises StoreError."""
        self._again.clear()
        if (done := self._watch.look()) is not None:
            for line in lines(done):
                self._report(line)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._again.wait(self.pause_s)


def lines(done: Settled) -> list[str]:
    """A line where traffic moved, and one for each cluster that cannot be computed."""
    moved = [f"{counted(len(done.moved), 'cluster')} moved: a target has been healthy for as long as its policy wants"]
    failed = [f"cannot be computed and stays unchanged: {each}" for each in done.failures()]
    return (moved if done.moved else []) + failed
