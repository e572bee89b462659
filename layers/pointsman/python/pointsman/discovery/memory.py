"""The objects that one process has read from a store, so that it reads only changes. Bounded: the least recently used
go first."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from pointsman.delivery.deliver import Form, deliver_cluster
from pointsman.discovery.answers import Part, make_part
from pointsman.discovery.reading import LastGood, Value
from pointsman.store.bears import check_adapter
from pointsman.store.keys import CONFIG_HEAD
from pointsman.store.protocol import Store, Stored, StoreError
from pointsman.xds.snapshot import Snapshot

_log = logging.getLogger(__name__)

MOST_BYTES = 32 * 1024 * 1024
"""Bytes of objects as stored; what is made of them takes several times that."""

GAP_S = 1.0
"""Seconds between two unconditional reads of one key, however many Envoys are ahead of it."""


@dataclass(eq=False, slots=True)
class _Object:
    """`parts` are the deliveries of the value, a snapshot, by the forms that were requested."""

    good: LastGood = field(default_factory=LastGood)
    etag: str | None = None
    size: int = 0
    parts: dict[Form, Part] = field(default_factory=dict)


class Memory:
    """The last known good of the objects that were read, and their deliveries. Not safe for several threads.

    An object that is older than the remembered one is read once more without its etag; then the store is right.
    """

    def __init__(
        self, store: Store, most_bytes: int = MOST_BYTES, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` returns seconds, from any zero."""
        self._store, self._most_bytes, self._clock = store, most_bytes, clock
        self._objects: OrderedDict[str, _Object] = OrderedDict()
        self._bytes = 0
        self._bears = False
        self._tried: dict[str, float] = {}
        self._confirmed: set[str] = set()
        self.asked: set[str] = set()
        """The keys that were read, until the caller clears this."""
        self.resets: list[str] = []
        """What went back, confirmed by the store itself, until the caller clears this."""
        self.unreachable = ""
        """Why the last read of the store failed; "" if it did not."""

    def read(self, wanted: Collection[str]) -> None:
        """Read the changes of the objects under these keys, all at the same time. Afterwards this holds the store's
        objects, or the last known good. Never raises for errors of the store."""
        self.asked |= {*wanted}
        known = {key: each.etag if (each := self._objects.get(key)) else None for key in wanted}
        try:
            # Nothing is taken from a store that this version of the adapter may not read.
            found = self._store.changes(known if self._bears else {**known, CONFIG_HEAD: None})
            if not self._bears:
                check_adapter(next((each for each in found.objects if each.key == CONFIG_HEAD), None))
                self._bears = True
        except StoreError as error:
            self.unreachable = str(error)
            return
        self.unreachable = ""
        for stored in found.objects:
            if stored.key != CONFIG_HEAD:
                self._hold(stored).good.take(stored)
        for key in found.gone:
            self._objects[key].etag = None  # reported once; whatever comes back is read again, even if unchanged
            self._objects[key].good.miss(key)
        self.confirm([key for key in wanted if (each := self._objects.get(key)) and each.good.contradicted])
        for key in (*found.gone, *(each.key for each in found.objects)):
            if problem := self.problem(key):
                _log.warning("%s", problem)
        self._forget(wanted)

    def confirm(self, wanted: Collection[str]) -> bool:
        """Read those of these keys without their etags that were not read so within `GAP_S`. Returns whether the
        remembered values are what the store has, or had within that time. An unusable or missing object leaves the
        value."""
        now = self._clock()
        self._tried = {key: when for key, when in self._tried.items() if now - when < GAP_S}
        self._confirmed &= self._tried.keys()
        due = sorted(set(wanted) - self._tried.keys())
        if due:
            try:
                found = self._store.get_many(due)
            except StoreError as error:
                self.unreachable = str(error)
                return False
            self._tried |= dict.fromkeys(due, now)
            for key in due:
                stored = found.get(key)
                held = self._hold(stored) if stored else self._objects.get(key)
                is_good, went = held.good.confirm(stored, key) if held else (True, "")
                if held and not stored:
                    held.etag = None  # so that it is read again when it comes back
                if is_good:
                    self._confirmed.add(key)
                if went:
                    self.resets.append(f"{key} went {went}")
        return self._confirmed.issuperset(wanted)

    def _hold(self, stored: Stored) -> _Object:
        held = self._objects.setdefault(stored.key, _Object())
        self._bytes += len(stored.data) - held.size
        held.etag, held.size = stored.etag, len(stored.data)
        return held

    def value(self, key: str) -> Value | None:
        """The last known good under `key`. The same object until it changes."""
        held = self._objects.get(key)
        return held.good.value if held else None

    def problem(self, key: str) -> str:
        """Why the object under `key` is unusable; "" if there is none."""
        held = self._objects.get(key)
        return held.good.problem if held else ""

    def part(self, key: str, snapshot: Snapshot, form: Form) -> Part:
        """The delivery of the snapshot under `key` in `form`, made once."""
        held = self._objects.get(key) or _Object()
        part = held.parts.get(form)
        if part is None or part.of.snapshot is not snapshot:
            part = held.parts[form] = make_part(deliver_cluster(snapshot, form), part)
        return part

    def _forget(self, but: Collection[str]) -> None:
        for key in but:
            if key in self._objects:
                self._objects.move_to_end(key)
        # What was just read is kept, however large: it is about to be used.
        while self._bytes > self._most_bytes and len(self._objects) > len(but):
            _, gone = self._objects.popitem(last=False)
            self._bytes -= gone.size
