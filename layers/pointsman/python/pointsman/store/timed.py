"""A store that tells how long it took."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from pointsman.store.protocol import Changes, Forgetful, Listed, Store, Stored, Write, Written

R = TypeVar("R")

Observe = Callable[[str, float], None]
"""Is called with the kind of an operation ("read", "write", "changes") and the seconds that it took, whether it
succeeded or not."""


class TimedStore:
    """`store`, whose reads, writes and questions for changes are told to `observe`."""

    def __init__(self, store: Store, observe: Observe) -> None:
        self._store, self._observe = store, observe

    def get(self, key: str) -> Stored | None:
        """The object under `key`, or None."""
        return self._timed("read", lambda: self._store.get(key))

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The objects that exist under `keys`."""
        return self._timed("read", lambda: self._store.get_many(keys))

    def put(self, write: Write) -> Written:
        """One conditional write."""
        return self._timed("write", lambda: self._store.put(write))

    def put_many(self, writes: Sequence[Write]) -> list[Written]:
        """Independent conditional writes."""
        return self._timed("write", lambda: self._store.put_many(writes))

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key starts with `prefix`; not timed, because who reads on takes most of the time."""
        return self._store.list(prefix)

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """Of the keys of `known`, the objects whose etag is not the known one."""
        return self._timed("changes", lambda: self._store.changes(known, cursor))

    def wait(self, cursor: str, timeout: float) -> bool:
        """Block until something may have been written since `cursor`; not timed."""
        return self._store.wait(cursor, timeout)

    def close(self) -> None:
        """Close it."""
        self._store.close()

    def _timed(self, kind: str, call: Callable[[], R]) -> R:
        began = time.perf_counter()
        try:
            return call()
        finally:
            self._observe(kind, time.perf_counter() - began)


class _TimedForgetful(TimedStore):
    """The same for a store that can remove objects."""

    def __init__(self, store: Store, forgetful: Forgetful, observe: Observe) -> None:
        super().__init__(store, observe)
        self._forgetful = forgetful

    def remove(
        self, keys: Sequence[str], swap: Write | None = None, if_etags: Mapping[str, str] | None = None
    ) -> Written | None:
        """Remove the objects under `keys`."""
        return self._timed("write", lambda: self._forgetful.remove(keys, swap, if_etags))

    def tidy(self) -> bool:
        """Release some of the space of removed objects; not timed."""
        return self._forgetful.tidy()


def timed(store: Store, observe: Observe) -> Store:
    """`store`, timed; it can remove objects if `store` can."""
    return _TimedForgetful(store, store, observe) if isinstance(store, Forgetful) else TimedStore(store, observe)
