"""Reads from the store what is shown of the past."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from pointsman.model.duration import parse_duration
from pointsman.model.errors import InvalidInput
from pointsman.model.names import ServiceName
from pointsman.model.stored import Damaged, NewerSchema, parse
from pointsman.overview.generations import read_generations
from pointsman.overview.history import (
    Happening,
    History,
    Moment,
    Served,
    changes_of_config,
    history,
    in_force,
    orders_given,
    served,
    service_of_plan,
    silences,
    switches,
)
from pointsman.pipeline.config import load_root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.heard import sources
from pointsman.pipeline.known import known_names
from pointsman.pipeline.orders import read_orders_object
from pointsman.pipeline.settle import BATCH
from pointsman.store import keys
from pointsman.store.protocol import Listed, Stored
from pointsman.xds.snapshot import Snapshot, read_snapshot

MOST_VERSIONS: Final = 200
"""Superseded versions of one cluster that are read for one question, the newest of the span that is asked for."""

SLACK_SECONDS: Final = 60.0
"""Seconds by which the clock of the store may differ from that of who published."""

_NANOSECONDS: Final = 1_000_000_000


def read_span(text: str, now: str) -> str:
    """The moment that was so long before `now` (RFC 3339, UTC): `text` is a duration, such as 1h or 90m.

    Raises InvalidInput.
    """
    try:
        seconds = parse_duration(text) / _NANOSECONDS
        found = datetime.fromisoformat(now) - timedelta(seconds=seconds)
    except (ValueError, OverflowError) as error:
        raise InvalidInput.single("history", "since", f'"{text[:64]}" is no such duration: {error}') from None
    return _text(found)


def read_moment(text: str, now: str) -> str:
    """The moment in `text` (RFC 3339 with an offset; or HH:MM or HH:MM:SS in UTC, the last such before `now`), as RFC
    3339 in UTC. Raises InvalidInput."""
    today = datetime.fromisoformat(now).astimezone(UTC)
    try:
        if len(text) <= len("12:03:00"):
            clock = datetime.strptime(text, "%H:%M:%S" if text.count(":") == 2 else "%H:%M")
            found = today.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0)
            found -= timedelta(days=1) if found > today else timedelta()
        else:
            found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError("it has no time zone")
        found = found.astimezone(UTC)
    except (ValueError, OverflowError):
        reason = f'"{text[:64]}" is not a time like 12:03 (UTC) or 2026-11-27T12:03:00Z'
        raise InvalidInput.single("history", "at", reason) from None
    if found > today:
        raise InvalidInput.single("history", "at", f"{_text(found)} is later than now")
    return _text(found)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_history(engine: Engine, since: str, service: ServiceName | None = None, datacenter: str = "") -> History:
    """What happened from `since` until now, about all services or one, as all sidecars saw it or those of one
    datacenter.

    Read are only the clusters that moved since, and of each the MOST_VERSIONS newest versions. Raises InvalidInput if
    nothing names the service or the datacenter, and StoreError.
    """
    until, started = engine.now(), _seconds(since) - SLACK_SECONDS
    listed = [each for each in _clusters(engine, service, datacenter) if each.written >= started]
    found: list[Happening] = []
    more = False
    for plan_key, head in _heads(engine, listed):
        versions = [head] if head is not None else []
        if head is None or head.published >= since or head.retired:
            past = _past(engine, plan_key, started)
            more |= len(past) > MOST_VERSIONS
            # The one that was superseded first was the current one when the span began, if all of them are read.
            versions = [*_read(engine, past[-MOST_VERSIONS:]), *versions]
        found += switches(plan_key, versions, since)
    found += orders_given(read_orders_object(engine.store.get(keys.ORDERS)).orders, since, service)
    if service is None:
        found += changes_of_config(read_generations(engine, since), since)
        told = sources(engine)
        found += silences([each for each in told if datacenter in ("", each.datacenter)], since)
    return history(since, until, found, more=more)


def read_moment_of(engine: Engine, at: str, service: ServiceName | None = None, datacenter: str = "") -> Moment:
    """Who served `at` a moment. Raises as `read_history` does."""
    out: list[Served] = []
    unknown: list[str] = []
    listed = list(_clusters(engine, service, datacenter))
    written = {keys.plan_of(each.key): each.written for each in listed}
    for plan_key, head in _heads(engine, listed):
        if head is not None and head.retired and written[plan_key] <= _seconds(at):
            continue  # it had ended
        snapshot = head if head is not None and head.published <= at else None
        if snapshot is None:
            past = _past(engine, plan_key, _seconds(at) - SLACK_SECONDS)
            snapshot = in_force(_read(engine, past[:MOST_VERSIONS]), at)
        if snapshot is not None:
            out.append(served(plan_key, snapshot))
        else:
            unknown.append(plan_key)
    return Moment(at, tuple(sorted(out, key=lambda each: (each.datacenter, each.cluster))), tuple(sorted(unknown)))


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _clusters(engine: Engine, service: ServiceName | None, datacenter: str) -> Iterator[Listed]:
    """The heads of the sidecars' clusters, also of those that ended."""
    found = False
    for each in engine.store.list(f"{keys.SNAPSHOTS}{datacenter}/" if datacenter else keys.SNAPSHOTS):
        about = service_of_plan(keys.plan_of(each.key))
        if about is not None and service in (None, about):
            found = True
            yield each
    if not found and (service is not None or datacenter):
        known = known_names(engine, engine.config(load_root(engine.objects, engine.refresh().root)))
        if service is not None:
            known.check_service(f'service "{service.name}"', service)
        if datacenter:
            known.check_datacenter("history", "dc", datacenter)


def _heads(engine: Engine, listed: list[Listed]) -> Iterator[tuple[str, Snapshot | None]]:
    """The heads by the keys of their plans; None for one that cannot be read."""
    left = iter(sorted(each.key for each in listed))
    while some := list(islice(left, BATCH)):
        for key, stored in sorted(engine.store.get_many(some).items()):
            yield keys.plan_of(key), _parsed(stored)


def _past(engine: Engine, plan_key: str, started: float) -> list[str]:
    """The keys of the versions that were superseded since, the oldest first."""
    found = engine.store.list(keys.history_of(plan_key))
    return [each.key for each in sorted(found, key=lambda each: (each.written, each.key)) if each.written >= started]


def _read(engine: Engine, names: list[str]) -> list[Snapshot]:
    """The versions under these keys, in their order; without those that cannot be read or were removed meanwhile."""
    found = engine.store.get_many(names)
    read = (_parsed(found[name]) for name in names if name in found)
    return sorted((each for each in read if each is not None), key=lambda each: (each.published, each.at, each.version))


def _parsed(stored: Stored) -> Snapshot | None:
    try:
        return read_snapshot(parse(stored.data))
    except (Damaged, NewerSchema):
        return None
