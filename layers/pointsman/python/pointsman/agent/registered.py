"""What a host has registered, kept through restarts: so that a restart writes nothing again."""

from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from pointsman.disk.access import PRIVATE
from pointsman.disk.operations import FileOperations

MOST_KEPT_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the file: a digest for each registration of a host and each control plane."""


class Registered:
    """By control plane and registration, the digest of what was written last. A file that cannot be read counts as
    empty: then all is written again, which changes nothing where nothing else was registered since."""

    def __init__(self, path: Path | None, report: Callable[[str], None]) -> None:
        """Without `path` it is not kept. `report` gets a line for what goes wrong with the file."""
        self._path, self._report = path, report
        self._files = FileOperations(PRIVATE)
        self._known: dict[str, dict[str, str]] = self._read()

    def has(self, place: str, key: str, digest: str) -> bool:
        """Whether that was written there last."""
        return self._known.get(place, {}).get(key) == digest

    def note(self, place: str, digests: Mapping[str, str]) -> None:
        """These were written there."""
        self._known.setdefault(place, {}).update(digests)
        self._write()

    def keep(self, place: str, keys: Container[str]) -> None:
        """Forget all others of that place."""
        known = self._known.get(place, {})
        left = {key: each for key, each in known.items() if key in keys}
        if left != known:
            self._known[place] = left
            self._write()

    def _read(self) -> dict[str, dict[str, str]]:
        if self._path is None:
            return {}
        try:
            data = self._files.read(self._path)
            found: Any = orjson.loads(data) if len(data) <= MOST_KEPT_BYTES else None
            if isinstance(found, dict) and all(isinstance(each, dict) for each in found.values()):
                return found
            self._report(f"{self._path} is not what an agent writes; everything is registered again")
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self._report(f"{self._path} cannot be read: {error}; everything is registered again")
        return {}

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            self._files.make_directory(self._path.parent)
            self._files.replace(self._path, orjson.dumps(self._known, option=orjson.OPT_SORT_KEYS))
        except OSError as error:
            self._report(f"{self._path} cannot be written: {error.strerror}; after a restart all is registered again")
