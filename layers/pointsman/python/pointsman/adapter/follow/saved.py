"""The last known good of what an adapter follows, on disk: what it starts and serves from while the store is away."""

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
"""Seconds between two notes of when the store was last seen."""

_AGAIN_S = 5.0
"""Seconds until what could not be written is tried again."""

_LOOK_S = 0.25
"""Seconds between two looks whether the one who writes in the directory has ended."""


class Saved:
    """Objects of one store in `directory`, a file each, named by the digest of its key: no name becomes a path.

    What is put here is written by a thread of its own, a moment after it was delivered: whoever puts it never waits for
    the disk. Each file is written beside,
    synced and renamed, and carries its digest: one that is torn, damaged or of another store is said, removed and not
    used. Heads are written before the manifests that name them and removed after, so what is found after a crash is
    complete. Whether an object may reach an Envoy is for who takes it to check, as with any that comes from a store.

    One process at a time writes; a second one reads what is there, and goes on writing when the first has ended.
    """

    def __init__(
        self,
        directory: Path,
        store: str,
        *,
        operations: FileOperations | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Read what is there of `store`, the URL or path that people call it by. `now` tells Unix time in seconds.

        Raises PointsmanError where the directory cannot be made or read.
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
        # What is to be removed from the disk has to be there: the rest is not written in the first place.
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
        """Whose own manifests were found here, and not taken yet."""
        return {proxy for key in self._found if keys.is_manifest(key) and (proxy := proxy_of(key))}

    @property
    def alive(self) -> bool:
        """Whether what is put here is written."""
        return self._thread.is_alive()

    @property
    def age(self) -> float | None:
        """For how many seconds, at the start, the store had not been seen; None if that is not known."""
        return None if self._seen is None else max(0.0, self._now() - self._seen)

    @property
    def problem(self) -> str:
        """Why what is on disk stays behind; empty if it does not."""
        return self._problem

    def take(self, key: str) -> Stored | None:
        """What was found under `key` at the start, once."""
        return self._found.pop(key, None)

    def put(self, objects: Iterable[Stored]) -> None:
        """Keep these in place of what is there."""
        with self._changed:
            self._pending |= {each.key: each for each in objects}
            self._changed.notify_all()

    def drop(self, unwanted: Iterable[str]) -> None:
        """Keep these keys no longer."""
        with self._changed:
            for key in unwanted:
                if key in self._there:
                    self._pending[key] = None
                else:
                    self._pending.pop(key, None)
            self._changed.notify_all()

    def sweep(self) -> None:
        """Remove what was found at the start and nobody took: nobody follows it any more."""
        if self._found:
            self.drop(self._found)
            self._found = {}

    def saw(self) -> None:
        """The store was looked at with success just now."""
        self._saw = self._now()
        if self._seen_is_due:
            with self._changed:
                self._changed.notify_all()

    def flush(self) -> bool:
        """Write what is pending now; whether nothing is left. It is tried again by itself."""
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
                self._say(f"{self._directory} stays behind: {why}: it is tried again")
                with self._changed:
                    self._pending = wanted | self._pending
                return False
            with self._changed:
                self._there -= {key for key, stored in wanted.items() if stored is None}
            self._say("")
            return True

    def close(self) -> None:
        """Write what is pending, and let the next one write here."""
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
            # What was damaged may have been written anew meanwhile; only what is half written is left over for sure.
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
        """Note when the store was last seen, if the last note is old."""
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
        """What stands in a file; None if it is another store's. Raises ValueError and the like for anything else."""
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
