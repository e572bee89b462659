"""Changes files that an Envoy watches, so that neither Envoy nor a crash ever sees half a file."""

import contextlib
import os
from pathlib import Path

from pointsman.disk.access import SHARED, Access, about, make_directory, opened, read_file

ON_ITS_WAY = ".new"
"""The ending of a file's name until it is complete."""


class FileOperations:
    """The adapter's file operations, without following links. Paths are absolute. All may raise OSError."""

    def __init__(self, access: Access = SHARED, top: Path | None = None) -> None:
        """`access` is for new files and directories; existing directories from `top` down are given to its group as
        well."""
        self._access, self._top = access, top

    def replace(self, path: Path, data: bytes) -> None:
        """Replace `path` by `data` in one step: readers find the whole old or the whole new content, also after a
        crash.

        Envoy loads a file when it is moved into place
        (https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto, PathConfigSource).
        """
        beside = path.name + ON_ITS_WAY
        with opened(path.parent) as at, about(path.with_name(beside)):
            with contextlib.suppress(FileNotFoundError):  # half a file, or another user's
                os.unlink(beside, dir_fd=at)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(beside, flags, 0o600, dir_fd=at)
            try:
                self._access.give(fd, self._access.mode)
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(beside, path.name, src_dir_fd=at, dst_dir_fd=at)

    def sync(self, directory: Path) -> None:
        """Make the names in `directory` survive a crash, before the next step relies on them."""
        with opened(directory, to_list=True) as fd:
            os.fsync(fd)

    def remove(self, path: Path) -> None:
        """Remove a file, if it exists."""
        with contextlib.suppress(FileNotFoundError), opened(path.parent) as at, about(path):
            os.unlink(path.name, dir_fd=at)

    def remove_directory(self, directory: Path) -> None:
        """Remove a directory, if it exists and is empty."""
        with contextlib.suppress(FileNotFoundError), opened(directory.parent) as at, about(directory):
            os.rmdir(directory.name, dir_fd=at)

    def read(self, path: Path) -> bytes:
        """The content of a file. Raises FileNotFoundError, and NotOurs if another user could have put it there."""
        return read_file(path, self._access)

    def names(self, directory: Path) -> list[str]:
        """The names in `directory`, sorted; none if it does not exist."""
        try:
            with opened(directory, to_list=True) as fd:
                return sorted(os.listdir(fd))
        except FileNotFoundError:
            return []

    def make_directory(self, directory: Path) -> None:
        """Create `directory` and its parents, if missing."""
        make_directory(directory, self._access, self._top)
