"""What this process wrote to a store that reports no writes: its followers need not look for that."""

import threading
from collections import deque
from collections.abc import Callable, Set

MOST_OWN_WRITES = 4096
"""Keys of the newest writes. A follower that is further behind compares everything that it follows."""


class OwnWrites:
    """The keys that were written through one store, in order. Safe for several threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._keys: deque[str] = deque(maxlen=MOST_OWN_WRITES)
        self._position = 0

    @property
    def position(self) -> int:
        """How many writes there were."""
        with self._changed:
            return self._position

    def note(self, key: str) -> None:
        """Record a write that was made."""
        with self._changed:
            self._keys.append(key)
            self._position += 1
            self._changed.notify_all()

    def since(self, position: int) -> Set[str] | None:
        """The keys written after the first `position` writes; None if not all of them are known any more."""
        with self._changed:
            count = self._position - position
            return {*list(self._keys)[-count:]} if 0 < count <= len(self._keys) else None if count else frozenset()

    def wait(self, position: int, timeout: float, stopped: Callable[[], bool]) -> None:
        """Block until there are more than `position` writes, `stopped()` after a `wake`, or `timeout` seconds are
        over."""
        with self._changed:
            self._changed.wait_for(lambda: self._position > position or stopped(), timeout)

    def wake(self) -> None:
        """Let every waiter check again whether it should still wait."""
        with self._changed:
            self._changed.notify_all()
