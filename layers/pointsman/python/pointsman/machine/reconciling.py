"""Reconciling now and then, on a thread of its own that no failure ends."""

import logging
import threading
import time
from collections.abc import Callable

from pointsman.model.errors import PointsmanError

_log = logging.getLogger(__name__)

LATE = 3
"""Periods without a reconcile that came to its end, after which that is shown as a problem."""

SOON_S = 1.0
"""Seconds between two tries of a reconcile that did not come to its end at the start."""


class Reconciling:
    """Calls `reconcile` every `period` seconds, from `start` to `stop`. What it raises is logged, and tried again at
    the next turn."""

    def __init__(
        self, reconcile: Callable[[], None], period: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reconcile, self._period, self._clock = reconcile, period, clock
        self._stop = threading.Event()
        self._done, self._failure, self._soon = clock(), "", False
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)

    def start(self, *, soon: bool = False) -> None:
        """Begin; the first turn is after one period, or `soon`, and until one comes to its end every SOON_S seconds."""
        self._soon = soon
        self._thread.start()

    def stop(self) -> None:
        """No more turns; one that is under way gets five seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def pause(self, seconds: float) -> bool:
        """Wait so long within a turn; whether it is to stop."""
        return self._stop.wait(seconds)

    @property
    def alive(self) -> bool:
        """Whether there are more turns."""
        return self._thread.is_alive()

    @property
    def age(self) -> float:
        """Seconds since a reconcile last came to its end, or since the start."""
        return self._clock() - self._done

    @property
    def problem(self) -> str:
        """Why no reconcile has come to its end for LATE periods; "" if one has."""
        if self.age < (LATE + 1) * self._period:
            return ""
        return f"no reconcile for {self.age:.0f} s: {self._failure or 'one is under way'}"

    def _run(self) -> None:
        while not self._stop.wait(min(SOON_S, self._period) if self._soon else self._period):
            try:
                self._reconcile()
            except PointsmanError as error:
                self._fail(f"reconcile: {error}")
            except Exception as error:
                self._fail(f"reconcile: {type(error).__name__}: {error}", defect=True)
            else:
                self._done, self._failure, self._soon = self._clock(), "", False

    def _fail(self, failure: str, defect: bool = False) -> None:
        # A defect's traceback once; that it goes on every time.
        _log.warning("%s", failure, exc_info=defect and failure != self._failure)
        self._failure = failure
