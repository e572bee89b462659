"""Objects in one SQLite file: the store of one machine."""

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import orjson

from pointsman.store.keys import CATALOG
from pointsman.store.protocol import Changes, Listed, Stored, StoreError, Write, Written
from pointsman.store.sqlite_file import leave_open, locked, open_file, raise_explained, reopen_file, write_back
from pointsman.store.sqlite_wakeup import wakeup_of
from pointsman.store.sqlite_watch import LOG, FileMoved, Watch

_INSERT = """
    INSERT INTO objects (seq, tag, written, data, key) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (key) DO NOTHING"""
_UPDATE = """
    UPDATE objects SET seq = ?, tag = ?, written = ?, data = ?
    WHERE key = ? AND seq = ? AND tag = ?"""
_GREATEST = "SELECT seq FROM store"
_COUNT = "UPDATE store SET seq = ?"
_GET = "SELECT key, data, seq || '-' || tag FROM objects WHERE key = ?"
# One parameter holds any number of keys, so the statement is prepared once.
_GET_MANY = """
    SELECT objects.key, data, seq || '-' || tag
    FROM json_each(?) AS wanted CROSS JOIN objects ON objects.key = wanted.value"""
_ETAGS_OF_KEYS = """
    SELECT objects.key, seq, tag FROM json_each(?) AS wanted CROSS JOIN objects ON objects.key = wanted.value"""
_ETAGS_SINCE = "SELECT key, seq, tag FROM objects WHERE seq > ?"
_GET_SEQS = """
    SELECT objects.key, data, seq || '-' || tag FROM json_each(?) AS wanted CROSS JOIN objects ON seq = wanted.value"""
# No UTF-8 text has a byte 0xff: the upper bound is above every key with the prefix, and below all greater ones.
_LIST = """
    SELECT key, seq, tag, written FROM objects WHERE key >= ? AND key < CAST(CAST(? AS BLOB) || x'ff' AS TEXT)
    ORDER BY key LIMIT ?"""

_REMOVE = "DELETE FROM objects WHERE key IN (SELECT value FROM json_each(?))"
_ETAGS = "SELECT key, seq, tag FROM objects WHERE key IN (SELECT value FROM json_each(?))"

_LIST_PAGE = 1000
_MOST_DIGITS = 18
"""Digits of the number in an etag: one with more is not ours, and SQLite could not hold it."""

_FREE_PAGES = 256
"""Empty pages that stay in the file for the next writes: 1 MiB."""
_TIDIED_PAGES = 64
"""Pages that one call of `tidy` gives back: about a millisecond, and a sync."""
_COMPARED_S = 60.0
"""Seconds after which `changes` compares all known objects, not only those written since."""
_LONG_LOG_BYTES = 16 * 1024 * 1024
"""Bytes of the log from which `tidy` cuts it. SQLite reuses the log at 4 MiB, unless a reader lasts that long."""


class SQLiteStore:
    """A Store in one file, for any number of threads and processes of one machine.

    An acknowledged write survives SIGKILL and the loss of power (write-ahead log, synced at each commit), and is in the
    file that the next process opens, which every write checks (`sqlite_watch`). Each write gets the next number of one
    sequence for the whole file. An etag is that number and a random tag of the write, so no etag is ever given to other
    bytes, not even by a file restored from a copy. A cursor is valid for the SQLiteStore that returned it, whose file
    cannot go back unnoticed; any other treats it as none.

    After a fork, open the store again: SQLite's connections do not survive one.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True, patience: float = 5.0) -> None:
        """Open the store in `path`; with `create`, make it if it is missing, with its directory.

        `patience` is how many seconds a call waits for a lock of another process. Raises StoreError, with the way out,
        if no store can be opened there: a missing or read-only directory, a file of something else, an empty one, a
        file of another version. Raises StoreMissing if there is no file.
        """
        opened = open_file(os.path.abspath(os.fspath(path)), patience, create=create)
        self._path = opened.path
        self._identity = opened.identity
        self._patience = patience
        self._process = os.getpid()
        self._closed = False
        self._moved: FileMoved | None = None
        self._lock = threading.Lock()
        self._opening = secrets.token_hex(8)
        self._idle: list[sqlite3.Connection] = []
        # Never used for a call: while it is open, SQLite deletes neither log nor index, so any deletion is noticed.
        self._anchor = opened.connection
        try:
            (greatest,) = self._anchor.execute(_GREATEST).fetchone()
            self._watch = Watch(self._path, self._identity, greatest)
        except BaseException as error:
            self._anchor.close()
            if isinstance(error, sqlite3.Error):
                raise_explained(self._path, patience, error)
            raise
        self._wakeup = wakeup_of(self._path, self._identity)

    def get(self, key: str) -> Stored | None:
        """The object under `key`, or None."""
        with self._connection() as connection:
            row = connection.execute(_GET, (key,)).fetchone()
        return Stored._make(row) if row else None

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The objects that exist under `keys`, all as of one moment."""
        with self._connection() as connection:
            rows = connection.execute(_GET_MANY, (_json(keys),)).fetchall()
        return {row[0]: Stored(*row) for row in rows}

    def put(self, write: Write) -> Written:
        """One conditional write, durable when it returns."""
        return self.put_many([write])[0]

    def put_many(self, writes: Sequence[Write]) -> list[Written]:
        """Independent conditional writes in one transaction, so in one sync; outcomes in the order of `writes`.

        If this raises, none was made. Readers see all of them or none.
        """
        if not writes:
            return []
        with self._writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            outcomes, last = _apply(connection, writes)
            connection.execute("COMMIT")
            self._look(last)
        # Nobody follows catalogs. What is computed from them comes a moment later, and until then who waits would take
        # its time away.
        if not all(write.key.startswith(CATALOG) for write in writes):
            self._wakeup.written(last)
        return outcomes

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key starts with `prefix`, in the order of the keys' UTF-8 bytes.

        Reads in pages: an object written meanwhile may or may not be included.
        """
        first = prefix
        while True:
            with self._connection() as connection:
                rows = connection.execute(_LIST, (first, prefix, _LIST_PAGE)).fetchall()
            for key, seq, tag, written in rows:
                yield Listed(key, _etag(seq, tag), written)
            if len(rows) < _LIST_PAGE:
                return
            first = rows[-1][0] + "\0"  # the least key after it

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """Of the keys of `known`, the objects whose etag is not the known one, in the order they were written.

        All are as of one moment, and so is the new cursor. With a cursor the cost grows with what was written since or
        with `known`, whichever is less. A cursor of another SQLiteStore counts as none, and so does any cursor once a
        minute: an object removed by hand has no number.
        """
        now, gone = time.monotonic(), frozenset[str]()
        with self._connection() as connection:
            connection.execute("BEGIN")
            (greatest,) = connection.execute(_GREATEST).fetchone()
            since, compared = self._since(cursor)
            if since is None or greatest - since > len(known) or now - compared >= _COMPARED_S:
                rows = connection.execute(_ETAGS_OF_KEYS, (_json(known),)).fetchall()
                gone = frozenset(key for key, etag in known.items() if etag) - {key for key, _, _ in rows}
                compared = now
            else:
                rows = connection.execute(_ETAGS_SINCE, (since,)).fetchall()
            changed = sorted(seq for key, seq, tag in rows if key in known and known[key] != _etag(seq, tag))
            found = connection.execute(_GET_SEQS, (_json(changed),)).fetchall() if changed else []
            connection.execute("COMMIT")
        return Changes([Stored._make(row) for row in found], f"{self._opening}-{greatest}-{compared:.3f}", gone)

    def wait(self, cursor: str, timeout: float) -> bool:
        """Block until something was written since `cursor` (True), or `timeout` seconds are over (False).

        A write of this process wakes the caller at once, one of another process or of catalogs alone within about five
        milliseconds. Returns False if the store is closed meanwhile.
        """
        since = self._since(cursor)[0] or 0
        with self._look_out() as greatest:
            if greatest() != since:
                return True
        try:
            return self._wakeup.wait(since, timeout, self._look_out, lambda: self._closed)
        except StoreError:
            if self._closed:
                return False
            raise

    def remove(
        self, keys: Sequence[str], swap: Write | None = None, if_etags: Mapping[str, str] | None = None
    ) -> Written | None:
        """Remove the objects under `keys` that still have their etag in `if_etags`, or none there; with `swap` if and
        only if that wins: in one transaction."""
        with self._writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            outcomes, last = _apply(connection, [] if swap is None else [swap])
            if swap is None or last:
                expected = if_etags or {}
                there = connection.execute(_ETAGS, (_json(keys),)).fetchall() if expected else ()
                written = {key for key, seq, tag in there if expected.get(key) not in (None, _etag(seq, tag))}
                connection.execute(_REMOVE, (_json(key for key in keys if key not in written),))
            connection.execute("COMMIT")
            self._look(last)
        self._wakeup.written(last)
        return outcomes[0] if outcomes else None

    def tidy(self) -> bool:
        """Give free pages back to the file system, a few at a time, and cut a log that grew; returns whether there are
        more."""
        with self._writing() as connection:
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            if free > _FREE_PAGES:
                # As a script: it gives back one page a step, and Python 3.11 steps what has no columns only once.
                connection.executescript(f"PRAGMA incremental_vacuum({min(_TIDIED_PAGES, free - _FREE_PAGES)})")
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
            self._look()
        if free > _FREE_PAGES + _TIDIED_PAGES:
            return True
        long = os.stat(self._path + LOG).st_size > _LONG_LOG_BYTES
        if long or os.stat(self._path).st_size > pages * page_bytes:
            # The file gets shorter when the log is written into it; skipped while another connection reads or writes.
            with self._connection() as connection:
                connection.execute("PRAGMA busy_timeout=0")
                connection.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if long else 'PASSIVE'})").fetchall()
                connection.execute(f"PRAGMA busy_timeout={int(self._patience * 1000)}")
        return False

    def close(self) -> None:
        """Close every connection (one in use: when its call returns) and wake all waiters."""
        with suppress(StoreError):
            self._look_before_closing()
        with self._lock:
            closed, self._closed = self._closed, True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if not closed and self._moved is None:
            self._anchor.close()
        self._watch.close()
        self._wakeup.wake()

    def _look(self, written: int = 0) -> None:
        """Raise if the files are not those that were opened. `written` is the number of a write not acknowledged
        yet."""
        if self._moved is not None:
            raise FileMoved(str(self._moved), whole=self._moved.whole)
        self._watch.look(written)

    def _look_before_closing(self) -> None:
        if os.getpid() == self._process:
            try:
                self._look()
            except FileMoved as moved:
                self._let_go(moved)

    def _let_go(self, moved: FileMoved) -> None:
        """Close the files for good. Raises StoreError if the log cannot be written into the main file before: the next
        call tries again."""
        with self._lock:
            if self._moved is not None or self._closed:
                return
            if moved.whole:
                write_back(self._anchor, self._path, self._patience)
            else:
                leave_open(self._anchor)
            self._moved = moved
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if moved.whole:
            self._anchor.close()
        self._wakeup.wake()

    @contextmanager
    def _look_out(self) -> Iterator[Callable[[], int]]:
        with self._connection() as connection:

            def greatest() -> int:
                self._look()
                return int(connection.execute(_GREATEST).fetchone()[0])

            yield greatest

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
            self._look()
            if connection is None:
                connection = reopen_file(self._path, self._patience, self._identity)
            yield connection
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, FileMoved):
                self._let_go(error)
            if isinstance(error, sqlite3.Error):
                raise_explained(self._path, self._patience, error)
            raise
        with self._lock:
            if not self._closed and self._moved is None:
                self._idle.append(connection)
                return
        connection.close()

    def _since(self, cursor: str) -> tuple[int | None, float]:
        """The number of the last write that `cursor` covers, None for a cursor of another store; and when everything
        was last compared, in seconds of the monotonic clock."""
        opening, *rest = cursor.split("-")
        return (int(rest[0]), float(rest[1])) if opening == self._opening else (None, 0.0)


def _apply(connection: sqlite3.Connection, writes: Sequence[Write]) -> tuple[list[Written], int]:
    """Make `writes` in a transaction that has begun; their outcomes, and the number of the last one (0 for none)."""
    (before,) = connection.execute(_GREATEST).fetchone()
    last, now, outcomes = before, int(time.time()), []
    # One tag for all: their numbers differ, and a file restored from a copy gives none of them again.
    cursor, tag = connection.cursor(), secrets.token_hex(8)
    for write in writes:
        values = (last + 1, tag, now, write.data, write.key)
        won = False
        if write.if_etag is None:
            won = cursor.execute(_INSERT, values).rowcount == 1
        else:
            seq, _, was = write.if_etag.partition("-")
            if seq.isdecimal() and len(seq) <= _MOST_DIGITS:
                won = cursor.execute(_UPDATE, (*values, int(seq), was)).rowcount == 1
        last += won
        outcomes.append(Written(write.key, _etag(last, tag) if won else None))
    if last == before:
        return outcomes, 0
    connection.execute(_COUNT, (last,))
    return outcomes, last


def _etag(seq: int, tag: str) -> str:
    return f"{seq}-{tag}"


def _json(values: Iterable[str] | Iterable[int]) -> str:
    return orjson.dumps(list(values)).decode()
