"""The file of an SQLiteStore: recognizes, makes and opens it, and explains failures."""

import ctypes
import os
import secrets
import sqlite3
import stat
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pointsman.store.place import new_directory, new_file, others_may_write
from pointsman.store.protocol import StoreError, StoreMissing, StoreUnavailable
from pointsman.store.sqlite_watch import INDEX, LOG, is_open_here, overwritten

APPLICATION_ID = 0x506F696E
"""SQLite's `application_id` in a store ("Poin"): https://www.sqlite.org/fileformat.html 1.3.17."""

SCHEMA = 2
"""SQLite's `user_version`: the layout of the tables below. It grows when they change."""

_TABLES = (
    # `data` stands last: all else of a row is then read without the pages its data overflows to.
    """CREATE TABLE objects (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL UNIQUE, tag TEXT NOT NULL,
        written INTEGER NOT NULL, data BLOB NOT NULL
    )""",
    # One row. `seq` is the number of the last write, in a page of its own that never moves, so that it can be read
    # from the main file whatever a checkpoint has left there of the others.
    "CREATE TABLE store (identity TEXT NOT NULL, seq INTEGER NOT NULL)",
)

_PAUSE_S = 0.002
"""Seconds between two attempts at what SQLite itself does not wait for."""

_PRIMARY_CODE = 0xFF  # the low byte of an extended result code: https://www.sqlite.org/rescode.html


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection to a store, the store's identity, and its path without symlinks."""

    connection: sqlite3.Connection
    identity: str
    path: str


def open_file(path: str, patience: float, *, create: bool) -> Opened:
    """Open the store in `path`; with `create`, make it if it is missing.

    `path` is absolute; `patience` is how many seconds to wait for a lock. The identity is drawn once, when the file is
    made. Raises StoreMissing if there is none, StoreError if the path cannot hold a store or holds something else,
    which stays as it is, and StoreUnavailable if another process keeps it locked.
    """
    path = _resolved(path)
    if not _is_there(path, create=create):
        _make(path, patience)
    connection: sqlite3.Connection | None = None
    try:
        connection = _connect(path, patience)
        _check_ours(connection, path)
        # A copy is not in WAL mode, without which readers and writers block each other.
        _use_wal(connection, path, patience)
        _check_writable(connection, patience)
        return Opened(connection, _identity(connection), path)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise_explained(path, patience, error)
        raise


def reopen_file(path: str, patience: float, identity: str) -> sqlite3.Connection:
    """One more connection to a store that `open_file` opened. Raises the same errors, or that the file was replaced."""
    connection: sqlite3.Connection | None = None
    try:
        connection = _connect(path, patience)
        if _identity(connection) != identity:
            raise overwritten(path, "it")
        return connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise_explained(path, patience, error)
        raise


def write_back(connection: sqlite3.Connection, path: str, patience: float) -> None:
    """Write all of the log into the main file. For a log that was deleted, while `connection` still has it open.

    The last connection to close does the same. But where several processes close at once, each can see the others
    still there, and none does it. Raises StoreError if it was not possible within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    try:
        while True:
            # It does not wait for a checkpoint of another process: https://www.sqlite.org/c3ref/wal_checkpoint_v2.html.
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            if not busy:
                return
            if time.monotonic() > deadline:
                raise locked(path, patience)
            time.sleep(_PAUSE_S)
    except sqlite3.Error as error:
        raise_explained(path, patience, error)


def leave_open(connection: sqlite3.Connection) -> None:
    """Keep `connection` open until this process ends, so that no other connection is the last to close.

    The last one to close writes the log into the main file, which does harm if the two do not belong together any more.
    (SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE would prevent it, but Python can set it only from 3.12 on.)
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def raise_explained(path: str, patience: float, error: sqlite3.Error) -> NoReturn:
    """Raise the StoreError with what `error` means for the store in `path` and what to do about it."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            raise locked(path, patience) from error
        case sqlite3.SQLITE_NOTADB:
            reason = "not an SQLite database: name another path, or move that file away"
        case sqlite3.SQLITE_CORRUPT:
            reason = f"damaged ({error}): restore it from a copy, or move it away and apply the config again"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM if not os.path.exists(path):
            raise StoreError(_unmakable(path)) from error
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            reason = f"it cannot be written ({error}): make it and its directory writable, or name another path"
        case sqlite3.SQLITE_FULL:
            raise StoreUnavailable(f"store {path}: the disk is full: make room, then try again") from error
        case sqlite3.SQLITE_IOERR:
            raise StoreUnavailable(f"store {path}: the disk failed ({name}): look at the system's log") from error
        case _:
            reason = f"SQLite refused ({name}: {error})"
    raise StoreError(f"store {path}: {reason}") from error


def locked(path: str, patience: float) -> StoreUnavailable:
    """The error for a write lock that another process held for more than `patience` seconds."""
    return StoreUnavailable(
        f"store {path}: locked by another writer for more than {patience:g} s: "
        f"see who holds it (fuser {path}), end it or try again"
    )


def _resolved(path: str) -> str:
    """`path` without symlinks, as SQLite resolves it too: two names of one file have to share one log.

    Raises StoreError for a symlink that another user may have made.
    """
    parent = os.path.dirname(path)
    try:
        if os.path.islink(path) and others_may_write(parent):
            raise StoreError(f"store {path}: a symlink in {parent}, where others may write: name the file itself")
        return os.path.realpath(path)
    except OSError as error:
        raise StoreError(f"store {path}: {error.strerror}: make it accessible, or name another path") from error


def _is_there(path: str, *, create: bool) -> bool:
    """Whether `path` is a file that may be opened; False if it is missing and may be made. Raises StoreError."""
    parent = os.path.dirname(path)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if not create:
            raise StoreMissing(f"there is no store at {path}: `pointsman up` or `pointsman apply` makes one") from None
        if not os.path.exists(os.path.dirname(parent)):
            raise StoreError(
                f"store {path}: there is no directory {parent}: make it (mkdir -p {parent}), or name another path"
            ) from None
        if os.path.lexists(path + LOG):
            raise StoreError(
                f"store {path}: the file is gone, and its log {path}{LOG} is there: put the file back beside it, or"
                " move the log away to begin anew"
            ) from None
        return False
    except NotADirectoryError:
        raise StoreError(f"store {path}: {parent} is not a directory: name another path") from None
    except OSError as error:
        raise StoreError(f"store {path}: {error.strerror}: make it accessible, or name another path") from error
    if stat.S_ISDIR(found.st_mode):
        raise StoreError(f"store {path}: a directory: name a file in it, {os.path.join(path, 'pointsman.db')} perhaps")
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"store {path}: not a regular file: name another path")
    if found.st_size == 0:
        raise StoreError(f"store {path}: the file is empty, which no store is: put a copy there, or remove it")
    if found.st_nlink > 1:
        raise StoreError(
            f"store {path}: the file has {found.st_nlink} names (hard links), which would not share one log: remove the"
            f" others (find -samefile {path}), or name a copy"
        )
    if found.st_uid not in (os.geteuid(), 0) and others_may_write(parent):
        raise StoreError(f"store {path}: somebody else's file, in {parent}, where others may write: name another path")
    if not is_open_here(path) and _is_copy_beside_a_log(path):
        raise StoreError(
            f"store {path}: a copy was put there, and the log of the file before it is there still: remove"
            f" {path}{LOG} and {path}{INDEX}, then start again"
        )
    return True


def _is_copy_beside_a_log(path: str) -> bool:
    """Whether the file is a copy by `pointsman backup` beside a log, which SQLite would mix into it.

    Such a copy is not in WAL mode; a store always is: https://www.sqlite.org/fileformat.html 1.3.3.
    """
    try:
        if not os.stat(path + LOG).st_size:
            return False
        # Only if this process does not have it open: closing a descriptor drops the locks of the process on the file.
        with open(path, "rb") as file:
            return file.read(20)[18:] == b"\x01\x01"
    except OSError:
        return False  # what is wrong shows when it is opened


def _make(path: str, patience: float) -> None:
    """Make an empty store in `path`, complete or not at all, unless another process makes one meanwhile."""
    parent = os.path.dirname(path)
    try:
        new_directory(parent)
        with new_file(path, patience) as unfinished, closing(_connect(unfinished, patience)) as connection:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # before the first table
            connection.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                connection.execute(table)
            connection.execute("INSERT INTO store (identity, seq) VALUES (?, 0)", (secrets.token_hex(8),))
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA}")
            connection.execute("COMMIT")
            _use_wal(connection, path, patience)
    except FileExistsError:
        return
    except TimeoutError as error:
        raise StoreUnavailable(f"store {path}: {error} for more than {patience:g} s: try again") from error
    except PermissionError as error:
        raise StoreError(_unmakable(path)) from error
    except OSError as error:
        raise StoreError(f"store {path}: {error.strerror}: name another path") from error
    except sqlite3.Error as error:
        raise_explained(path, patience, error)


def _unmakable(path: str) -> str:
    parent = os.path.dirname(path)
    return f"store {path}: it cannot be made in {parent}: make that directory writable, or name another path"


def _connect(path: str, patience: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{Path(path).as_uri()}?mode=rw",
        uri=True,
        timeout=patience,
        isolation_level=None,  # transactions begin where the code says so
        check_same_thread=False,  # lent to one thread at a time by the store
    )
    try:
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_ours(connection: sqlite3.Connection, path: str) -> None:
    """Raise if the file is no store of this schema. Writes nothing."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise StoreError(f"store {path}: an SQLite database of something else, left as it is: name another path")
    if version > SCHEMA:
        raise StoreError(
            f"store {path}: written by a newer Pointsman (schema {version}, known here: {SCHEMA}): "
            "upgrade Pointsman, or name another path"
        )
    if version < SCHEMA:
        raise StoreError(
            f"store {path}: written by an older Pointsman (schema {version}, known here: {SCHEMA}), left as it is: "
            "name another path and apply the config there"
        )


def _use_wal(connection: sqlite3.Connection, path: str, patience: float) -> None:
    """Switch the file to write-ahead logging (https://www.sqlite.org/wal.html); nothing happens if it is on."""
    deadline = time.monotonic() + patience
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # SQLite does not always wait here: of many processes that open a new file at once, one would fail.
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
    if mode != "wal":
        raise StoreError(f"store {path}: no write-ahead log is possible there (a network mount?): use a local disk")


def _check_writable(connection: sqlite3.Connection, patience: float) -> None:
    """Raise now what the first write would raise: SQLite silently opens a file read-only if it may not write."""
    connection.execute("PRAGMA busy_timeout=0")
    try:
        # BEGIN IMMEDIATE proves nothing: it succeeds on a read-only file.
        connection.execute("UPDATE store SET identity = identity WHERE false")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:  # busy: somebody writes, so one can
            raise
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(patience * 1000)}")


def _identity(connection: sqlite3.Connection) -> str:
    (identity,) = connection.execute("SELECT identity FROM store").fetchone()
    return str(identity)
