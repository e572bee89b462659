"""The parts of a process, each of which must keep running and reports its problems."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pointsman.model.errors import PointsmanError
from pointsman.serve.supervisor import Supervisor

_LOOK_S = 1.0
"""Seconds between two checks of the parts."""


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    alive: Callable[[], bool]
    problem: Callable[[], str]
    stands_still: Callable[[], str]


class Parts:
    """The parts that must keep running."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def watch(
        self,
        name: str,
        alive: Callable[[], bool],
        problem: Callable[[], str] = str,
        stands_still: Callable[[], str] = str,
    ) -> None:
        """Watch a part; `problem` returns why it does not work, "" if it does; `stands_still` for how long it has done
        nothing, "" if it goes on."""
        self._parts.append(_Part(name, alive, problem, stands_still))

    @property
    def ended(self) -> str:
        """The parts that have ended; "" if none has."""
        return ", ".join(part.name for part in self._parts if not part.alive())

    @property
    def failing(self) -> str:
        """The parts that do not work, and why; "" if all do."""
        return "; ".join(filter(None, (part.problem() for part in self._parts)))

    @property
    def standing(self) -> str:
        """The parts that stand still, and for how long; "" if all go on. Only a restart helps."""
        still = ((part.name, part.stands_still()) for part in self._parts)
        return "; ".join(f"{name} {said}" for name, said in still if said)

    def wait(self, stop: threading.Event, supervisor: Supervisor, waiting_for: Callable[[], str]) -> None:
        """Return when `stop` is set, and tell the `supervisor` meanwhile how it goes, and what the process is
        `waiting_for`. Raises PointsmanError if a part ends."""
        while True:
            if ended := self.ended:
                raise PointsmanError(f"a part has ended unexpectedly: {ended} (the log says why); start it again")
            supervisor.look(waiting_for=waiting_for(), failing=self.failing, standing=self.standing)
            if stop.wait(_LOOK_S):
                supervisor.stopping()
                return


def stop_on_signals() -> threading.Event:
    """An event that is set at SIGTERM or Ctrl-C; a second signal ends the process at once."""
    stop = threading.Event()

    def told(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    return stop
