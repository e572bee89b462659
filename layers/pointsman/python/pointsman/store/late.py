"""A store that may not exist yet, opened as soon as possible."""

import threading
from collections.abc import Iterator, Mapping, Sequence

from pointsman.store.bears import check_adapter
from pointsman.store.keys import CONFIG_HEAD
from pointsman.store.open import open_store
from pointsman.store.protocol import Changes, Listed, Store, Stored, StoreError, StoreUnavailable, Write, Written


class LateStore:
    """The Store that `url` names, for adapters. Every call opens it if it is not open yet.

    A call raises StoreUnavailable if the store cannot be opened, and TooOld if this adapter is too old for it: then
    nothing is read.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: Store | None = None
        self._bears = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Open it now, as `open_store` does. Raises StoreError."""
        with self._lock:
            self._opened = open_store(self._url)

    def get(self, key: str) -> Stored | None:
        """The object under `key`, or None."""
        return self._store().get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The objects that exist under `keys`."""
        return self._store().get_many(keys)

    def put(self, write: Write) -> Written:
        """One conditional write."""
        return self._store().put(write)

    def put_many(self, writes: Sequence[Write]) -> list[Written]:
        """Independent conditional writes."""
        return self._store().put_many(writes)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key starts with `prefix`."""
        return self._store().list(prefix)

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """Of the keys of `known`, the objects whose etag is not the known one."""
        return self._store().changes(known, cursor)

    def wait(self, cursor: str, timeout: float) -> bool:
        """Block until something may have been written since `cursor`."""
        return self._store().wait(cursor, timeout)

    def close(self) -> None:
        """Close it, if it was opened."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    def _store(self) -> Store:
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = open_store(self._url)
                except StoreError as error:
                    raise StoreUnavailable(str(error)) from error
            if not self._bears:
                check_adapter(self._opened.get(CONFIG_HEAD))
                self._bears = True
            return self._opened
