"""Reads the files with a host's definitions, again when they changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pointsman.agent.definition import Definitions, read_definitions
from pointsman.model.errors import InvalidInput
from pointsman.model.loading import MOST_BYTES, load_bytes

MOST_FILES: Final = 1_000
"""Files of one host."""

_ENDINGS: Final = (".hcl", ".json", ".yaml", ".yml")

_Seen = tuple[tuple[str, int, int, int], ...]


class Files:
    """The files and directories in which a host's definitions are."""

    def __init__(self, places: Sequence[Path], address: str) -> None:
        """Of a directory, all files whose names end in .hcl, .json, .yaml or .yml. `address` is the host's."""
        self._places, self._address = places, address
        self._seen: _Seen | None = None

    def read(self) -> Definitions:
        """The definitions. Raises InvalidInput."""
        self._seen = self._look()
        documents = []
        for path in self._paths():
            with _named(path), path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
            documents += [(str(path), document) for document in load_bytes(content, str(path))]
        return read_definitions(documents, self._address)

    def read_if_changed(self) -> Definitions | None:
        """The definitions, None if no file changed since the last call. Raises InvalidInput."""
        return None if self._look() == self._seen else self.read()

    def _paths(self) -> list[Path]:
        found: list[Path] = []
        for place in self._places:
            with _named(place):
                if place.is_dir():
                    found += sorted(each for each in place.iterdir() if each.suffix in _ENDINGS and each.is_file())
                else:
                    found.append(place)
        if len(found) > MOST_FILES:
            raise InvalidInput.single("the definitions", "", f"are {len(found)} files; {MOST_FILES} are the most")
        return found

    def _look(self) -> _Seen:
        seen = []
        for path in self._paths():
            with _named(path):
                stat = path.stat()
                seen.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(seen)


class _named:
    """Raises an error of the file system as InvalidInput with the name of the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            reason = f"cannot be read: {error.strerror}"
            raise InvalidInput.single(str(self._path), "", reason) from None
