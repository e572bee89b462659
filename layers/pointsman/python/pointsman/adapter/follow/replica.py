"""The last known good of the followed objects."""

import logging
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from pointsman.adapter.follow.saved import Saved
from pointsman.discovery.reading import LastGood, Value
from pointsman.model.canonical import canonical
from pointsman.store.protocol import Changes, Store, Stored
from pointsman.xds.manifest import manifest_json
from pointsman.xds.snapshot import Snapshot, snapshot_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The result of a read of the store itself: the keys whose values are now what the store has; of these, those whose
    values `changed`; and by key what went back from where to where."""

    keys: Set[str]
    changed: Set[str]
    resets: Mapping[str, str]


class Replica:
    """Snapshots and manifests as last read, checked, and never going back. Not safe for several threads.

    An object that is unreadable, unfit for an Envoy or older than its value changes nothing: the value stays, and
    `problem` returns why. Only `confirm` goes back.
    """

    def __init__(self, store: Store, kept: Saved | None = None) -> None:
        """`kept` has the saved values of an earlier process, which count as if read here."""
        self._store = store
        self._kept = kept
        self._held: dict[str, LastGood] = {}
        self._on_disk: dict[str, Value] = {}
        self._known: dict[str, str | None] = {}
        self._unread: dict[str, str | None] = {}
        self._contradicted: set[str] = set()
        self.cursor = ""

    def follow(self, wanted: Iterable[str]) -> None:
        """Also follow these keys. They start with their saved values, if any; the next `read_new` reads them."""
        for key in wanted:
            if key not in self._held:
                self._held[key] = LastGood()
                self._unread[key] = self._recall(key)

    def forget(self, unwanted: Iterable[str]) -> None:
        """Stop following these keys."""
        for key in unwanted:
            self._held.pop(key, None)
            self._known.pop(key, None)
            self._unread.pop(key, None)
            self._contradicted.discard(key)
            if self._kept and self._on_disk.pop(key, None) is not None:
                self._kept.drop([key])

    def keep(self, wanted: Iterable[str]) -> None:
        """Save the current values of these keys on disk."""
        if self._kept is None:
            return
        new = []
        for key in wanted:
            held = self._held[key]
            if held.value is not None and held.value is not self._on_disk.get(key):
                new.append(Stored(key, _sealed(held.value, held.position.serial), self._etag(key, held)))
                self._on_disk[key] = held.value
        if new:
            self._kept.put(new)

    def drop(self, unwanted: Iterable[str]) -> None:
        """Remove the saved values of these keys from disk; they are still followed."""
        if self._kept is not None:
            unwanted = list(unwanted)
            for key in unwanted:
                self._on_disk.pop(key, None)
            self._kept.drop(unwanted)

    def value(self, key: str) -> Value | None:
        """The last known good under `key`; None if there is none or it is not followed. The same object until it
        changes."""
        held = self._held.get(key)
        return held.value if held else None

    def etag(self, key: str) -> str:
        """The etag of what was last read under `key`; "" if nothing was."""
        return self._known.get(key) or ""

    def is_missing(self, key: str) -> bool:
        """Whether the store is known to have nothing under `key`, good or not."""
        return self.value(key) is None and not self.problem(key)

    def problem(self, key: str) -> str:
        """Why the store's object under `key` was refused; "" if it was accepted or is missing."""
        held = self._held.get(key)
        return held.problem if held else ""

    def read_changed(self) -> set[str]:
        """Read what was written since the last time. Returns the keys whose values changed. Raises StoreError."""
        found = self._store.changes(self._known, self.cursor)
        self.cursor = found.cursor
        return self._take(found)

    def read_new(self) -> set[str]:
        """Read the followed keys that were never read. Returns the keys that have a value now. Raises StoreError."""
        if not self._unread:
            return set()
        asked = dict(self._unread)
        # The cursor stays: it is older than this read, so no later write is missed.
        found = self._store.changes(asked, "")
        self._known |= asked
        self._unread.clear()
        return self._take(found)

    def contradicted(self) -> set[str]:
        """The keys for which, since the last call, the object read last cannot follow the value."""
        found, self._contradicted = self._contradicted, set()
        return found

    def times(self, wanted: Iterable[str]) -> dict[str, int]:
        """For those of these keys that are followed, how often each was read so far: an argument for `confirm`."""
        return {key: self._held[key].times for key in wanted if key in self._held}

    def confirm(self, times: Mapping[str, int], found: Mapping[str, Stored]) -> Confirmed:
        """Accept what the store itself was `found` to have. `times` is the result of the method `times` from before
        that read.

        A key that was read otherwise in the meantime may be newer, and stays unconfirmed.
        """
        confirmed, changed, resets = set(), set(), {}
        for key, before in times.items():
            held = self._held.get(key)
            if held is None or held.times != before:
                continue
            stored, value, problem = found.get(key), held.value, held.problem
            # A missing object has to be reported when it comes back, even if unchanged.
            self._known[key] = stored.etag if stored else None
            is_good, went = held.confirm(stored, key)
            if is_good:
                confirmed.add(key)
            if went:
                resets[key] = went
            if held.value is not value:
                changed.add(key)
            if held.problem and held.problem != problem:
                _log.warning("%s", held.problem)
        return Confirmed(confirmed, changed, resets)

    def _take(self, found: Changes) -> set[str]:
        changed = set()
        for key in found.gone:
            # Reported once, and again when it comes back, even if unchanged.
            self._known[key] = None
            self._held[key].miss(key)
            self._contradicted.discard(key)
            if self._held[key].problem:
                _log.warning("%s", self._held[key].problem)
        for stored in found.objects:
            self._known[stored.key] = stored.etag
            held = self._held[stored.key]
            if held.take(stored):
                changed.add(stored.key)
            if held.problem:
                _log.warning("%s", held.problem)
            (self._contradicted.add if held.contradicted else self._contradicted.discard)(stored.key)
        return changed

    def _recall(self, key: str) -> str | None:
        """Load the saved value of `key`. Returns its etag; None if there is none to rely on."""
        stored = self._kept.take(key) if self._kept else None
        if self._kept is None or stored is None:
            return None
        held = self._held[key]
        held.take(stored)
        if held.value is None:
            _log.warning("%s: what was kept is not used: %s", self._kept, held.problem)
            held.problem = ""
            self._kept.drop([key])
            return None
        self._on_disk[key] = held.value
        return stored.etag or None

    def _etag(self, key: str, held: LastGood) -> str:
        # The etag of a refused object is not the value's: the object has to be read, and refused, again.
        return "" if held.problem else self._known.get(key) or ""


def _sealed(value: Value, serial: int) -> bytes:
    """The value as stored, except for the nonce."""
    body = snapshot_json(value) if isinstance(value, Snapshot) else manifest_json(value)
    return canonical({**body, "serial": serial})
