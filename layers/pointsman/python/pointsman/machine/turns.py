"""A thread that survives every failure of its work."""

import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

AGAIN_S = 1.0
"""Seconds before failed work starts again."""

_FAILING_S = 10.0
"""Seconds for which a failure is shown: longer than AGAIN_S, so that a repeated failure is always shown."""


class Turns:
    """Runs `run`, which works until `ended` is set. If it raises, the error is logged, with a traceback if it is new,
    and it starts again."""

    def __init__(self, name: str, ended: threading.Event, run: Callable[[], None]) -> None:
        self._name, self._ended, self._run = name, ended, run
        self._failure, self._failed = "", 0.0
        self._thread = threading.Thread(target=self._go_on, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait at most `seconds` for the thread to end."""
        self._thread.join(seconds)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def problem(self) -> str:
        """Why it failed just now; "" if it did not."""
        return self._failure if self._failure and time.monotonic() - self._failed < _FAILING_S else ""

    def _go_on(self) -> None:
        while not self._ended.is_set():
            try:
                self._run()
            except Exception as error:
                failure = f"{self._name}: {type(error).__name__}: {error}"
                _log.warning("%s; it is tried again", failure, exc_info=failure != self._failure)
                self._failure, self._failed = failure, time.monotonic()
                self._ended.wait(AGAIN_S)
