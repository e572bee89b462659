"""The index of an agent's events: it grows through restarts, and when the clock goes back."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import orjson

from pointsman.disk.access import PRIVATE
from pointsman.disk.operations import FileOperations
from pointsman.model.errors import PointsmanError

_AHEAD_MS: Final = 60_000
"""Milliseconds of indexes that one write of the file reserves."""


class Counter:
    """Counts in milliseconds since 1970, and at least by one. Indexes are reserved in a file before they are used."""

    def __init__(self, path: Path | None, now_ms: Callable[[], int]) -> None:
        """Without `path`, an agent that restarts after the clock went back starts below its last index."""
        self._path, self._now_ms = path, now_ms
        self._files = FileOperations(PRIVATE)
        self._last = self._reserved = self._read()

    def next(self) -> int:
        """An index greater than all before. Raises PointsmanError if the file cannot be written."""
        self._last = max(self._last + 1, self._now_ms())
        if self._last > self._reserved:
            self._reserve(self._last + _AHEAD_MS)
        return self._last

    def rise(self, index: int) -> None:
        """Count on from `index`, if it is greater than the last one."""
        self._last = max(self._last, index)

    def _read(self) -> int:
        if self._path is None:
            return 0
        try:
            found = orjson.loads(self._files.read(self._path))["reserved"]
            return found if isinstance(found, int) else 0
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise PointsmanError(f"{self._path} cannot be read: {error}; remove it if it is damaged") from None

    def _reserve(self, index: int) -> None:
        if self._path is not None:
            try:
                self._files.make_directory(self._path.parent)
                self._files.replace(self._path, orjson.dumps({"reserved": index}))
            except OSError as error:
                reason = f"{self._path} cannot be written: {error.strerror}; name another --state"
                raise PointsmanError(reason) from None
        self._reserved = index
