"""Changing files under the eyes of an Envoy that watches them, so that neither it nor a crash sees half of one."""

import os
from pathlib import Path

ON_ITS_WAY = ".new"
"""What the name of a file ends in until it is whole."""


class FileOperations:
    """The changes that the adapter makes to files. All may raise OSError."""

    def replace(self, path: Path, data: bytes) -> None:
        """Put `data` under `path` in one step: who opens it finds all of the old or all of the new, after a crash too.

        Envoy takes a file when it is moved into place
        (https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto, PathConfigSource).
        """
        beside = path.with_name(path.name + ON_ITS_WAY)
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(beside, path)

    def sync(self, directory: Path) -> None:
        """Make the names in `directory` survive a crash, for what comes next to rely on."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)
