"""Creates files: whole or not at all, for their owner alone, and never over another one."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
_BESIDE = ("", "-journal", "-wal", "-shm")


@contextmanager
def new_file(path: str, patience: float) -> Iterator[str]:
    """The name of an empty file to fill. When the block ends without an error, it is synced and renamed to `path`.

    It has the mode 0600 whatever the umask. Until then it is called `.NAME.unfinished`; one that a crash left is
    removed. Processes in one directory take turns and wait `patience` seconds. Raises FileExistsError if `path` exists,
    TimeoutError and other OSErrors; then nothing is left.
    """
    parent, name = os.path.split(path)
    directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    unfinished = os.path.join(parent, f".{name}.unfinished")
    try:
        _lock(directory, patience)
        _refuse_other(path)
        _remove(unfinished)
        try:
            _make(unfinished)
            yield unfinished
            _sync(unfinished)
            _refuse_other(path)
            os.rename(unfinished, path)
        except BaseException:
            _remove(unfinished)
            raise
        os.fsync(directory)
    finally:
        os.close(directory)


def new_directory(path: str) -> None:
    """Make the directory `path` for its owner alone (0700), whatever the umask. An existing one stays as it is."""
    with suppress(FileExistsError):
        os.mkdir(path, PRIVATE_DIRECTORY)
        os.chmod(path, PRIVATE_DIRECTORY)


def others_may_write(directory: str) -> bool:
    """Whether users other than its owner may put files into `directory`."""
    return bool(os.stat(directory).st_mode & 0o022)


def _lock(directory: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError("another process makes a file there") from None
            time.sleep(0.005)


def _refuse_other(path: str) -> None:
    if os.path.lexists(path):
        raise FileExistsError(f"{path} stands already")


def _make(path: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        os.fchmod(fd, PRIVATE_FILE)
    finally:
        os.close(fd)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    for beside in _BESIDE:
        with suppress(FileNotFoundError):
            os.unlink(path + beside)
