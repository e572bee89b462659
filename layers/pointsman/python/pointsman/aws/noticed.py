"""A store that is followed by notices: what moved comes by itself, and the store is seldom asked."""

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
"""Seconds after which everything followed is read again in case a notice got lost, chosen between by identity."""

SETTLING_S = 900.0
"""Seconds that SNS may take until a filter policy is in effect:
https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html. So long, everything is read again
three times as often."""


MOST_HEARD_BYTES = 64 * 1024 * 1024
"""Of objects that notices brought and that wait to be taken; beyond that everything is read from the store instead."""

_KEY_BYTES = 1024
"""What a notice counts for that names its object alone."""


class NoticedStore:
    """The store within, for one follower that hears of its `datacenters` (empty: of all) by notices.

    While notices are heard, `changes` with a cursor takes what they bring and asks the store within for three things
    alone: objects too large for a notice, those of other datacenters, and, every 30 to 60 s, whether anything is not
    as it is known. While none are heard it asks for everything, as one would without notices.

    A notice changes nothing that the follower would not take from the store. An older one than what was seen is old
    news; one about a key that is not followed is forgotten, since whoever follows it later reads the store first.
    Where the store itself goes back, restored from a backup, its next notices are old news as well: what it has is
    learnt from the next reread, or from `get_many`, whichever comes first.
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
        """Hear over the queue that `make` makes, from `start` on. `identity` spreads the rereads of a fleet."""
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
        """Begin to hear. It comes back at once."""
        self._listener.start()

    @property
    def hearing(self) -> bool:
        """Whether notices are heard."""
        return self._listener.hearing > 0

    @property
    def deaf_because(self) -> str:
        """Why no notices are heard; empty while they are."""
        return self._listener.problem

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """What is not as it is known, as a Store tells; with a cursor, what notices brought since the last such call.

        Raises StoreError only where there was nothing else to tell.
        """
        turn, now = self._listener.hearing, self._clock()
        if not cursor:
            if not known:
                self._compared = (turn, now)
            found = self._store.changes(known, "")
            return Changes(self._noted(found.objects), str(self._cursor), found.gone)
        objects, large, news = self._take(known)
        # A cursor that stays says that nobody wrote a manifest: a listing for new proxies is saved.
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
                    self._ages.pop(key, None)  # what is put there again begins anew
                if every:
                    self._compared = (turn, now)
                    self._forget(known)
        self._cursor += every
        return Changes(objects, str(self._cursor), gone)

    def wait(self, cursor: str, timeout: float) -> bool:
        """Block until a notice has come, a reread is due or notices cease; at most `timeout` seconds.

        While none are heard it is as long as that, unless they begin: so often the store is asked then.
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
        """Remove the queue, and close the store within."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        try:
            self._listener.close()
        finally:
            self._store.close()

    def get(self, key: str) -> Stored | None:
        """As the store within."""
        return self._store.get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """As the store within, which is asked: it is right, also about what is older than what was heard of."""
        found = self._store.get_many(keys)
        self._noted(list(found.values()))
        return found

    def put(self, write: Write) -> Written:
        """As the store within."""
        return self._store.put(write)

    def put_many(self, writes: Sequence[Write]) -> list[Written]:
        """As the store within."""
        return self._store.put_many(writes)

    def list(self, prefix: str) -> Iterator[Listed]:
        """As the store within."""
        return self._store.list(prefix)

    def _hear(self, texts: Sequence[str]) -> None:
        """Keep what notices say for the next call of `changes`."""
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
        """Of what was heard since the last time: the objects that are news, the keys to read, and whether anything
        was about what is known or could become so."""
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
        """`objects`, which the store has, with their ages noted: the store is right about what is older."""
        for each in objects:
            self._ages[each.key] = _age(each.data)
        return [*objects]

    def _forget(self, known: Mapping[str, str | None]) -> None:
        self._ages = {key: age for key, age in self._ages.items() if key in known}

    def _is_due(self, turn: int, now: float) -> bool:
        """Whether the store has to be asked for everything: what was written before one heard, or went unheard."""
        return not turn or turn != self._compared[0] or now - self._compared[1] >= self._period()

    def _period(self) -> float:
        return self._reread / 3 if self._listener.settling(SETTLING_S) else self._reread

    def _is_heard_of(self, key: str) -> bool:
        """Whether notices tell of `key`, which is `snapshots/dc1/...` or `manifests/dc1/...`."""
        return not self._datacenters or keys.datacenter_of(key) in self._datacenters


def _age(data: bytes) -> Age:
    try:
        return age_of(parse(data))
    except Damaged:
        return NO_AGE


def _etag(data: bytes) -> str:
    """The etag that S3 gives to an object that is put at once into a bucket with SSE-S3:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html. Where it is another one (KMS), the next reread
    fetches the object once more and learns it."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def noticed(store: Store, topic: MeshTopic, datacenters: Set[str], host: str) -> NoticedStore:
    """`store` followed by notices over `topic`, not started yet. Raises PointsmanError if there is no client for it."""
    make = queue_maker(topic, sorted(datacenters), host)
    return NoticedStore(store, make, datacenters, identity=host)
