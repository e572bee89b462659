"""Observes the leases of the sources, in a thread of its own that survives every failure."""

import time
from collections.abc import Callable

from pointsman.machine.looking import Looking
from pointsman.model.duration import duration_text
from pointsman.model.words import counted
from pointsman.pipeline.lapses import Lapsed
from pointsman.pipeline.observer import Observer, SourceSeen

LOOKS = 32
"""Looks in the time of the shortest lease, if that is not more often than SHORTEST_S."""

SHORTEST_S = 0.1
LONGEST_S = 5.0
"""The least and the most seconds between two looks; the most where no source has a lease."""


class Observing(Looking):
    """Looks at all leases. `report` gets a line for each source that fell silent."""

    def __init__(
        self, observer: Observer, report: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__("leases")
        self._observer, self._report, self._clock = observer, report, clock
        self._sources: list[SourceSeen] = []
        self._last = clock()

    def unheard_s(self) -> dict[tuple[str, str], float]:
        """For how many seconds each source with a lease has not been heard, by its datacenter and name."""
        return {(each.datacenter, each.source): each.unheard_ms / 1000 for each in self._sources}

    def silent(self) -> dict[tuple[str, str], float]:
        """1 for each source with a lease that is silent and 0 for the others, by its datacenter and name."""
        return {(each.datacenter, each.source): float(each.silent) for each in self._sources}

    @property
    def pause_s(self) -> float:
        """Seconds until the next look."""
        shortest = self._observer.shortest_ms / 1000
        return min(max(shortest / LOOKS, SHORTEST_S), LONGEST_S) if shortest else LONGEST_S

    def look(self) -> None:
        """Look at the leases once. Raises StoreError."""
        now = self._clock()
        # A process that stood still heard nobody meanwhile, so that time does not count.
        elapsed, self._last = min(now - self._last, 2 * self.pause_s), now
        done = self._observer.look(round(elapsed * 1000))
        self._sources = self._observer.sources
        if done is not None:
            for line in lines(done):
                self._report(line)


def lines(done: Lapsed) -> list[str]:
    """A line for each source that fell silent or was heard again, and for each cluster that cannot be computed."""
    moved = counted(len(done.settled.moved), "cluster")
    silent = [
        f"silent: {each.source} in {each.datacenter} was not heard for its lease of "
        f"{duration_text(each.lease_ms * 1_000_000)}; last heard at {each.at}"
        for each in done.silent
    ]
    if silent:
        silent[-1] += f"; {moved} moved"
    silent += [f"heard again: {each.source} in {each.datacenter}" for each in done.heard]
    return silent + [f"cannot be computed and stays unchanged: {each}" for each in done.settled.failures()]
