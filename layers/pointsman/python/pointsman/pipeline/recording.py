"""Records events: merges them into the catalogs, durably, before anything is computed from them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from pointsman.model.catalog import EMPTY, Catalog, catalog_json, merge, vanished
from pointsman.model.errors import InvalidInput
from pointsman.model.events import HealthEvent
from pointsman.model.index_doubt import index_doubt
from pointsman.model.keys import gateways_key, service_key
from pointsman.model.lease import Lease
from pointsman.model.shared_source import contradiction
from pointsman.model.since import time_doubt
from pointsman.model.stale import Stale, stale
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.objects import seal
from pointsman.pipeline.renewals import Renewals, lease_key
from pointsman.store import keys
from pointsman.store.protocol import Stored, Write

MOST_CATALOG_BYTES: Final = 64 * 1024 * 1024
"""Bytes of the instances of one service in one datacenter, from all sources together."""


class Recorded(NamedTuple):
    """What one event did to its catalog.

    `revision` is the catalog's after it. `new` is whether the catalog recorded anything of it, `changed` whether the
    instances or their checks changed: a list that states the same at a greater index is new and changes nothing.
    `stale` is what its source had already outranked, `doubt` what looks wrong about its index or time. `vanished`
    counts the instances that a full list removed, if those were most of what its source had. `lease` is that of its
    source, if the event carries one. `shared` is why two producers seem to use the name of its source. `catalog` is the
    key of its catalog, "" if it does nothing but renew a lease.
    """

    revision: int
    new: bool
    changed: bool = False
    stale: Stale | None = None
    doubt: str = ""
    vanished: int = 0
    lease: Lease | None = None
    shared: str = ""
    catalog: str = ""


def catalog_key(event: HealthEvent) -> str:
    """The key of the event's catalog. One that does nothing but renew a lease has none."""
    if event.service is None:
        return gateways_key(event.datacenter)
    return service_key(event.datacenter, event.service)


def record(engine: Engine, events: Sequence[HealthEvent]) -> list[Recorded | Exception]:
    """Merge `events` into their catalogs, in order, and renew their leases. Returns for each event what it did, or the
    error.

    All catalogs and leases are read together with the config head, which becomes the engine's current one, and written
    together. A catalog whose write loses a race is read again, alone. An unreadable catalog, or an event that makes its
    catalog too large (InvalidInput), fails alone. Raises StoreUnavailable if the store cannot be reached: written
    catalogs stay written, and recording the events again changes nothing.
    """
    outcomes: dict[int, Recorded | Exception] = {}
    pending: dict[str, list[int]] = {}
    catalogs = [None if event.is_alive else catalog_key(event) for event in events]
    renewals, at_first = Renewals(engine, events, catalogs), datetime.fromisoformat(engine.now())
    for number, catalog in enumerate(catalogs):
        if catalog is None:
            outcomes[number] = Recorded(0, new=False, doubt=index_doubt(EMPTY, events[number], at_first))
        else:
            pending.setdefault(catalog, []).append(number)
    for _ in range(ATTEMPTS):
        found = engine.store.get_many([*map(keys.catalog, pending), *renewals.pending, keys.CONFIG_HEAD])
        now = datetime.fromisoformat(engine.now())
        engine.look(found.get(keys.CONFIG_HEAD))
        folds: list[_Fold] = []
        for key, numbers in pending.items():
            try:
                folds.append(
                    _Fold(engine, key, found.get(keys.catalog(key)), [events[each] for each in numbers], now=now)
                )
            except Exception as error:  # even a defect concerns only this catalog
                outcomes |= dict.fromkeys(numbers, error)
        writes = [*(fold.write for fold in folds if fold.write is not None), *renewals.writes(found)]
        etags = {each.key: each.etag for each in (engine.store.put_many(writes) if writes else ())}
        renewals.done(etags)
        lost: dict[str, list[int]] = {}
        for fold in folds:
            if fold.write is not None:
                if (etag := etags[fold.write.key]) is None:
                    lost[fold.key] = pending[fold.key]
                    continue
                engine.readings.keep(fold.key, fold.catalog, fold.serial, etag=etag, size=len(fold.write.data))
            outcomes |= zip(pending[fold.key], fold.outcomes, strict=True)
        pending = lost
        if not pending and not renewals.pending:
            break
    for key, numbers in pending.items():
        outcomes |= dict.fromkeys(numbers, Contended(f"the catalog {key} is contended; run the event again"))
    renewals.give_up()
    return [_renewed(outcomes[number], renewals, number, event) for number, event in enumerate(events)]


def _renewed(
    outcome: Recorded | Exception, renewals: Renewals, number: int, event: HealthEvent
) -> Recorded | Exception:
    """`outcome` of an event, with what came of its lease."""
    key = lease_key(event)
    if key is None or isinstance(outcome, Exception):
        return outcome
    if number in renewals.failed:
        return renewals.failed[number]
    new = number in renewals.new if event.is_alive else outcome.new
    return outcome._replace(
        new=new,
        doubt="; ".join(filter(None, [outcome.doubt, renewals.remarks.get(number, "")])),
        lease=renewals.leases.get(key),
        shared=outcome.shared or renewals.shared.get(number, ""),
    )


class _Fold:
    """One catalog with events merged into it: its next content, its write (None if nothing changes), and the outcome of
    each event."""

    def __init__(
        self, engine: Engine, key: str, stored: Stored | None, events: Sequence[HealthEvent], *, now: datetime
    ) -> None:
        """Raises StoreError if the catalog is damaged."""
        reading = engine.readings.read(key, stored)
        self.key, self.catalog, self.serial = key, reading.catalog, reading.serial + 1
        self.write: Write | None = None
        self.outcomes: list[Recorded | InvalidInput] = []
        self._stored, self._is_there = stored, reading.etag is not None
        self._nonce, self._now = engine.nonce, now
        if not self._take(events):
            # With all of them it is too large, so each is merged by itself, while there is room.
            self.catalog, self._is_there = reading.catalog, reading.etag is not None
            self.outcomes.clear()
            for event in events:
                if not self._take([event]):
                    self.outcomes.append(_no_room(key, event))

    def _take(self, events: Sequence[HealthEvent]) -> bool:
        """Merge `events`. False if that makes the catalog too large; then only `outcomes` changed."""
        catalog, is_there, outcomes = self.catalog, self._is_there, list[Recorded | InvalidInput]()
        for event in events:
            merged = merge(catalog, event)
            is_new = merged is not catalog or not is_there
            outcomes.append(
                Recorded(
                    merged.revision,
                    new=is_new,
                    changed=merged.revision > catalog.revision,
                    stale=stale(merged, event),
                    doubt=_doubt(catalog, event, self._now),
                    shared=contradiction(catalog, event),
                    vanished=vanished(catalog, merged, event.source) if event.full and is_new else 0,
                    catalog=self.key,
                )
            )
            catalog, is_there = merged, True
        if catalog is not self.catalog or not self._is_there:
            data = seal(catalog_json(catalog), self.serial, self._nonce())
            if len(data) > max(MOST_CATALOG_BYTES, len(self._stored.data) if self._stored else 0):
                return False
            self.write = Write(keys.catalog(self.key), data, self._stored.etag if self._stored else None)
        self.catalog, self._is_there = catalog, is_there
        self.outcomes += outcomes
        return True


def _doubt(catalog: Catalog, event: HealthEvent, now: datetime) -> str:
    about_index, about_time = index_doubt(catalog, event, now), time_doubt(event)
    return f"{about_index}; {about_time}" if about_index and about_time else about_index or about_time


def _no_room(key: str, event: HealthEvent) -> InvalidInput:
    reason = f"with this event its catalog {key} is larger than {MOST_CATALOG_BYTES} bytes; nothing was changed"
    return InvalidInput.single(f'event of "{event.source}"', "", f"{reason}; remove instances from it first")
