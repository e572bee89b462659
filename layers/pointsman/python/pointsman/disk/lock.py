"""Lets one process at a time write in a directory; the next one takes over when it ends."""

import fcntl
import os
from pathlib import Path

from pointsman.disk.access import PRIVATE, make_directory, open_file, without_links
from pointsman.model.errors import PointsmanError


class DirectoryLock:
    """A lock on `directory`, held until it is released or this process ends, however it ends.

    It is an advisory lock of the kernel (https://man7.org/linux/man-pages/man2/flock.2.html) on a file that stays, so a
    killed process leaves nothing to clean up.
    """

    def __init__(self, directory: Path) -> None:
        """Create the directory if it is missing, without taking the lock. Raises PointsmanError if that fails."""
        directory = without_links(directory)
        self.path = directory / "lock"
        try:
            make_directory(directory, PRIVATE)
            self._fd = open_file(directory, self.path.name)
        except OSError as error:
            raise PointsmanError(f"{error.filename}: cannot be written to: {error.strerror}") from None
        self.held = False

    def take(self, wait: bool = False) -> bool:
        """Whether this process has the lock now. With `wait`, blocks until it does, without a time limit."""
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
        """A name of the holder for people: the process that last wrote its number into the file."""
        text = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
        return f"process {text}" if text.isdecimal() else "another process"

    def release(self) -> None:
        """Release the lock. It cannot be taken again."""
        self.held = False
        os.close(self._fd)
