"""Leases: for how long what a source says of a datacenter stands, unless the source is heard again.

A datacenter that burns takes its producers along and sends no event. So a source may promise to be heard at least as
often as its *lease* says. An observer that has not heard it for a whole lease writes that it is *silent*, and
selection reads only what is written (docs/architecture.md, "Leases").
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pointsman.model.instance import Instance
from pointsman.model.stored import Body, Damaged, Kind, check_kind, mapping, number, shown, tagged, text, texts, truth

if TYPE_CHECKING:
    from pointsman.model.events import HealthEvent

MOST_CATALOGS: Final = 1_000
"""Catalogs that are noted for a source."""

MOST_SENDERS: Final = 4
"""Earlier senders that are remembered for a source."""

Place = tuple[int, int]
"""Epoch and index of an event: its place among all events of its source."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What is known of a source in a datacenter: its lease, and when it was last heard.

    `lease_ms` is 0 for a source without one. `heard` is the place of the newest event with a lease. `catalogs` are the
    keys of the catalogs of which it has spoken, in order; None if these are unknown, or more than MOST_CATALOGS.
    `at` is when it was last heard, by the clock of who took the event in (RFC 3339), for information. `sender` is who
    spoke in its name last, "" if unknown, and `replaced` who did before, the latest first.
    """

    source: str
    datacenter: str
    lease_ms: int
    heard: Place
    catalogs: tuple[str, ...] | None
    at: str
    sender: str = ""
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Silent:
    """A silent source: the `place` of the last event that was heard of it, and `since` when it is silent (RFC 3339).

    One that `is_back` was heard again and counts as heard, but not all that it says may be published anew yet.
    """

    place: Place
    since: str
    is_back: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """The silent sources of one datacenter, by name. `revision` grows by one with every change of who they are."""

    revision: int = 0
    sources: Mapping[str, Silent] = field(default_factory=dict)

    def has(self, source: str) -> bool:
        """Whether `source` is silent."""
        known = self.sources.get(source)
        return known is not None and not known.is_back


def renewed(
    lease: Lease | None, event: "HealthEvent", catalog: str | None, at: str, *, lost: bool = False
) -> Lease | None:
    """`lease` after `event`, which carries one and speaks of `catalog`; the same object if it says nothing new.

    `lost` is whether there was a lease that cannot be read.

    An event that is not newer than the last one renews nothing, so that no redelivery revives a source.
    """
    if event.lease_ms is None:
        return lease
    place = (event.epoch, event.index)
    known = lease.catalogs if lease else None if lost else ()
    catalogs = known
    if catalog is not None and known is not None and catalog not in known:
        catalogs = tuple(sorted({*known, catalog})) if len(known) < MOST_CATALOGS else None
    if lease is None or place > lease.heard:
        sender, replaced = _senders(lease, event.sender)
        return Lease(event.source, event.datacenter, event.lease_ms, place, catalogs, at, sender, replaced)
    return lease if catalogs == known else replace(lease, catalogs=catalogs)


def _senders(lease: Lease | None, sender: str) -> tuple[str, tuple[str, ...]]:
    """Who speaks in the name of the source now, and who did before."""
    if lease is None:
        return sender, ()
    if not sender or sender == lease.sender or not lease.sender:
        return sender or lease.sender, lease.replaced
    return sender, (lease.sender, *(each for each in lease.replaced if each != sender))[:MOST_SENDERS]


def silenced(silence: Silence, leases: Iterable[Lease], since: str) -> Silence:
    """`silence` with the sources of these leases; the same object if it has them."""
    more = {
        lease.source: Silent(lease.heard, since)
        for lease in leases
        if (known := silence.sources.get(lease.source)) is None or known.place < lease.heard
    }
    if not more:
        return silence
    return Silence(silence.revision + 1, {**silence.sources, **more})


def heard_again(silence: Silence, leases: Iterable[Lease]) -> Silence:
    """`silence` with the sources back that were heard since, as their leases say; the same object if there are none."""
    back = {
        lease.source: replace(silence.sources[lease.source], is_back=True)
        for lease in leases
        if silence.has(lease.source) and (silence.sources[lease.source].place < lease.heard or not lease.lease_ms)
    }
    return Silence(silence.revision + 1, {**silence.sources, **back}) if back else silence


def published_again(silence: Silence, leases: Iterable[Lease]) -> Silence:
    """`silence` without these sources, if they are back: all that they say is published. The same object if none is."""
    back = {lease.source for lease in leases if lease.source in silence.sources and not silence.has(lease.source)}
    if not back:
        return silence
    return replace(silence, sources={name: each for name, each in silence.sources.items() if name not in back})


def marked(instances: Iterable[Instance], silence: Silence) -> list[Instance]:
    """`instances`, those of silent sources marked so."""
    return [replace(each, silent=True) if silence.has(each.source) else each for each in instances]


def lease_json(lease: Lease) -> Body:
    """`lease` as plain JSON values; `read_lease` is its inverse."""
    return tagged(
        Kind.LEASE,
        {
            "source": lease.source,
            "datacenter": lease.datacenter,
            "lease_ms": lease.lease_ms,
            "epoch": str(lease.heard[0]),
            "index": str(lease.heard[1]),
            "catalogs": None if lease.catalogs is None else list(lease.catalogs),
            "at": lease.at,
            "sender": lease.sender,
            "replaced": list(lease.replaced),
        },
    )


def read_lease(body: object) -> Lease:
    """The lease that `lease_json` wrote. Raises Damaged or NewerSchema for anything else."""
    body = check_kind(body, Kind.LEASE)
    return Lease(
        source=text(body, "source"),
        datacenter=text(body, "datacenter"),
        lease_ms=number(body, "lease_ms"),
        heard=_place(body, "epoch", "index"),
        catalogs=None if body.get("catalogs") is None else texts(body, "catalogs"),
        at=text(body, "at"),
        # Those of older writers have neither.
        sender=text({"sender": "", **body}, "sender"),
        replaced=texts({"replaced": [], **body}, "replaced"),
    )


def silence_json(silence: Silence) -> Body:
    """`silence` as plain JSON values; `read_silence` is its inverse."""
    sources = {
        name: {
            "epoch": str(each.place[0]),
            "index": str(each.place[1]),
            "since": each.since,
            "back": each.is_back,
        }
        for name, each in sorted(silence.sources.items())
    }
    return tagged(Kind.SILENCE, {"revision": silence.revision, "sources": sources})


def read_silence(body: object) -> Silence:
    """The silence that `silence_json` wrote. Raises Damaged or NewerSchema for anything else."""
    body = check_kind(body, Kind.SILENCE)
    found = mapping(body, "sources")
    sources = {}
    for name in found:
        each = mapping(found, name)
        sources[name] = Silent(_place(each, "epoch", "index"), text(each, "since"), truth(each, "back"))
    return Silence(number(body, "revision"), sources)


def _place(body: Body, epoch: str, index: str) -> Place:
    """A place, whose numbers may be greater than what every reader of JSON represents: they are written as texts."""
    return _written(body, epoch), _written(body, index)


def _written(body: Body, field: str) -> int:
    found = text(body, field)
    if len(found) <= 20 and found.isascii() and found.isdecimal():
        return int(found)
    raise Damaged(f"its {field} is {shown(found)}, which is not a number")
