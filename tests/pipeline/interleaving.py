"""Several writers at once, one step of one of them at a time, in an order that a seed decides."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.pipeline.memory import Step

_PATIENCE = 60.0
"""Seconds without a next step after which a writer counts as hanging."""


def _held() -> threading.Lock:
    """A lock that the next who comes waits for. It costs a tenth of a semaphore, and steps are many."""
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class Task:
    """One writer: `work` runs in a thread of its own, but only while it has the baton."""

    name: str
    work: Callable[[], Any]
    fault: Callable[[Step], None] | None
    pace: float
    result: Any = None
    error: BaseException | None = None
    turn: threading.Lock = field(default_factory=_held)


class Interleaving:
    """Runs tasks step by step. Same seed, same tasks: same run.

    Each task has a pace of its own, so that some are overtaken again and again while they take one step.
    """

    def __init__(self, seed: int) -> None:
        self.current: Task | None = None
        """Who has the baton."""
        self._random = Random(seed)
        self._tasks: list[Task] = []
        self._done = _held()

    def add(self, name: str, work: Callable[[], Any], fault: Callable[[Step], None] | None = None) -> Task:
        """Have `work` done at the same time as all other tasks; `fault` sees each of its steps and may raise."""
        task = Task(name, work, fault, self._random.choice([0.03, 0.3, 1.0]))
        self._tasks.append(task)
        return task

    def step(self, step: Step) -> None:
        """Called by a task at each of its steps: hand the baton on, and wait until it is back."""
        task = self.current
        if task is None:
            return
        following = self._choice()
        if following is not task:
            self._hand_to(following)
            assert task.turn.acquire(timeout=_PATIENCE), f"{task.name} waits in vain"
        if task.fault is not None:
            task.fault(step)

    def run(self) -> None:
        """Run all tasks to their ends."""
        if not self._tasks:
            return
        threads = [threading.Thread(target=self._live, args=(task,), daemon=True) for task in self._tasks]
        for thread in threads:
            thread.start()
        self._hand_to(self._choice())
        assert self._done.acquire(timeout=_PATIENCE), f"{self.current} hangs"
        for thread in threads:
            thread.join(_PATIENCE)

    def _choice(self) -> Task:
        """Whose turn it is; it may be the same as before."""
        return self._random.choices(self._tasks, [task.pace for task in self._tasks])[0]

    def _hand_to(self, task: Task) -> None:
        self.current = task
        task.turn.release()

    def _live(self, task: Task) -> None:
        task.turn.acquire()
        try:
            task.result = task.work()
        except BaseException as error:
            task.error = error
        self._tasks.remove(task)
        if self._tasks:
            self._hand_to(self._choice())
        else:
            self.current = None
            self._done.release()
