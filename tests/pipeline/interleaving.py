"""Several writers at once, one step of one of them at a time, in an order that a seed decides."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.pipeline.memory import Step

_PATIENCE = 30.0


@dataclass(slots=True)
class Task:
    """One writer: `work` runs in a thread of its own, but only while it has the baton."""

    name: str
    work: Callable[[], Any]
    fault: Callable[[Step], None] | None
    pace: float
    result: Any = None
    error: BaseException | None = None
    ended: bool = False
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


class Interleaving:
    """Runs tasks step by step. Same seed, same tasks: same run.

    Each task has a pace of its own, so that some are overtaken again and again while they take one step.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._tasks: list[Task] = []
        self._current: Task | None = None
        self._back = threading.Semaphore(0)

    def add(self, name: str, work: Callable[[], Any], fault: Callable[[Step], None] | None = None) -> Task:
        """Have `work` done at the same time as all other tasks; `fault` sees each of its steps and may raise."""
        task = Task(name, work, fault, self._random.choice([0.03, 0.3, 1.0]))
        self._tasks.append(task)
        return task

    def step(self, step: Step) -> None:
        """Called by a task at each of its steps: give the baton back and wait for the next turn."""
        task = self._current
        if task is None:
            return
        self._back.release()
        assert task.turn.acquire(timeout=_PATIENCE)
        if task.fault is not None:
            task.fault(step)

    def run(self) -> None:
        """Run all tasks to their ends."""
        threads = [threading.Thread(target=self._live, args=(task,), daemon=True) for task in self._tasks]
        for thread in threads:
            thread.start()
        left = list(self._tasks)
        while left:
            (self._current,) = self._random.choices(left, [task.pace for task in left])
            self._current.turn.release()
            assert self._back.acquire(timeout=_PATIENCE), f"{self._current.name} hangs"
            left = [task for task in left if not task.ended]
        self._current = None
        self._tasks = []
        for thread in threads:
            thread.join(_PATIENCE)

    def _live(self, task: Task) -> None:
        task.turn.acquire()
        try:
            task.result = task.work()
        except BaseException as error:
            task.error = error
        task.ended = True
        self._back.release()
