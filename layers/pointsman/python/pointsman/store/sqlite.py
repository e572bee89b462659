"""Objects in one SQLite file: the store of one machine."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import orjson

from pointsman.store.protocol import Changes, Listed, Stored, StoreError, StoreUnavailable, Write, Written
from pointsman.store.sqlite_file import locked, open_file, raise_explained, reopen_file, replaced
from pointsman.store.sqlite_wakeup import wakeup_of

_INSERT = """
    INSERT INTO objects (key, seq, data) VALUES (?, (SELECT coalesce(max(seq), 0) + 1 FROM objects), ?)
    ON CONFLICT (key) DO NOTHING RETURNING seq"""
_UPDATE = """
    UPDATE objects SET seq = (SELECT max(seq) + 1 FROM objects), data = ?
    WHERE key = ? AND seq = ? RETURNING seq"""
_GREATEST = "SELECT coalesce(max(seq), 0) FROM objects"
_GET = "SELECT key, seq, data FROM objects WHERE key = ?"
# One parameter holds any number of keys, so that the statement is prepared once whatever their number.
_GET_MANY = "SELECT objects.key, seq, data FROM json_each(?) AS wanted CROSS JOIN objects ON objects.key = wanted.value"
_SEQS_OF_KEYS = "SELECT objects.key, seq FROM json_each(?) AS wanted CROSS JOIN objects ON objects.key = wanted.value"
_SEQS_SINCE = "SELECT key, seq FROM objects WHERE seq > ?"
_GET_SEQS = "SELECT objects.key, seq, data FROM json_each(?) AS wanted CROSS JOIN objects ON seq = wanted.value"
# No UTF-8 text has a byte 0xff: the upper bound is above every key that starts with the prefix, and below all others.
_LIST = """
    SELECT key, seq FROM objects WHERE key >= ? AND key < CAST(CAST(? AS BLOB) || x'ff' AS TEXT)
    ORDER BY key LIMIT ?"""

_LIST_PAGE = 1000


class SQLiteStore:
    """A Store in one file, for any number of threads and processes of one machine.

    A write that was acknowledged survives SIGKILL and the loss of power (write-ahead log, synced at each commit). Each
    write gets the next number of one sequence for the whole file. Etags and cursors are made of that number and of the
    file's identity, so that an etag is never used twice, not even by a new file under the old path. (A file put back
    from a copy does repeat numbers: restart whoever knew the later ones.)

    After a fork, open a store anew: SQLite's connections do not survive one.
    """

    def __init__(self, path: str | os.PathLike[str], *, patience: float = 5.0) -> None:
        """Open the store in `path` and make it if it is not there (the directory must be).

        `patience` is how many seconds a call waits for another process that holds the file locked. Raises StoreError,
        with the way out, where no store can be had there: a missing or read-only directory, a file of something else,
        a file written by a newer version.
        """
        self._path = os.path.abspath(os.fspath(path))
        self._patience = patience
        self._process = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        first, self._identity = open_file(self._path, patience)
        self._idle = [first]
        self._file = _file_id(self._path)
        self._wakeup = wakeup_of(self._path, self._identity)

    def get(self, key: str) -> Stored | None:
        """The object under `key`, or None."""
        with self._connection() as connection:
            row = connection.execute(_GET, (key,)).fetchone()
        return self._stored(row) if row else None

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The objects that exist under `keys`, all as of one moment."""
        with self._connection() as connection:
            rows = connection.execute(_GET_MANY, (_json(keys),)).fetchall()
        return {row[0]: self._stored(row) for row in rows}

    def put(self, write: Write) -> Written:
        """One conditional write, durable when it returns."""
        with self._writing() as connection:
            seq = self._apply(connection, write)  # a transaction by itself
        self._wakeup.written(seq or 0)
        return self._outcome(write, seq)

    def put_many(self, writes: Sequence[Write]) -> list[Written]:
        """Independent conditional writes in one transaction, so in one sync; outcomes in the order of `writes`.

        If this raises, none was made. No reader sees some of them without the others.
        """
        if not writes:
            return []
        with self._writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            seqs = [self._apply(connection, write) for write in writes]
            connection.execute("COMMIT")
        self._wakeup.written(max(seq or 0 for seq in seqs))
        return [self._outcome(write, seq) for write, seq in zip(writes, seqs, strict=True)]

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key starts with `prefix`, in the order of the keys' UTF-8 bytes.

        Read by the page: an object written meanwhile may or may not be among them.
        """
        first = prefix
        while True:
            with self._connection() as connection:
                rows = connection.execute(_LIST, (first, prefix, _LIST_PAGE)).fetchall()
            for key, seq in rows:
                yield Listed(key, self._etag(seq))
            if len(rows) < _LIST_PAGE:
                return
            first = rows[-1][0] + "\0"  # the least key after it

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """Of the keys of `known`, the objects whose etag is not the known one, in the order they were written.

        All are as of one moment, and so is the new cursor. With a cursor the cost grows with what was written since or
        with `known`, whichever is less. A cursor of another file counts as none.
        """
        with self._connection() as connection:
            connection.execute("BEGIN")
            (greatest,) = connection.execute(_GREATEST).fetchone()
            since = self._seq(cursor)
            if since is None or greatest - since > len(known) or since > greatest:
                rows = connection.execute(_SEQS_OF_KEYS, (_json(known),))
            else:
                rows = connection.execute(_SEQS_SINCE, (since,))
            changed = sorted(seq for key, seq in rows if key in known and known[key] != self._etag(seq))
            found = connection.execute(_GET_SEQS, (_json(changed),)).fetchall() if changed else []
            connection.execute("COMMIT")
        return Changes([self._stored(row) for row in found], self._etag(greatest))

    def wait(self, cursor: str, timeout: float) -> bool:
        """Block until something was written since `cursor` (True), or `timeout` seconds are over (False).

        A write of this process wakes at once, one of another process within five milliseconds or so. If the store is
        closed meanwhile, the answer is False.
        """
        since = self._seq(cursor) or 0
        with self._look_out() as greatest:
            if greatest() != since:
                return True
        try:
            return self._wakeup.wait(since, timeout, self._look_out, lambda: self._closed)
        except StoreError:
            if self._closed:
                return False
            raise

    def close(self) -> None:
        """Close every connection (one that is in use: when its call returns) and wake who waits."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self._wakeup.wake()

    def _apply(self, connection: sqlite3.Connection, write: Write) -> int | None:
        if write.if_etag is None:
            rows = connection.execute(_INSERT, (write.key, write.data)).fetchall()
        elif (seq := self._seq(write.if_etag)) is not None:
            rows = connection.execute(_UPDATE, (write.data, write.key, seq)).fetchall()
        else:
            return None
        return rows[0][0] if rows else None

    def _outcome(self, write: Write, seq: int | None) -> Written:
        return Written(write.key, None if seq is None else self._etag(seq))

    @contextmanager
    def _look_out(self) -> Iterator[Callable[[], int]]:
        with self._connection() as connection:
            yield lambda: int(connection.execute(_GREATEST).fetchone()[0])

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if not self._wakeup.writing.acquire(timeout=self._patience):
            raise locked(self._path, self._patience)
        try:
            with self._connection() as connection:
                yield connection
        finally:
            self._wakeup.writing.release()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one call. It goes back to be used again, unless the call failed: then it is closed, which
        also rolls back what the call had begun."""
        if os.getpid() != self._process:
            raise StoreError(f"store {self._path}: opened before a fork: open it again in the process that uses it")
        with self._lock:
            if self._closed:
                raise StoreError(f"store {self._path}: closed already: open it again")
            connection = self._idle.pop() if self._idle else None
        try:
            if _file_id(self._path) != self._file:
                raise replaced(self._path)
            if connection is None:
                connection = reopen_file(self._path, self._patience, self._identity)
            yield connection
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise_explained(self._path, self._patience, error)
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _stored(self, row: tuple[str, int, bytes]) -> Stored:
        key, seq, data = row
        return Stored(key, data, self._etag(seq))

    def _etag(self, seq: int) -> str:
        return f"{self._identity}-{seq}"

    def _seq(self, etag: str) -> int | None:
        identity, _, seq = etag.partition("-")
        return int(seq) if identity == self._identity and seq.isdecimal() else None


def _json(values: Iterable[str] | Iterable[int]) -> str:
    return orjson.dumps(list(values)).decode()


def _file_id(path: str) -> tuple[int, int]:
    """Which file stands under `path`. While one is open its number is not given to another."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise StoreUnavailable(
            f"store {path}: {error.strerror}, though it is open here: put the file back, or restart"
        ) from error
    return found.st_dev, found.st_ino
