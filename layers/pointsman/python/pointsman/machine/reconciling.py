"""Reconciles periodically, in a thread of its own that survives every failure."""

import logging
import threading
import time
from collections.abc import Callable

from pointsman.model.errors import PointsmanError
from pointsman.serve.turning import Turning

_log = logging.getLogger(__name__)

LATE = 3
"""Periods without a completed reconcile after which that is reported as a problem."""

SOON_S = 1.0
"""Seconds between two attempts until the first reconcile completes."""


class Reconciling:
    """Calls `reconcile` every `period` seconds, from `start` to `stop`. Errors are logged, and the next turn tries
    again."""

    def __init__(
        self, reconcile: Callable[[], None], period: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reconcile, self._period, self._clock = reconcile, period, clock
        self._stop = threading.Event()
        self._done, self._failure, self._soon = clock(), "", False
        self._turning = Turning(clock)
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)

    def start(self, *, soon: bool = False) -> None:
        """Start the thread. The first turn is after one period; with `soon` after SOON_S seconds, repeated until one
        completes."""
        self._soon = soon
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current turn, which gets five seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def pause(self, seconds: float) -> bool:
        """Wait within a turn. Returns whether to stop."""
        self.goes_on()
        return self._stop.wait(seconds)

    def goes_on(self, text: str = "") -> None:
        """Note that the turn made progress."""
        self._turning.goes_on()

    @property
    def stands_still(self) -> str:
        """For how long the current turn has made no progress; "" if that is not too long."""
        return self._turning.stands_still

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def age(self) -> float:
        """Seconds since a reconcile last completed, or since the start."""
        return self._clock() - self._done

    @property
    def problem(self) -> str:
        """Why no reconcile completed for LATE periods; "" if one did."""
        if self.age < (LATE + 1) * self._period:
            return ""
        return f"no reconcile for {self.age:.0f} s: {self._failure or 'one is under way'}"

    def _run(self) -> None:
        while not self._stop.wait(min(SOON_S, self._period) if self._soon else self._period):
            self.goes_on()
            try:
                self._reconcile()
            except PointsmanError as error:
                self._fail(f"reconcile: {error}")
            except Exception as error:
                self._fail(f"reconcile: {type(error).__name__}: {error}", defect=True)
            else:
                self._done, self._failure, self._soon = self._clock(), "", False
            finally:
                self._turning.rests()

    def _fail(self, failure: str, defect: bool = False) -> None:
        # The traceback of a defect once, the failure itself every time.
        _log.warning("%s", failure, exc_info=defect and failure != self._failure)
        self._failure = failure
