"""Renews the leases of sources when their events are recorded (docs/architecture.md, "Leases")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointsman.model.lease import Lease, lease_json, read_lease, renewed
from pointsman.model.shared_source import back_and_forth
from pointsman.model.stored import Damaged, NewerSchema, number, parse
from pointsman.pipeline.engine import Contended, Engine
from pointsman.pipeline.objects import number_beyond, seal
from pointsman.store import keys
from pointsman.store.protocol import Stored, StoreError, Write

if TYPE_CHECKING:
    from pointsman.model.events import HealthEvent

MOST_SOURCES: Final = 2_000
"""Sources with a lease in one datacenter."""


def lease_key(event: "HealthEvent") -> str | None:
    """The key of the lease that the event renews, None if it says nothing of one."""
    return None if event.lease_ms is None else keys.lease(event.datacenter, event.source)


@dataclass(frozen=True, slots=True)
class LeaseReading:
    """A lease as it was read, None if there is none, with the `etag` and `serial` to swap it."""

    lease: Lease | None
    serial: int
    etag: str | None


def read_lease_object(stored: Stored | None, now: str) -> LeaseReading:
    """The lease in `stored`. A damaged one counts as lost: the next event of its source writes it anew.

    Raises StoreError for one that a newer Pointsman wrote.
    """
    if stored is None:
        return LeaseReading(None, 0, None)
    try:
        body = parse(stored.data)
        return LeaseReading(read_lease(body), number(body, "serial"), stored.etag)
    except Damaged:
        return LeaseReading(None, number_beyond(now), stored.etag)
    except NewerSchema as error:
        raise StoreError(f"the lease {stored.key} cannot be read: {error}") from None


class Renewals:
    """The leases that the events of one pass renew: read and written beside their catalogs, in rounds.

    `catalogs` has the key of each event's catalog, None for one that does nothing but renew.
    `pending` are the keys of the leases that are still to be written. `leases` has those that stand, by key. `failed`
    has the error of each event whose lease could not be renewed, `remarks` what people should know, by the event's
    number; `new` are the numbers of the events that renewed one. `shared` says of which source two senders speak.
    """

    def __init__(self, engine: Engine, events: Sequence["HealthEvent"], catalogs: Sequence[str | None]) -> None:
        self._engine, self._events, self._catalogs = engine, events, catalogs
        self.pending: dict[str, list[int]] = {}
        for number_, event in enumerate(events):
            if (key := lease_key(event)) is not None:
                self.pending.setdefault(key, []).append(number_)
        self.leases: dict[str, Lease] = {}
        self.failed: dict[int, Exception] = {}
        self.remarks: dict[int, str] = {}
        self.shared: dict[int, str] = {}
        self.new: set[int] = set()
        self._written: dict[str, tuple[Lease, set[int]]] = {}

    def writes(self, found: Mapping[str, Stored]) -> list[Write]:
        """The writes of this round, with the leases as they were `found`."""
        writes: list[Write] = []
        self._written = {}
        for key, numbers in list(self.pending.items()):
            try:
                write = self._write(key, found.get(key), numbers)
            except Exception as error:  # even a defect concerns only this lease
                self.failed |= dict.fromkeys(numbers, error)
                del self.pending[key]
                continue
            if write is not None:
                writes.append(write)
        return writes

    def _write(self, key: str, stored: Stored | None, numbers: Sequence[int]) -> Write | None:
        reading = read_lease_object(stored, self._engine.now())
        lease, new, at = reading.lease, set[int](), self._engine.now()
        is_lost = stored is not None and lease is None
        for each in numbers:
            if shared := back_and_forth(lease, self._events[each]):
                self.shared[each] = shared
            after = renewed(lease, self._events[each], self._catalogs[each], at, lost=is_lost)
            new |= {each} if after is not lease else set()
            lease = after
        if not new or lease is None:
            self._stands(key, lease, new)
            return None
        if stored is None and not self._has_room(lease.datacenter):
            self._refuse(key, lease, numbers)
            return None
        self._written[key] = lease, new
        return Write(key, seal(lease_json(lease), reading.serial + 1, self._engine.nonce()), reading.etag)

    def done(self, etags: Mapping[str, str | None]) -> None:
        """Take note of how this round's writes came out, by key."""
        for key, (lease, new) in self._written.items():
            if etags[key] is not None:
                self._stands(key, lease, new)

    def give_up(self) -> None:
        """Count what is still pending as failed."""
        for key, numbers in self.pending.items():
            self.failed |= dict.fromkeys(numbers, Contended(f"the lease {key} is contended; run the event again"))
        self.pending = {}

    def _stands(self, key: str, lease: Lease | None, new: set[int]) -> None:
        self.new |= new
        del self.pending[key]
        if lease is not None:
            self.leases[key] = lease

    def _has_room(self, datacenter: str) -> bool:
        return sum(1 for _ in self._engine.store.list(keys.leases(datacenter))) < MOST_SOURCES

    def _refuse(self, key: str, lease: Lease, numbers: Sequence[int]) -> None:
        # Imported here: functions that only look at leases need no shapes of events.
        from pointsman.model.duration import duration_text

        asked = duration_text(lease.lease_ms * 1_000_000)
        reason = f"its lease of {asked} is not kept: {MOST_SOURCES} sources have one in {lease.datacenter} already"
        self.remarks |= dict.fromkeys(numbers, reason)
        self._stands(key, None, set())
