"""Checks that the files of an open store are still those that it opened, changed only by processes that have it open.

SQLite looks up the names of its files when it opens them and never again. It does not notice a deleted log, or a copy
written over the file: it would acknowledge writes that the next process does not find. So each write is checked before
it is acknowledged: three calls of stat and one of pread.
"""

import os
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pointsman.store.protocol import StoreError, StoreUnavailable

LOG = "-wal"
INDEX = "-shm"

_SETTLING_S = 1.0
"""Seconds for which a wrong file may be a running checkpoint."""
_PAUSE_S = 0.005
_HEADER = 32
_MAGIC = (0x377F0682, 0x377F0683)
"""The first bytes of a log: https://www.sqlite.org/fileformat2.html#the_write_ahead_log."""

_open_here: Counter[tuple[int, int]] = Counter()
_open_here_lock = threading.Lock()


class FileMoved(StoreError):
    """Something else changed the files of an open store. The process has to be restarted.

    `whole` is whether the open main file and log still belong together. If they do, closing the connections, which
    writes the log into the main file, keeps what was acknowledged; if not, it would do harm.
    """

    def __init__(self, text: str, *, whole: bool) -> None:
        super().__init__(text)
        self.whole = whole


class _Log(NamedTuple):
    """The log as last seen: its header, which is new whenever SQLite reuses the log, and its length in bytes."""

    header: bytes
    size: int

    @property
    def valid(self) -> bool:
        """Whether it begins as a log, so that its writes will be found."""
        return int.from_bytes(self.header[:4]) in _MAGIC


class Watch:
    """Watches the three files of one open store. Safe for several threads."""

    def __init__(self, path: str, identity: str, greatest: int) -> None:
        """Note the files as they are now, while a connection has them open.

        `path` has no symlinks; `greatest` is the number of the last write. Raises StoreUnavailable if a file is
        missing.
        """
        self._path, self._paths = path, tuple(path + suffix for suffix in ("", LOG, INDEX))
        self._identity = identity
        self._greatest = greatest
        self._main_greatest = 0
        self._schema: int | None = None
        self._lock = threading.Lock()
        try:
            found = [os.stat(each) for each in self._paths]
            # SQLite holds no locks on the log, so closing this descriptor drops none, as it would on the others.
            self._log_fd = os.open(path + LOG, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise StoreUnavailable(f"store {path}: {error.strerror} ({error.filename}): try again") from error
        self._ids = [_id(each) for each in found]
        self._main = found[0]
        self._log = self._read_log(found[1].st_size)
        with _open_here_lock:
            _open_here[self._ids[0]] += 1

    def look(self, written: int = 0) -> None:
        """Raise FileMoved if the files are not what they were; `written` is the number of a write that was just made.

        Raises StoreUnavailable if the main file has no name any more: it works again when the file is put back.
        """
        with self._lock:
            if self._log_fd < 0:
                return
            deadline = 0.0
            while (wrong := self._wrong(written)) is not None:
                # A checkpoint of another process writes page by page: check again until it must be over.
                deadline = deadline or time.monotonic() + _SETTLING_S
                if time.monotonic() > deadline:
                    raise wrong
                time.sleep(_PAUSE_S)
            self._greatest = max(self._greatest, written)

    def close(self) -> None:
        """Stop watching."""
        with self._lock:
            if self._log_fd < 0:
                return
            os.close(self._log_fd)
            self._log_fd = -1
        with _open_here_lock:
            _open_here[self._ids[0]] -= 1
            if not _open_here[self._ids[0]]:
                del _open_here[self._ids[0]]

    def _wrong(self, written: int) -> FileMoved | None:
        main, size = self._look_at_names()
        log = self._read_log(size)
        least = 0
        if log.header != self._log.header:
            # Either SQLite reused the log, after all of it was written into the main file; or it was cut or
            # overwritten.
            least = self._greatest
        elif log.size < self._log.size:
            raise self._overwritten(f"its log {self._path}{LOG}")
        if written and log.size and not log.valid:
            return self._overwritten(f"its log {self._path}{LOG}")
        if written and not log.size:
            least = written
        if least or _written(main) != _written(self._main):
            # It gets shorter only by a complete checkpoint.
            found = _in_main_file(self._path, whole=main.st_size < self._main.st_size)
            if (
                found is None
                or found.identity != self._identity
                or found.schema != (self._schema or found.schema)
                or found.greatest < max(least, self._main_greatest)
            ):
                return self._overwritten(f"its log {self._path}{LOG}" if least else "it")
            self._main_greatest, self._schema = found.greatest, found.schema
        self._main, self._log = main, log
        return None

    def _look_at_names(self) -> tuple[os.stat_result, int]:
        """The main file as it is, and the length of the log."""
        try:
            found = [os.stat(each) for each in self._paths]
        except OSError:
            return self._look_closely()
        if [(each.st_dev, each.st_ino) for each in found] == self._ids:  # as nearly always
            return found[0], found[1].st_size
        return self._look_closely()

    def _look_closely(self) -> tuple[os.stat_result, int]:
        """The same. Raises what is wrong."""
        main = self._stat(self._path)
        if main is None:
            raise StoreUnavailable(
                f"store {self._path}: No such file or directory, though it is open here: put the file back, or restart"
            )
        if _id(main) != self._ids[0]:
            # The open file is another one: its log goes with it when this process closes it.
            raise FileMoved(
                f"store {self._path}: another file stands there than was opened: restart, which opens that one",
                whole=True,
            )
        size = 0
        for suffix, known in ((INDEX, self._ids[2]), (LOG, self._ids[1])):
            there = self._stat(self._path + suffix)
            if there is None:
                # No process has opened the store since, which would have made the file again.
                raise FileMoved(
                    f"store {self._path}: {self._path}{suffix} was deleted while it was open: nothing more is written;"
                    " what was acknowledged goes to the main file as this process closes it: restart",
                    whole=True,
                )
            if _id(there) != known:
                raise self._overwritten(f"{self._path}{suffix}")
            size = there.st_size
        return main, size

    def _stat(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"store {self._path}: {error.strerror}: make it accessible again") from error

    def _read_log(self, size: int) -> _Log:
        return _Log(os.pread(self._log_fd, _HEADER, 0) if size else b"", size)

    def _overwritten(self, what: str) -> FileMoved:
        return overwritten(self._path, what)


def overwritten(path: str, what: str) -> FileMoved:
    """The error for a store whose file `what` was changed by something other than the processes that use it."""
    return FileMoved(
        f"store {path}: {what} was cut, overwritten or replaced while it was open: nothing more is written. To go on"
        f" from a copy, stop all that use it, remove {path}{LOG} and {path}{INDEX}, put the copy there and start again",
        whole=False,
    )


def is_open_here(path: str) -> bool:
    """Whether this process has a store open in the file `path`."""
    with _open_here_lock:
        return _open_here[_id(os.stat(path))] > 0


def _id(found: os.stat_result) -> tuple[int, int]:
    """The identity of a file. While it is open, no other file gets its number."""
    return found.st_dev, found.st_ino


def _written(found: os.stat_result) -> tuple[int, int]:
    """Differs after the file was written; nobody can set that time back."""
    return found.st_ctime_ns, found.st_size


@dataclass(frozen=True, slots=True)
class _Main:
    """The content of the main file alone: the store's identity, its schema's change counter, and its last write."""

    identity: str
    schema: int
    greatest: int


def _in_main_file(path: str, *, whole: bool) -> _Main | None:
    """The content of the main file without its log; None if it cannot be read or, with `whole`, ends too soon.

    Reads only the first page and that of the table `store`: an interrupted checkpoint leaves each page old or new, and
    some missing at the end. `immutable` has SQLite read past log and locks (https://www.sqlite.org/c3ref/open.html),
    `writable_schema` past missing pages.
    """
    try:
        with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            if not whole:
                connection.execute("PRAGMA writable_schema=ON")
            identity, greatest = connection.execute("SELECT identity, seq FROM store").fetchone()
            (schema,) = connection.execute("PRAGMA schema_version").fetchone()
            return _Main(str(identity), int(schema), int(greatest))
    except (sqlite3.Error, TypeError, ValueError):
        return None
