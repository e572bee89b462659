"""Keeps what took time to make, so that it is made once. Bounded by bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Final, Generic, TypeVar

MOST_KEPT_BYTES: Final = 32 * 1024 * 1024
"""Bytes of what one of these keeps: of objects as stored, and what is made of them takes several times that."""

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Kept(Generic[_Key, _Value]):
    """Values by key. Safe for several threads.

    Beyond `most_bytes` the least recently used ones go, except for the last.
    """

    def __init__(self, most_bytes: int = MOST_KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[_Key, tuple[_Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: _Key) -> _Value | None:
        """The value of `key`; None if there is none, or not any more."""
        # Without the lock: each of the two is one step, and a value that goes in between is as good as a kept one.
        found = self._kept.get(key)
        if found is None:
            return None
        try:  # noqa: SIM105  a context manager takes longer than all the rest
            self._kept.move_to_end(key)
        except KeyError:
            pass
        return found[0]

    def keep(self, key: _Key, value: _Value, size: int) -> _Value:
        """Keep `value`, which counts as `size` bytes, in place of the one before. Returns it."""
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = value, size
            self._bytes += size - (before[1] if before else 0)
            while self._bytes > self._most_bytes and len(self._kept) > 1:
                _, (_, gone) = self._kept.popitem(last=False)
                self._bytes -= gone
        return value
