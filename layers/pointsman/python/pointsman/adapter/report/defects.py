"""Failures for single proxies: each is logged once, shown while it lasts, and tried again."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass

from pointsman.discovery.proxy import ProxyId

_log = logging.getLogger(__name__)

MOST_DEFECTS = 10_000
"""Failures that are kept; beyond that the oldest is forgotten until it happens again."""

AGAIN_S = 5.0
"""Seconds until a failure for a proxy is tried again."""


@dataclass(slots=True)
class Attempt:
    """`problem` is why it failed; "" if it did not."""

    problem: str = ""


class Defects:
    """Records failures by proxy. Safe for several threads.

    One entry for each proxy and failing task, at most `MOST_DEFECTS` in total; a success or `forget` removes it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds, from any zero."""
        self._clock = clock
        self._found: dict[tuple[ProxyId, str], tuple[str, float]] = {}

    @contextlib.contextmanager
    def of(self, proxy: ProxyId, doing: str) -> Iterator[Attempt]:
        """A block that tries something for `proxy`: no exception leaves it, and the next success ends the problem."""
        attempt, key = Attempt(), (proxy, doing)
        try:
            yield attempt
        except Exception as error:
            attempt.problem = f"{doing} failed, the old state stays: {type(error).__name__}: {error}"
            before, _ = self._found.get(key, ("", 0.0))
            self._found[key] = attempt.problem, self._clock()
            if len(self._found) > MOST_DEFECTS:
                self._found.pop(next(iter(self._found.copy())), None)
            if attempt.problem != before:
                # A failing disk or network explains itself; anything else is our defect, and needs a traceback.
                trace = None if isinstance(error, OSError) else error
                text = "%s: %s; it is tried again every %.0f s"
                _log.error(text, proxy, attempt.problem, AGAIN_S, exc_info=trace)
        else:
            if self._found:
                self._found.pop(key, None)

    @property
    def due(self) -> Set[ProxyId]:
        """The proxies for which something should be tried again now."""
        if not self._found:
            return frozenset()
        now = self._clock()
        return {proxy for (proxy, _), (_, when) in self._found.copy().items() if now - when >= AGAIN_S}

    def problems(self) -> dict[ProxyId, tuple[str, ...]]:
        """For each proxy, what fails and why."""
        found: dict[ProxyId, tuple[str, ...]] = {}
        for (proxy, _), (problem, _) in sorted(self._found.copy().items(), key=lambda each: each[0][1]):
            found[proxy] = (*found.get(proxy, ()), problem)
        return found

    def forget(self, proxy: ProxyId) -> None:
        """Remove the entries of `proxy`, for which nothing needs to be made any more."""
        for key in [each for each in self._found.copy() if each[0] == proxy]:
            self._found.pop(key, None)
