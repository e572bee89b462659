"""Changing files under the eyes of an Envoy that watches them, so that neither it nor a crash sees half of one."""

import contextlib
import os
from pathlib import Path

from pointsman.disk.access import SHARED, Access, about, make_directory, opened, read_file

ON_ITS_WAY = ".new"
"""What the name of a file ends in until it is whole."""


class FileOperations:
    """What the adapter does to files, without following links. Paths are absolute. All may raise OSError."""

    def __init__(self, access: Access = SHARED, top: Path | None = None) -> None:
        """`access` is of what is made; directories from `top` on that are there are given to its group as well."""
        self._access, self._top = access, top

    def replace(self, path: Path, data: bytes) -> None:
        """Put `data` under `path` in one step: who opens it finds all of the old or all of the new, after a crash too.

        Envoy takes a file when it is moved into place
        (https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto, PathConfigSource).
        """
        beside = path.name + ON_ITS_WAY
        with opened(path.parent) as at, about(path.with_name(beside)):
            with contextlib.suppress(FileNotFoundError):  # half of one, or what somebody else put there
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
        """Make the names in `directory` survive a crash, for what comes next to rely on."""
        with opened(directory, to_list=True) as fd:
            os.fsync(fd)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError), opened(path.parent) as at, about(path):
            os.unlink(path.name, dir_fd=at)

    def remove_directory(self, directory: Path) -> None:
        """Remove a directory, if it is there and empty."""
        with contextlib.suppress(FileNotFoundError), opened(directory.parent) as at, about(directory):
            os.rmdir(directory.name, dir_fd=at)

    def read(self, path: Path) -> bytes:
        """What stands in a file. Raises FileNotFoundError, and NotOurs for what nobody but another user put there."""
        return read_file(path, self._access)

    def names(self, directory: Path) -> list[str]:
        """What is in `directory`, sorted; nothing where it is not there."""
        try:
            with opened(directory, to_list=True) as fd:
                return sorted(os.listdir(fd))
        except FileNotFoundError:
            return []

    def make_directory(self, directory: Path) -> None:
        """Have `directory`, and what it is in."""
        make_directory(directory, self._access, self._top)
