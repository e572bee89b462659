"""Who writes in a directory: one process at a time, and the next one as soon as that ends."""

import fcntl
import os
from pathlib import Path

from pointsman.disk.access import PRIVATE, make_directory, open_file, without_links
from pointsman.model.errors import PointsmanError


class DirectoryLock:
    """A lock on `directory`, for as long as this process lives or until it is released, however either ends.

    It is an advisory lock of the kernel (https://man7.org/linux/man-pages/man2/flock.2.html) on a file that stays, so
    one that was killed leaves nothing to clean up.
    """

    def __init__(self, directory: Path) -> None:
        """Makes the directory if it is not there; takes nothing yet. Raises PointsmanError if that is not possible."""
        directory = without_links(directory)
        self.path = directory / "lock"
        try:
            make_directory(directory, PRIVATE)
            self._fd = open_file(directory, self.path.name)
        except OSError as error:
            raise PointsmanError(f"{error.filename}: cannot be written to: {error.strerror}") from None
        self.held = False

    def take(self, wait: bool = False) -> bool:
        """Whether it is ours now. With `wait`, returns when it is, however long another one has it."""
        if not self.held:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            os.truncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
            self.held = True
        return True

    @property
    def holder(self) -> str:
        """Who has it, for a person to read: the process that wrote its number there last."""
        text = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
        return f"process {text}" if text.isdecimal() else "another process"

    def release(self) -> None:
        """Let the next one have it. It cannot be taken again."""
        self.held = False
        os.close(self._fd)
