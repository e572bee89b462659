"""Computes clusters again at the moment at which what they wait for is over, in a thread of its own that survives every
failure."""

from collections.abc import Callable

from pointsman.machine.looking import Looking, until
from pointsman.model.words import counted
from pointsman.pipeline.settle import Settled
from pointsman.pipeline.wait_watch import WaitWatch


class Waiting(Looking):
    """Looks at what waits, also when the next wait is over. `report` gets a line where traffic moves."""

    def __init__(self, watch: WaitWatch, report: Callable[[str], None]) -> None:
        super().__init__("waits")
        self._watch, self._report = watch, report

    @property
    def waiting(self) -> int:
        """How many clusters wait."""
        return self._watch.waiting

    @property
    def pause_s(self) -> float:
        """Seconds until the next look."""
        left_ms = self._watch.left_ms
        return until(None if left_ms is None else left_ms / 1000)

    def look(self) -> None:
        """Look at what waits once. Raises StoreError."""
        if (done := self._watch.look()) is not None:
            for line in lines(done):
                self._report(line)


def lines(done: Settled) -> list[str]:
    """A line where traffic moved, and one for each cluster that cannot be computed."""
    moved = [f"{counted(len(done.moved), 'cluster')} moved: a target has been healthy for as long as its policy wants"]
    failed = [f"cannot be computed and stays unchanged: {each}" for each in done.failures()]
    return (moved if done.moved else []) + failed
