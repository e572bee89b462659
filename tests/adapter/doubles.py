"""A store that can be taken away, and a clock that stands still."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pointsman.store.protocol import Changes, Listed, Stored, StoreUnavailable, Write
from pointsman.store.sqlite import SQLiteStore


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Remote(SQLiteStore):
    """A store that is away at will, and remembers what it was asked about: keys, or a prefix that was listed.

    It answers `answers` more calls for changes, and is away then. What is among the `lost` is not there. `confirmed`
    are the keys that were read past every cache, one set for each such read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.answers = sys.maxsize
        self.asked: list[frozenset[str]] = []
        self.listed: list[str] = []
        self.confirmed: list[frozenset[str]] = []
        self.lost: set[str] = set()

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """As the store does, if it is there."""
        self.answers -= 1
        if self.answers < 0:
            raise StoreUnavailable("store: gone for now")
        self.asked.append(frozenset(known))
        found = super().changes({key: etag for key, etag in known.items() if key not in self.lost}, cursor)
        return replace(found, gone=found.gone | {key for key in self.lost if known.get(key)})

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """As the store does, if it is there."""
        if self.answers <= 0:
            raise StoreUnavailable("store: gone for now")
        self.confirmed.append(frozenset(keys))
        return super().get_many([key for key in keys if key not in self.lost])

    def backup(self) -> dict[str, bytes]:
        """All that is there."""
        return {each.key: each.data for each in super().get_many([each.key for each in super().list("")]).values()}

    def restore(self, saved: Mapping[str, bytes]) -> None:
        """Restore the saved objects in place of the current ones."""
        writes = [Write(each.key, saved[each.key], each.etag) for each in super().list("") if each.key in saved]
        assert all(written.etag for written in self.put_many(writes))
        self.lost = {each.key for each in super().list("")} - saved.keys()

    def leave(self) -> None:
        """Be away from now on."""
        self.answers = 0

    def come_back(self) -> None:
        """Be there again."""
        self.answers = sys.maxsize

    def list(self, prefix: str) -> Iterator[Listed]:
        """As the store does."""
        self.listed.append(prefix)
        return super().list(prefix)


class Stale(SQLiteStore):
    """The store at `path`, of whose changes one hears as of the store at `earlier`: old notices, a copy that lags."""

    def __init__(self, path: Path, earlier: Path) -> None:
        super().__init__(path)
        self._earlier = SQLiteStore(earlier)
        self.read: list[Sequence[str]] = []

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """As of now; what was asked for is remembered."""
        self.read.append(keys)
        return super().get_many(keys)

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """As of earlier."""
        return self._earlier.changes(known, cursor)

    def wait(self, cursor: str, timeout: float) -> bool:
        """As of earlier."""
        return self._earlier.wait(cursor, timeout)

    def close(self) -> None:
        """Close both."""
        super().close()
        self._earlier.close()
