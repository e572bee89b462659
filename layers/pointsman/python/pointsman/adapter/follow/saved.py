"""The last known good of an adapter's objects, on disk: it starts and serves from them while the store is
unavailable."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Set
from pathlib import Path
from typing import Any, Self

import orjson

from pointsman.discovery.proxy import ProxyId, proxy_of
from pointsman.disk.access import PRIVATE, NotOurs, without_links
from pointsman.disk.lock import DirectoryLock
from pointsman.disk.operations import ON_ITS_WAY, FileOperations
from pointsman.model.canonical import canonical, digest
from pointsman.model.errors import PointsmanError
from pointsman.store import keys
from pointsman.store.protocol import Stored

_log = logging.getLogger(__name__)

_FORMAT = 1
_ENDING = ".kept"
_SEEN = "seen.json"

_NOTED_S = 5.0
"""Seconds between two records of when the store was last read."""

_AGAIN_S = 5.0
"""Seconds until a failed write is tried again."""

_LOOK_S = 0.25
"""Seconds between two checks whether the process that writes in the directory has ended."""


class Saved:
    """Objects of one store in `directory`, one file each, named by the digest of its key, so that no name becomes a
    path.

    A thread of its own writes the objects shortly after they were delivered, so that `put` never waits for the disk.
    Each file carries its digest, and is written under another name, synced and renamed. A file that is incomplete,
    damaged or of another store is logged, removed and not used. Heads are written before the manifests that name them
    and removed after, so that the files are complete after a crash. The reader checks whether an object may reach an
    Envoy, as with any from a store.

    One process at a time writes; a second one reads the files, and starts to write when the first has ended.
    """

    def __init__(
        self,
        directory: Path,
        store: str,
        *,
        operations: FileOperations | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Read the saved objects of `store`, which is its URL or path. `now` returns Unix time in seconds.

        Raises PointsmanError if the directory cannot be created or read.
        """
        self._directory = without_links(directory)
        self._store = store if "://" in store else os.path.abspath(store)
        self._operations, self._now = operations or FileOperations(PRIVATE), now
        self._lock = DirectoryLock(self._directory)
        self._lock.take()
        self._found: dict[str, Stored] = {}
        self._rest: list[Path] = []
        self._read()
        self._seen = self._read_seen()
        self._saw, self._noted = 0.0, 0.0
        # Only objects on disk need to be removed; the others are not written in the first place.
        self._there = set(self._found)
        self._pending: dict[str, Stored | None] = {}
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._closed = False
        self._problem = ""
        self._thread = threading.Thread(target=self._work, name="kept", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __str__(self) -> str:
        return str(self._directory)

    def proxies(self) -> Set[ProxyId]:
        """The proxies whose own manifests were found at the start and not taken yet."""
        return {proxy for key in self._found if keys.is_manifest(key) and (proxy := proxy_of(key))}

    @property
    def alive(self) -> bool:
        """Whether the writing thread runs."""
        return self._thread.is_alive()

    @property
    def age(self) -> float | None:
        """Seconds that the store had not been read at the start; None if unknown."""
        return None if self._seen is None else max(0.0, self._now() - self._seen)

    @property
    def problem(self) -> str:
        """Why the files are behind; "" if they are not."""
        return self._problem

    def take(self, key: str) -> Stored | None:
        """The object found under `key` at the start; only the first call returns it."""
        return self._found.pop(key, None)

    def put(self, objects: Iterable[Stored]) -> None:
        """Save these objects in place of their older versions."""
        with self._changed:
            self._pending |= {each.key: each for each in objects}
            self._changed.notify_all()

    def drop(self, unwanted: Iterable[str]) -> None:
        """Remove these keys."""
        with self._changed:
            for key in unwanted:
                if key in self._there:
                    self._pending[key] = None
                else:
                    self._pending.pop(key, None)
            self._changed.notify_all()

    def sweep(self) -> None:
        """Remove the objects found at the start that were not taken: they are no longer followed."""
        if self._found:
            self.drop(self._found)
            self._found = {}

    def saw(self) -> None:
        """Record that the store was just read successfully."""
        self._saw = self._now()
        if self._seen_is_due:
            with self._changed:
                self._changed.notify_all()

    def flush(self) -> bool:
        """Write the pending objects now. Returns whether none is left. Failed ones are tried again automatically."""
        with self._writing:
            if not self._lock.take():
                return False
            with self._changed:
                wanted, self._pending = self._pending, {}
                self._there |= {key for key, stored in wanted.items() if stored is not None}
            try:
                self._write(wanted)
                self._write_seen()
            except Exception as error:
                why = f"{error.strerror} ({error.filename})" if isinstance(error, OSError) else repr(error)
                self._say(f"{self._directory} is behind: {why}; trying again")
                with self._changed:
                    self._pending = wanted | self._pending
                return False
            with self._changed:
                self._there -= {key for key, stored in wanted.items() if stored is None}
            self._say("")
            return True

    def close(self) -> None:
        """Write the pending objects, and release the directory for the next process."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self.flush()
        self._lock.release()

    def _work(self) -> None:
        said = False
        while not self._lock.take():
            if not said:
                _log.warning("%s is written by %s; what is new is kept when that ends", self, self._lock.holder)
                said = True
            with self._changed:
                self._changed.wait_for(lambda: self._closed, _LOOK_S)
                if self._closed:
                    return
        if said:
            # A damaged file may have been replaced in the meantime; only half-written ones are certainly left over.
            self._rest = self._on_their_way()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._seen_is_due or self._closed)
                if self._closed:
                    return
            if not self.flush():
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, _AGAIN_S)

    def _write(self, wanted: dict[str, Stored | None]) -> None:
        for path in self._rest:
            self._operations.remove(path)
        self._rest = []
        new = [each for each in wanted.values() if each is not None]
        for is_manifest in (False, True):
            chosen = [each for each in new if keys.is_manifest(each.key) is is_manifest]
            for stored in chosen:
                self._operations.replace(self._path(stored.key), self._record(stored))
            if chosen:
                self._operations.sync(self._directory)
        gone = [key for key, stored in wanted.items() if stored is None]
        for is_manifest in (True, False):
            for key in gone:
                if keys.is_manifest(key) is is_manifest:
                    self._operations.remove(self._path(key))

    @property
    def _seen_is_due(self) -> bool:
        return abs(self._saw - self._noted) >= _NOTED_S

    def _write_seen(self) -> None:
        """Record when the store was last read, if the last record is old."""
        if self._seen_is_due:
            moment = self._saw
            self._operations.replace(self._directory / _SEEN, canonical({"store": self._store, "at": moment}))
            self._noted = moment

    def _path(self, key: str) -> Path:
        return self._directory / f"{digest(key.encode())}{_ENDING}"

    def _record(self, stored: Stored) -> bytes:
        head = {"format": _FORMAT, "store": self._store, "key": stored.key, "etag": stored.etag}
        return canonical(head | {"sha256": digest(stored.data)}) + b"\n" + stored.data

    def _read(self) -> None:
        try:
            self._rest = self._on_their_way()
            for path in self._files(_ENDING):
                try:
                    stored = self._read_record(path)
                except NotOurs as error:
                    _log.warning("%s is not used: %s", path, error.strerror)
                    continue
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    _log.warning("%s is not used: it is damaged (%s)", path, error)
                    self._rest.append(path)
                    continue
                if stored is None:
                    self._rest.append(path)
                else:
                    self._found[stored.key] = stored
        except OSError as error:
            raise PointsmanError(f"{error.filename}: cannot be read: {error.strerror}") from None

    def _on_their_way(self) -> list[Path]:
        return self._files(ON_ITS_WAY)

    def _files(self, ending: str) -> list[Path]:
        return [self._directory / name for name in self._operations.names(self._directory) if name.endswith(ending)]

    def _read_record(self, path: Path) -> Stored | None:
        """The object in a file; None if it is another store's. Raises ValueError and similar errors for invalid
        content."""
        first, newline, data = self._operations.read(path).partition(b"\n")
        head: dict[str, Any] = orjson.loads(first)
        key, etag = head["key"], head["etag"]
        if not newline or digest(data) != head["sha256"]:
            raise ValueError("its content is not what its digest promises")
        if not isinstance(key, str) or not isinstance(etag, str) or self._path(key) != path:
            raise ValueError("it is not called as its key would have it")
        if head["format"] != _FORMAT:
            raise ValueError(f"its format is {head['format']}")
        if head["store"] != self._store:
            _log.warning("%s is of the store %s, which is not this one", path, head["store"])
            return None
        return Stored(key, data, etag)

    def _read_seen(self) -> float | None:
        try:
            body = orjson.loads(self._operations.read(self._directory / _SEEN))
            return float(body["at"]) if body["store"] == self._store else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _say(self, problem: str) -> None:
        if problem and problem != self._problem:
            _log.warning("%s", problem)
        self._problem = problem
