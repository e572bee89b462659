"""The parts of a process: each has to go on for as long as the process does, and says what it does not do."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pointsman.model.errors import PointsmanError

_LOOK_S = 1.0
"""Seconds between two looks whether all parts are there."""


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    alive: Callable[[], bool]
    problem: Callable[[], str]


class Parts:
    """The parts that must not end."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def watch(self, name: str, alive: Callable[[], bool], problem: Callable[[], str] = str) -> None:
        """Watch one more; `problem` is why it does not do what it should, "" if it does."""
        self._parts.append(_Part(name, alive, problem))

    @property
    def ended(self) -> str:
        """Which have ended all the same, "" if none has."""
        return ", ".join(part.name for part in self._parts if not part.alive())

    @property
    def failing(self) -> str:
        """Which do not do what they should, and why; "" if all do."""
        return "; ".join(filter(None, (part.problem() for part in self._parts)))

    def wait(self, stop: threading.Event) -> None:
        """Return when `stop` is set. Raises PointsmanError if a part has ended."""
        while not stop.wait(_LOOK_S):
            if ended := self.ended:
                raise PointsmanError(f"a part has ended unexpectedly: {ended} (the log says why); start it again")


def stop_on_signals() -> threading.Event:
    """Set when somebody asks this process to end (SIGTERM, Ctrl-C); who asks a second time ends it at once."""
    stop = threading.Event()

    def told(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    return stop
