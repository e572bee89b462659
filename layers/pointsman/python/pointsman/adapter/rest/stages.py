"""Moves an Envoy's answers to the wanted ones, in an order in which nothing is missing.

Over REST, Envoys poll clusters and listeners separately, in no fixed order, so each step waits until all have polled
(`delivery/order.py`).
"""

from collections.abc import Callable, Mapping

from pointsman.delivery.order import Given, next_step
from pointsman.discovery.answers import Answers, make_answers

SETTLE_S = 1.5
"""Seconds within which every Envoy has polled and warmed what it got: Envoys wait at most a second between two
polls."""


class Stages:
    """The stages of one proxy's answers. Failovers pass at once: they change no names. If they end connections, the
    listeners follow."""

    def __init__(self, clock: Callable[[], float], settle: float = SETTLE_S, polled: float = 0.0) -> None:
        """Listeners follow new clusters `settle` seconds later, and a failover `polled` seconds more: the longest time
        between two polls of one cluster for its endpoints."""
        self._clock, self._settle, self._polled = clock, settle, polled
        self._shown: Answers | None = None
        self._given = Given()
        self._serving: Mapping[str, str] = {}
        self.settled = True
        """Whether the answers are the wanted ones."""

    def bring(self, wanted: Answers, serving: Mapping[str, str]) -> Answers:
        """The answers to give now on the way to `wanted`; until `settled`, call it again from time to time. `serving`
        are the active targets of the clusters whose switches end connections."""
        shown = self._shown
        if shown is None:
            self._shown, self._serving = wanted, serving
            return wanted
        relisten = shown.listeners.version.digest != wanted.listeners.version.digest
        switched, self._serving = serving != self._serving, serving
        step = next_step(
            self._given,
            self._clock(),
            came=switched or not wanted.parts.keys() <= shown.parts.keys(),
            relisten=relisten,
            leaving=not shown.parts.keys() <= wanted.parts.keys(),
            ready_in=self._settle + self._polled if switched else self._settle,
            taken_in=self._settle,
        )
        self._given, self.settled = step.given, step.due is None
        if self.settled:
            self._shown = wanted
        else:
            listeners = wanted.listeners if step.relistens or not relisten else shown.listeners
            parts = step.clusters(shown.parts, wanted.parts)
            own_of = wanted.clusters.own_of
            self._shown = make_answers(wanted.clusters.version, parts, listeners, shown, own_of=own_of)
        return self._shown
