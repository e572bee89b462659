"""The file of an SQLiteStore: how it is recognised, made and opened, and what is said when that fails."""

import os
import secrets
import sqlite3
import stat
import time
from pathlib import Path
from typing import NoReturn

from pointsman.store.protocol import StoreError, StoreUnavailable

APPLICATION_ID = 0x506F696E
"""What SQLite's `application_id` says in a file of ours ("Poin"): https://www.sqlite.org/fileformat.html 1.3.17."""

SCHEMA = 1
"""What SQLite's `user_version` says: the layout of the tables below. It grows when they change."""

_TABLES = (
    # `data` stands last: a row's key and seq are then read without the pages its data overflows to.
    """CREATE TABLE objects (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL UNIQUE, data BLOB NOT NULL
    )""",
    "CREATE TABLE store (identity TEXT NOT NULL)",
)

_PRIMARY_CODE = 0xFF  # the low byte of an extended result code: https://www.sqlite.org/rescode.html


def open_file(path: str, patience: float) -> tuple[sqlite3.Connection, str]:
    """A connection to the store in `path`, which is made if it is not there, and the store's identity.

    `path` is absolute; `patience` is how long, in seconds, to wait for a lock. The identity is drawn once, when the
    file is made. Raises StoreError where the path cannot hold a store or holds something else, which is then left as
    it was, and StoreUnavailable where another process keeps it locked.
    """
    _inspect(path)
    connection: sqlite3.Connection | None = None
    try:
        connection = _connect(path, "rwc", patience)
        if not _is_ours(connection, path):
            _use_wal(connection, path, patience)
            _create(connection, path)
        # Somebody may have switched it off to copy the file; without it readers and writers lock each other out.
        _use_wal(connection, path, patience)
        _check_writable(connection, patience)
        return connection, _identity(connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise_explained(path, patience, error)
        raise


def reopen_file(path: str, patience: float, identity: str) -> sqlite3.Connection:
    """One more connection to a store that `open_file` opened. Errors are as there, or that the file was replaced."""
    connection: sqlite3.Connection | None = None
    try:
        connection = _connect(path, "rw", patience)
        if _identity(connection) != identity:
            raise replaced(path)
        return connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise_explained(path, patience, error)
        raise


def replaced(path: str) -> StoreError:
    """The error for a store whose file is no longer the one that was opened: what is written there now is lost."""
    return StoreError(f"store {path}: another file stands there than was opened: restart, which opens that one")


def raise_explained(path: str, patience: float, error: sqlite3.Error) -> NoReturn:
    """Raise the StoreError that says what `error` means for the store in `path` and what to do about it."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            raise locked(path, patience) from error
        case sqlite3.SQLITE_NOTADB:
            reason = "not an SQLite database: name another path, or move that file away"
        case sqlite3.SQLITE_CORRUPT:
            reason = f"damaged ({error}): restore it from a copy, or move it away and apply the config again"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM if not os.path.exists(path):
            reason = f"it cannot be made in {os.path.dirname(path)}: make that directory writable, or name another path"
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
    """The error for a write lock that was not to be had within `patience` seconds."""
    return StoreUnavailable(
        f"store {path}: locked by another writer for more than {patience:g} s: "
        f"see who holds it (fuser {path}), end it or try again"
    )


def _inspect(path: str) -> None:
    # Only by name. Opening and closing the file here would drop the locks this process holds on it through SQLite.
    parent = os.path.dirname(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if not os.path.exists(parent):
            raise StoreError(
                f"store {path}: there is no directory {parent}: make it (mkdir -p {parent}), or name another path"
            ) from None
        return
    except NotADirectoryError:
        raise StoreError(f"store {path}: {parent} is not a directory: name another path") from None
    except OSError as error:
        raise StoreError(f"store {path}: {error.strerror}: make it accessible, or name another path") from error
    if stat.S_ISDIR(mode):
        raise StoreError(f"store {path}: a directory: name a file in it, {os.path.join(path, 'pointsman.db')} perhaps")
    if not stat.S_ISREG(mode):
        raise StoreError(f"store {path}: not a regular file: name another path")


def _connect(path: str, mode: str, patience: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{Path(path).as_uri()}?mode={mode}",
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


def _is_ours(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the file is a store that this schema can use; False if it is empty still. Writes nothing."""
    connection.execute("BEGIN")  # one snapshot: another process may be making the store right now
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.execute("COMMIT")
    if application == APPLICATION_ID:
        if version > SCHEMA:
            raise StoreError(
                f"store {path}: written by a newer Pointsman (schema {version}, known here: {SCHEMA}): "
                "upgrade Pointsman, or name another path"
            )
        return True
    if application or version or tables:
        raise StoreError(f"store {path}: an SQLite database of something else, left as it is: name another path")
    return False


def _use_wal(connection: sqlite3.Connection, path: str, patience: float) -> None:
    """Switch the file to write-ahead logging (https://www.sqlite.org/wal.html); nothing happens where it is on."""
    deadline = time.monotonic() + patience
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # SQLite does not always wait by itself here: of many that open a new file at once, one would fail.
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.002)
    if mode != "wal":
        raise StoreError(f"store {path}: no write-ahead log is possible there (a network mount?): use a local disk")


def _create(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if not application:  # else another process was faster
        for table in _TABLES:
            connection.execute(table)
        connection.execute("INSERT INTO store (identity) VALUES (?)", (secrets.token_hex(8),))
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA}")
    connection.execute("COMMIT")
    _is_ours(connection, path)  # refuses what another process may have made of it just now


def _check_writable(connection: sqlite3.Connection, patience: float) -> None:
    """Raise now what the first write would: SQLite silently opens for reading what it may not write."""
    connection.execute("PRAGMA busy_timeout=0")
    try:
        # BEGIN IMMEDIATE is no proof: it is content with reading where only that is possible.
        connection.execute("UPDATE store SET identity = identity WHERE false")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:  # busy: somebody writes, so one can
            raise
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(patience * 1000)}")


def _identity(connection: sqlite3.Connection) -> str:
    (identity,) = connection.execute("SELECT identity FROM store").fetchone()
    return str(identity)
