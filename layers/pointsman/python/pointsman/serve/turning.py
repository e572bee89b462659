"""Whether a loop goes on, as opposed to a turn of it that does not end."""

import time
from collections.abc import Callable

STANDSTILL_SECONDS = 180.0
"""Seconds without any progress after which a loop counts as standing still: longer than a store that is away can hold
up one step, and than a follower needs to read everything of a large store from a slow bucket."""


class Turning:
    """Notes when a loop last made progress. Any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None

    def goes_on(self) -> None:
        """A turn begins, or made progress."""
        self._since = self._clock()

    def rests(self) -> None:
        """No turn is under way."""
        self._since = None

    @property
    def stands_still(self) -> str:
        """For how long nothing went on in a turn that is under way; "" if that is not too long."""
        since = self._since
        stood = 0.0 if since is None else self._clock() - since
        return f"stands still for {stood:.0f} s" if stood >= STANDSTILL_SECONDS else ""
