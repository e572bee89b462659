"""The last known good of the objects that somebody here follows."""

import logging
from collections.abc import Iterable

from pointsman.discovery.reading import LastGood, Value
from pointsman.store.protocol import Store, Stored

_log = logging.getLogger(__name__)


class Replica:
    """Snapshots and manifests as they were last read, checked, and in order. Not safe for several threads.

    What cannot be read, must not reach an Envoy or is older than what is here already changes nothing: the value
    stays, and `problem` tells why.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[str, LastGood] = {}
        self._known: dict[str, str | None] = {}
        self._unread: set[str] = set()
        self.cursor = ""

    def follow(self, wanted: Iterable[str]) -> None:
        """Keep the objects under these keys as well. They are read by the next `read_new`."""
        for key in wanted:
            if key not in self._held:
                self._held[key] = LastGood()
                self._unread.add(key)

    def forget(self, unwanted: Iterable[str]) -> None:
        """Follow these keys no longer."""
        for key in unwanted:
            self._held.pop(key, None)
            self._known.pop(key, None)
            self._unread.discard(key)

    def value(self, key: str) -> Value | None:
        """The last known good; None if there was none so far or nobody follows. The same object until it changes."""
        held = self._held.get(key)
        return held.value if held else None

    def problem(self, key: str) -> str:
        """Why what the store has under `key` was not taken; empty if it was, or if nothing is there."""
        held = self._held.get(key)
        return held.problem if held else ""

    def read_changed(self) -> set[str]:
        """Look for what was written since the last time: the keys whose values changed. Raises StoreError."""
        found = self._store.changes(self._known, self.cursor)
        self.cursor = found.cursor
        return self._take(found.objects)

    def read_new(self) -> set[str]:
        """Read what is followed and was never read: the keys that have a value now. Raises StoreError."""
        if not self._unread:
            return set()
        asked = dict.fromkeys(self._unread)
        # The cursor stays: it is older than this reading, so whatever is written from now on comes after it.
        found = self._store.changes(asked, "")
        self._known |= asked
        self._unread.clear()
        return self._take(found.objects)

    def _take(self, objects: Iterable[Stored]) -> set[str]:
        changed = set()
        for stored in objects:
            self._known[stored.key] = stored.etag
            held = self._held[stored.key]
            if held.take(stored):
                changed.add(stored.key)
            if held.problem:
                _log.warning("%s", held.problem)
        return changed
