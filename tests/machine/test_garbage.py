"""Garbage of a process that serves is kept within a bound."""

import gc
from collections.abc import Iterator

import pytest
from pointsman.machine.garbage import GARBAGE_OBJECTS, collect_rarely


class Cycle:
    """Garbage that only Python's collector frees."""

    __slots__ = ("itself",)
    alive = 0

    def __init__(self) -> None:
        self.itself = self
        Cycle.alive += 1

    def __del__(self) -> None:
        Cycle.alive -= 1


@pytest.fixture
def restored() -> Iterator[None]:
    """The collector is as it was at the end."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("restored")
def test_so_many_objects_are_made_until_garbage_is_looked_for() -> None:
    collect_rarely()
    gc.collect()
    most = 0
    for _ in range(3 * GARBAGE_OBJECTS):
        Cycle()
        most = max(most, Cycle.alive)
    gc.collect()
    assert GARBAGE_OBJECTS / 2 < most < GARBAGE_OBJECTS * 1.5
    assert Cycle.alive == 0
