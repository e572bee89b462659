"""The parts of a process, each of which must keep running and reports its problems."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pointsman.model.errors import PointsmanError

_LOOK_S = 1.0
"""Seconds between two checks of the parts."""


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    alive: Callable[[], bool]
    problem: Callable[[], str]


class Parts:
    """The parts that must keep running."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def watch(self, name: str, alive: Callable[[], bool], problem: Callable[[], str] = str) -> None:
        """Watch a part; `problem` returns why it does not work, "" if it does."""
        self._parts.append(_Part(name, alive, problem))

    @property
    def ended(self) -> str:
        """The parts that have ended; "" if none has."""
        return ", ".join(part.name for part in self._parts if not part.alive())

    @property
    def failing(self) -> str:
        """The parts that do not work, and why; "" if all do."""
        return "; ".join(filter(None, (part.problem() for part in self._parts)))

    def wait(self, stop: threading.Event) -> None:
        """Return when `stop` is set. Raises PointsmanError if a part ends."""
        while not stop.wait(_LOOK_S):
            if ended := self.ended:
                raise PointsmanError(f"a part has ended unexpectedly: {ended} (the log says why); start it again")


def stop_on_signals() -> threading.Event:
    """An event that is set at SIGTERM or Ctrl-C; a second signal ends the process at once."""
    stop = threading.Event()

    def told(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    return stop
