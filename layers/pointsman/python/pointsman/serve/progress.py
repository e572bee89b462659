"""Progress of slow work, for people who wait."""

import time
from collections.abc import Callable

EVERY_SECONDS = 2.0
"""Seconds between two lines of progress."""


def now_and_then(
    tell: Callable[[str], None], every: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic
) -> Callable[[str], None]:
    """A listener that passes texts on to `tell`: none in the first second, then one every `every` seconds."""
    due = clock() + 1.0

    def listen(text: str) -> None:
        nonlocal due
        if (now := clock()) > due:
            due = now + every
            tell(text)

    return listen
