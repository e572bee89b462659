"""Reads heads, each version once, with what their contents were computed from."""

from dataclasses import dataclass, field

from pointsman.chain.plan import Plan
from pointsman.model.orders import Order
from pointsman.model.stored import Damaged, number, parse
from pointsman.pipeline.kept import Kept
from pointsman.pipeline.objects import number_beyond
from pointsman.store import keys
from pointsman.store.protocol import Store, Stored
from pointsman.xds.content import Content
from pointsman.xds.snapshot import Provenance, Snapshot, read_snapshot


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a content was computed from: the plan, the trust domain, the etag of each catalog and silence, and its
    orders.

    Equal inputs give equal content until it is `due` to be computed again (milliseconds since 1970), if it is.
    """

    plan: Plan
    trust_domain: str
    etags: tuple[str | None, ...]
    orders: tuple[Order, ...] = ()
    due: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class HeadReading:
    """A head as it was read (None if there is none), with the `etag` and `serial` to swap it.

    `inputs` are those of its content, if this process computed it.
    """

    snapshot: Snapshot | None
    serial: int
    etag: str | None
    data: bytes
    inputs: Inputs | None = None


NO_HEAD_READING = HeadReading(None, 0, None, b"")


class HeadReadings:
    """The parsed heads of a process, by the keys of their plans. Safe for several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept = Kept[str, HeadReading]()

    def read(self, plan_key: str, stored: Stored | None, now: str) -> HeadReading:
        """The head in `stored`, as `read_head_object` reads it."""
        if stored is None:
            return NO_HEAD_READING
        kept = self._kept.get(plan_key)
        if kept is not None and kept.etag == stored.etag:
            return kept
        return read_head_object(self._store, plan_key, stored, now)

    def keep(self, plan_key: str, reading: HeadReading) -> None:
        """Remember a head that was read or written."""
        if reading.etag is not None and reading.data:
            self._kept.keep(plan_key, reading, len(reading.data))


def read_head_object(store: Store, plan_key: str, stored: Stored | None, now: str) -> HeadReading:
    """The head in `stored`.

    An unreadable one counts as lost: its replacement gets a version greater than any published one, so that no Envoy
    has to go back. The history alone does not show how great that is, because it expires, and a crash may have kept
    versions out of it. But no head changes every second, so the seconds since 1970 are greater. Raises NewerSchema for
    one that a newer Pointsman wrote, which is not lost.
    """
    if stored is None:
        return NO_HEAD_READING
    try:
        body = parse(stored.data)
        return HeadReading(read_snapshot(body), number(body, "serial"), stored.etag, stored.data)
    except Damaged:
        past = (keys.version_of(each.key) for each in store.list(keys.history_of(plan_key)))
        known = max((version for version in past if version is not None), default=0)
        last = max(known + 1, number_beyond(now))
        lost = Snapshot(last, Content(b"", b"", "", (), ""), Provenance(0, 0, {}), "", "", retired=True)
        return HeadReading(lost, last, stored.etag, b"")
