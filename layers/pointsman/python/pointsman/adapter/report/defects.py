"""Failures for single proxies: each is logged once, shown while it lasts, and tried again."""

import logging
import time
from collections.abc import Callable, Set
from typing import Self

from pointsman.discovery.proxy import ProxyId

_log = logging.getLogger(__name__)

MOST_DEFECTS = 10_000
"""Failures that are kept; beyond that the oldest is forgotten until it happens again."""

AGAIN_S = 5.0
"""Seconds until a failure for a proxy is tried again."""


class Defects:
    """Records failures by proxy. Safe for several threads.

    One entry for each proxy and failing task, at most `MOST_DEFECTS` in total; a success or `forget` removes it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds, from any zero."""
        self._clock = clock
        self._found: dict[tuple[ProxyId, str], tuple[str, float]] = {}

    def of(self, proxy: ProxyId, doing: str) -> "Attempt":
        """A block that tries something for `proxy`: no exception leaves it, and the next success ends the problem."""
        return Attempt(self, proxy, doing)

    def failed(self, proxy: ProxyId, doing: str, error: Exception) -> str:
        """Record that `doing` something for `proxy` failed with `error`. Returns that in words."""
        problem = f"{doing} failed, the old state stays: {type(error).__name__}: {error}"
        before, _ = self._found.get((proxy, doing), ("", 0.0))
        self._found[proxy, doing] = problem, self._clock()
        if len(self._found) > MOST_DEFECTS:
            self._found.pop(next(iter(self._found.copy())), None)
        if problem != before:
            # A failing disk or network explains itself; anything else is our defect, and needs a traceback.
            trace = None if isinstance(error, OSError) else error
            _log.error("%s: %s; it is tried again every %.0f s", proxy, problem, AGAIN_S, exc_info=trace)
        return problem

    def succeeded(self, proxy: ProxyId, doing: str) -> None:
        """Record that `doing` something for `proxy` worked."""
        if self._found:
            self._found.pop((proxy, doing), None)

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


class Attempt:
    """A block of `Defects.of`. `problem` is why it failed; "" if it did not.

    A class, not a generator: every request of every stream is an attempt.
    """

    __slots__ = ("_defects", "_doing", "_proxy", "problem")

    def __init__(self, defects: Defects, proxy: ProxyId, doing: str) -> None:
        self._defects, self._proxy, self._doing = defects, proxy, doing
        self.problem = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, raised: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is None:
            self._defects.succeeded(self._proxy, self._doing)
            return False
        if not isinstance(error, Exception):
            return False
        self.problem = self._defects.failed(self._proxy, self._doing, error)
        return True
