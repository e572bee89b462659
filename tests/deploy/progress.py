"""What a person reads while the check runs, and what is wrong when something is."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.fleet.process import Child, FleetError, wait_until

T = TypeVar("T")

SOON_SECONDS = 600.0
"""How long anything may take on a busy machine. What was not done in time is delivered again after 120 s."""
_PAUSE_SECONDS = 0.05


class Progress:
    """Prints lines, each with the seconds since the first."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def step(self, text: str) -> None:
        """What begins now."""
        print(f"{time.monotonic() - self._begin:6.1f} s  {text}", flush=True)

    def note(self, text: str) -> None:
        """Something about the step."""
        print(f"          {text}", flush=True)


def expect(what: str, expected: T, seen: T) -> None:
    """Raise FleetError unless the two are the same."""
    if seen != expected:
        raise FleetError(f"{what}: expected {expected!r}, saw {seen!r}")


def expect_soon(what: str, expected: T, look: Callable[[], T], *children: Child) -> float:
    """Wait until `look` sees what is expected; how many seconds it took.

    Raises FleetError with what it saw last, when SOON_SECONDS are over or one of the `children` has ended.
    """
    begin = time.monotonic()
    seen: list[T] = []

    def same() -> bool:
        seen[:] = [look()]
        if seen != [expected]:
            time.sleep(_PAUSE_SECONDS)
        return seen == [expected]

    try:
        wait_until(same, what, children=children, timeout=SOON_SECONDS)
    except FleetError as error:
        raise FleetError(f"{what}: expected {expected!r}, saw {seen[0]!r} last\n{error}") from error
    return time.monotonic() - begin
