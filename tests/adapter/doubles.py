"""A store that can be taken away, and a clock that stands still."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pointsman.store.protocol import Changes, Listed, StoreUnavailable
from pointsman.store.sqlite import SQLiteStore


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Remote(SQLiteStore):
    """A store that is away at will, and remembers what it was asked about: keys, or a prefix that was listed.

    It answers `answers` more calls for changes, and is away then.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.answers = sys.maxsize
        self.asked: list[frozenset[str]] = []
        self.listed: list[str] = []

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """As the store does, if it is there."""
        self.answers -= 1
        if self.answers < 0:
            raise StoreUnavailable("store: gone for now")
        self.asked.append(frozenset(known))
        return super().changes(known, cursor)

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
