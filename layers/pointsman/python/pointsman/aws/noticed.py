"""A store followed by notices: changes arrive as notices, and the store is rarely read."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from pointsman.aws.listener import PAUSES, Listener, share
from pointsman.aws.notices import NO_AGE, Age, age_of, read_notice
from pointsman.aws.queue import NoticeQueue, queue_maker
from pointsman.aws.topic import MeshTopic
from pointsman.model.stored import Damaged, parse
from pointsman.store import keys
from pointsman.store.protocol import Changes, Listed, Store, Stored, StoreError, Write, Written

_Objects = list[Stored]

REREAD = (30.0, 60.0)
"""Seconds after which everything followed is read again, in case a notice was lost. The identity chooses a point
between the two."""

SETTLING_S = 900.0
"""Seconds that SNS may take until a filter policy is in effect:
https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html. During this time everything is read
again three times as often."""


MOST_HEARD_BYTES = 64 * 1024 * 1024
"""Bytes of objects received in notices and not yet taken; beyond that everything is read from the store instead."""

_KEY_BYTES = 1024
"""Bytes counted for a notice that only names its object."""


class NoticedStore:
    """Wraps a store, for one follower that receives notices of its `datacenters` (empty: all).

    While notices arrive, `changes` with a cursor returns what they bring and reads the wrapped store only for objects
    too large for a notice, for those of other datacenters, and every 30 to 60 s to check everything. While none arrive,
    it reads everything, as without notices.

    A notice never changes more than a read would. One that is older than what was seen is ignored; one about a key that
    is not followed is dropped, since a new follower of the key reads the store first. If the store itself goes back,
    restored from a backup, its next notices look old as well: the next full read, or `get_many`, learns what it holds.
    """

    def __init__(
        self,
        store: Store,
        make: Callable[[], NoticeQueue],
        datacenters: Set[str] = frozenset(),
        *,
        identity: str = "",
        reread: tuple[float, float] = REREAD,
        clock: Callable[[], float] = time.monotonic,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """Receive from the queue that `make` creates, once `start` was called. `identity` spreads the full reads of a
        fleet."""
        self._store, self._datacenters, self._clock = store, datacenters, clock
        self._reread = reread[0] + (reread[1] - reread[0]) * share(identity)
        self._changed = threading.Condition()
        self._heard: dict[str, tuple[Age, bytes]] = {}
        self._large: set[str] = set()
        self._heard_bytes, self._lost = 0, False
        self._ages: dict[str, Age] = {}
        self._compared = (0, 0.0)
        self._cursor = 1
        self._closed = False
        self._listener = Listener(make, self._hear, on_turn=self._wake, clock=clock, pauses=pauses)

    def start(self) -> None:
        """Start to receive, and return at once."""
        self._listener.start()

    @property
    def hearing(self) -> bool:
        """Whether notices arrive."""
        return self._listener.hearing > 0

    @property
    def deaf_because(self) -> str:
        """Why no notices arrive; "" while they do."""
        return self._listener.problem

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """What differs from `known`, as a Store returns it; with a cursor, what notices brought since the last such
        call.

        Raises StoreError only if there is nothing else to return.
        """
        turn, now = self._listener.hearing, self._clock()
        if not cursor:
            if not known:
                self._compared = (turn, now)
            found = self._store.changes(known, "")
            return Changes(self._noted(found.objects), str(self._cursor), found.gone)
        objects, large, news = self._take(known)
        # An unchanged cursor says that no manifest was written, which saves listing for new proxies.
        self._cursor += news
        every = self._is_due(turn, now)
        asked = {
            key: etag
            for key, etag in (dict(known) | {each.key: each.etag for each in objects}).items()
            if every or key in large or not self._is_heard_of(key)
        }
        gone: Set[str] = frozenset()
        if asked:
            try:
                found = self._store.changes(asked, "")
            except StoreError:
                with self._changed:
                    self._large |= large
                if not objects:
                    raise
            else:
                objects += self._noted(found.objects)
                gone = found.gone
                for key in gone:
                    self._ages.pop(key, None)  # a later object under this key starts with a new age
                if every:
                    self._compared = (turn, now)
                    self._forget(known)
        self._cursor += every
        return Changes(objects, str(self._cursor), gone)

    def wait(self, cursor: str, timeout: float) -> bool:
        """Block until a notice arrives, a full read is due or notices stop; at most `timeout` seconds.

        While none arrive, it waits for all of `timeout` unless they start: the store is then read at that interval.
        """
        if self._closed:
            return self._store.wait(cursor, 0)
        turn, now = self._listener.hearing, self._clock()
        if turn:
            timeout = max(0.0, min(timeout, self._compared[1] + self._period() - now))
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._heard or self._large or self._lost or self._listener.hearing != turn,
                timeout,
            )
            return not self._closed

    def close(self) -> None:
        """Remove the queue, and close the wrapped store."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        try:
            self._listener.close()
        finally:
            self._store.close()

    def get(self, key: str) -> Stored | None:
        """As the wrapped store."""
        return self._store.get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """As the wrapped store, whose answer is right even if it is older than what notices brought."""
        found = self._store.get_many(keys)
        self._noted(list(found.values()))
        return found

    def put(self, write: Write) -> Written:
        """As the wrapped store."""
        return self._store.put(write)

    def put_many(self, writes: Sequence[Write]) -> list[Written]:
        """As the wrapped store."""
        return self._store.put_many(writes)

    def list(self, prefix: str) -> Iterator[Listed]:
        """As the wrapped store."""
        return self._store.list(prefix)

    def _hear(self, texts: Sequence[str]) -> None:
        """Keep the content of notices for the next call of `changes`."""
        with self._changed:
            for text in texts:
                notice = read_notice(text)
                if notice is None:
                    continue
                self._heard_bytes += len(notice.data) if notice.data is not None else _KEY_BYTES
                if self._heard_bytes > MOST_HEARD_BYTES:
                    self._heard, self._large, self._heard_bytes, self._lost = {}, set(), 0, True
                    continue
                if notice.data is None:
                    self._large.add(notice.key)
                    continue
                age = notice.age
                known = self._heard.get(notice.key)
                if age > NO_AGE and (known is None or known[0] < age):
                    self._heard[notice.key] = age, notice.data
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _take(self, known: Mapping[str, str | None]) -> tuple[_Objects, set[str], bool]:
        """From the notices since the last call: the new objects, the keys to read, and whether any notice was about a
        known key or one that could become known."""
        with self._changed:
            heard, self._heard = self._heard, {}
            large, self._large = self._large, set()
            if self._lost:
                self._compared = (0, 0.0)
            self._heard_bytes, self._lost = 0, False
        objects = []
        for key, (age, data) in heard.items():
            if key in known and age > self._ages.get(key, NO_AGE):
                self._ages[key] = age
                objects.append(Stored(key, data, _etag(data)))
        manifests = any(keys.is_manifest(key) for key in (*heard, *large))
        large &= known.keys()
        return objects, large, bool(objects or large or manifests)

    def _noted(self, objects: Sequence[Stored]) -> _Objects:
        """`objects`, read from the store, with their ages recorded even where they are older."""
        for each in objects:
            self._ages[each.key] = _age(each.data)
        return [*objects]

    def _forget(self, known: Mapping[str, str | None]) -> None:
        self._ages = {key: age for key, age in self._ages.items() if key in known}

    def _is_due(self, turn: int, now: float) -> bool:
        """Whether everything has to be read: for changes before notices arrived, or whose notices were lost."""
        return not turn or turn != self._compared[0] or now - self._compared[1] >= self._period()

    def _period(self) -> float:
        return self._reread / 3 if self._listener.settling(SETTLING_S) else self._reread

    def _is_heard_of(self, key: str) -> bool:
        """Whether notices cover `key`, which is `snapshots/dc1/...` or `manifests/dc1/...`."""
        return not self._datacenters or keys.datacenter_of(key) in self._datacenters


def _age(data: bytes) -> Age:
    try:
        return age_of(parse(data))
    except Damaged:
        return NO_AGE


def _etag(data: bytes) -> str:
    """The etag that S3 gives to an object written in one request into a bucket with SSE-S3:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html. If the real one differs (KMS), the next full read
    fetches the object once more and learns it."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def noticed(store: Store, topic: MeshTopic, datacenters: Set[str], host: str) -> NoticedStore:
    """`store` followed by notices over `topic`, not started yet. Raises PointsmanError if no AWS client can be
    created."""
    make = queue_maker(topic, sorted(datacenters), host)
    return NoticedStore(store, make, datacenters, identity=host)
