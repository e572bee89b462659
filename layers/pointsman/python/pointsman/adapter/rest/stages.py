"""From what an Envoy is answered to what it should be, before it comes what it needs.

Over REST clusters and listeners are polled for apart, and nothing keeps one after the other: Envoys are given the time
to poll (`delivery/order.py`).
"""

from collections.abc import Callable

from pointsman.delivery.order import Given, next_step
from pointsman.discovery.answers import Answers, make_answers

SETTLE_S = 1.5
"""Seconds in which every Envoy has polled, and what came by it has warmed: Envoys wait a second at most between two
polls."""


class Stages:
    """The way of one proxy's answers. Failovers are not on it: they change neither names nor listeners."""

    def __init__(self, clock: Callable[[], float], settle: float = SETTLE_S) -> None:
        self._clock, self._settle = clock, settle
        self._shown: Answers | None = None
        self._given = Given()
        self.settled = True
        """Whether there is nothing left to do with what was wanted last."""

    def bring(self, wanted: Answers) -> Answers:
        """What to answer now that `wanted` is where to get; until `settled`, ask again from time to time."""
        shown = self._shown
        if shown is None:
            self._shown = wanted
            return wanted
        relisten = shown.listeners.version.digest != wanted.listeners.version.digest
        step = next_step(
            self._given,
            self._clock(),
            came=not wanted.parts.keys() <= shown.parts.keys(),
            relisten=relisten,
            leaving=not shown.parts.keys() <= wanted.parts.keys(),
            ready_in=self._settle,
            taken_in=self._settle,
        )
        self._given, self.settled = step.given, step.due is None
        if self.settled:
            self._shown = wanted
        else:
            listeners = wanted.listeners if step.relistens or not relisten else shown.listeners
            parts = step.clusters(shown.parts, wanted.parts)
            self._shown = make_answers(wanted.clusters.version, parts, listeners, shown)
        return self._shown
