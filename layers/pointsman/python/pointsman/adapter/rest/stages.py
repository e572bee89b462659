"""From what an Envoy is answered to what it should be, before it comes what it needs.

Over REST clusters and listeners are polled for apart, and nothing keeps one after the other: a listener must not come
before its cluster, nor a cluster go before the listeners that use it.
"""

from collections.abc import Callable

from pointsman.discovery.answers import Answers, make_answers

SETTLE = 1.5
"""Seconds in which every Envoy has polled, and what came by it has warmed: Envoys wait a second at most between two
polls."""


class Stages:
    """The way of one proxy's answers. Failovers are not on it: they change neither names nor listeners."""

    def __init__(self, clock: Callable[[], float], settle: float = SETTLE) -> None:
        self._clock, self._settle = clock, settle
        self._shown: Answers | None = None
        self._relisten_at = 0.0
        self._leave_at = 0.0
        self.settled = True
        """Whether there is nothing left to do with what was wanted last."""

    def bring(self, wanted: Answers) -> Answers:
        """What to answer now that `wanted` is where to get; until `settled`, ask again from time to time."""
        now, shown = self._clock(), self._shown
        if shown is None:
            self._shown = wanted
            return wanted
        if wanted.parts.keys() - shown.parts.keys():
            self._relisten_at = now + self._settle
        relistened = shown.listeners.version.digest == wanted.listeners.version.digest
        if not relistened and now >= self._relisten_at:
            self._leave_at = now + self._settle
            relistened = True
        leaving = {name: part for name, part in shown.parts.items() if name not in wanted.parts}
        if not leaving or (relistened and now >= self._leave_at):
            leaving = {}
        self.settled = relistened and not leaving
        if self.settled:
            self._shown = wanted
        else:
            listeners = wanted.listeners if relistened else shown.listeners
            self._shown = make_answers(wanted.clusters.version, {**leaving, **wanted.parts}, listeners, shown)
        return self._shown
