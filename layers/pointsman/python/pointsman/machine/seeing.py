"""Writes what the adapters of this process see of their Envoys into the store, for people."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final
from uuid import uuid4

from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.report.fetcher import Fetcher
from pointsman.adapter.report.rejection import Rejection, moment
from pointsman.discovery.mark import Mark, mark_of
from pointsman.discovery.proxy import ProxyId
from pointsman.model.seen import (
    TOLD_AGAIN_SECONDS,
    TOLD_EVERY_SECONDS,
    Lack,
    Seen,
    SeenEnvoy,
    SeenProxy,
    Why,
    bounded,
    same,
)
from pointsman.pipeline.seen import write_seen
from pointsman.store.protocol import Store, StoreError

_log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 5.0
"""Seconds between two looks at the Envoys. What an Envoy has not confirmed at two looks, it lacks."""

_SHARE: Final = 200
"""A look may take this part of the time between two: with ten thousand Envoys they are further apart."""

_LEAVE_SECONDS: Final = 1.0
"""Seconds that the end of the process waits for a write."""

Source = tuple[Follower, Callable[[], Iterable[Fetcher]]]
"""Where an adapter has its views from, and its Envoys."""


class Sight:
    """Makes what is seen from what the adapters say now and said before. For one thread."""

    def __init__(self, adapter: str, now: Callable[[], float] = time.time) -> None:
        """`adapter` is the process's name for people; `now` returns Unix time in seconds."""
        self._adapter, self._now = adapter, now
        self._envoys: dict[tuple[str, ProxyId, str], str] = {}
        self._waiting: dict[tuple[str, ProxyId, str, str, str], str] = {}
        self._marks: dict[tuple[int, ProxyId], tuple[int, Mark, str]] = {}

    def look(
        self,
        sources: Iterable[Source],
        rejections: Iterable[Rejection] = (),
        problems: Mapping[ProxyId, Sequence[str]] | None = None,
        retired: Iterable[tuple[str, ProxyId, str, str]] = (),
    ) -> Seen:
        """What is seen now. `retired` are those whose registration was deleted: way, proxy, node and since when."""
        at = moment(self._now())
        beside: dict[tuple[ProxyId, str], list[Lack]] = {}
        for one in rejections:
            lack = Lack(Why.REJECTED, one.kind, one.name, one.reason, one.since)
            beside.setdefault((one.proxy, one.node), []).append(lack)
        over = {(way, proxy, node): since for way, proxy, node, since in retired}
        before_envoys, self._envoys = self._envoys, {}
        before_waiting, self._waiting = self._waiting, {}
        before_marks, self._marks = self._marks, {}
        found: dict[tuple[int, ProxyId], list[SeenEnvoy]] = {}
        for follower, fetchers in sources:
            ahead = set(follower.ahead_of())
            for way, proxy, node, waiting, static in fetchers():
                who = way, proxy, node
                since = self._envoys[who] = before_envoys.get(who, at)
                lacks = list(beside.pop((proxy, node), ()))
                for each in waiting:
                    what = (*who, each.kind, each.token)
                    if what in before_waiting:
                        why = Why.UNANSWERED if node else Why.UNWRITTEN
                        lacks.append(Lack(why, each.kind, each.name, each.reason, before_waiting[what]))
                    self._waiting[what] = before_waiting.get(what, at)
                if static:
                    what = (*who, "", "static")
                    self._waiting[what] = before_waiting.get(what, at)
                    lacks.append(Lack(Why.STATIC, "", "", static, self._waiting[what]))
                if (proxy, node) in ahead:
                    what = (*who, "", "ahead")
                    if what in before_waiting:
                        lacks.append(Lack(Why.AHEAD, "", "", "", before_waiting[what]))
                    self._waiting[what] = before_waiting.get(what, at)
                if who in over:
                    lacks.append(Lack(Why.RETIRED, "", "", "", over[who]))
                found.setdefault((id(follower), proxy), []).append(SeenEnvoy(node, way, since, tuple(lacks)))
                self._mark(follower, proxy, before_marks)
        for (proxy, node), rejected in beside.items():
            # An admin interface told of it: of who reads files only that knows the node.
            key = next((key for key in found if key[1] == proxy), None)
            if key is not None:
                found[key].append(SeenEnvoy(node, "admin", rejected[0].since, tuple(rejected)))
        proxies = [
            SeenProxy(
                str(proxy.key),
                *self._told(follower, proxy),
                tuple((problems or {}).get(proxy, ())),
                tuple(sorted(envoys, key=lambda each: (each.way, each.node))),
            )
            for (follower, proxy), envoys in found.items()
        ]
        return bounded(Seen(self._adapter, at, tuple(sorted(proxies, key=lambda each: (each.key, each.clusters)))))

    def _mark(
        self, follower: Follower, proxy: ProxyId, before: Mapping[tuple[int, ProxyId], tuple[int, Mark, str]]
    ) -> None:
        key = id(follower), proxy
        view = follower.view(proxy)
        if key in self._marks or view is None:
            return
        known = before.get(key)
        if known is None or known[0] != view.version:
            newest = max((each.published for each in view.snapshots.values()), default="")
            known = view.version, mark_of(view), newest
        self._marks[key] = known

    def _told(self, follower: int, proxy: ProxyId) -> tuple[str, str, str]:
        known = self._marks.get((follower, proxy))
        return (known[1].manifests, known[1].clusters, known[2]) if known else ("", "", "")


class Seeing:
    """Looks now and then, and writes what changed, at most every TOLD_EVERY_SECONDS, in a thread of its own.

    A process whose adapters no Envoy has asked yet writes nothing. A store that takes no writes is told of once; Envoys
    get what they get all the same.
    """

    def __init__(
        self,
        store: Store,
        addresses: Mapping[str, str],
        look: Callable[[], Seen],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`addresses` are those of this process, by way: with the host they are its id. `clock` returns seconds, from
        any zero."""
        self._store, self._look, self._clock = store, look, clock
        where = [f"{way} {address}" for way, address in sorted(addresses.items())]
        self._id = sha256("\n".join([socket.gethostname(), *where]).encode()).hexdigest()[:32]
        self._last: Seen | None = None
        self._written = float("-inf")
        self._etag: str | None = None
        self._problem = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="seeing", daemon=True)

    def __enter__(self) -> "Seeing":
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join(_LEAVE_SECONDS)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def turn(self) -> None:
        """Look once, and write what is to be written."""
        seen, now = self._look(), self._clock()
        if self._last is None and not seen.proxies:
            return
        age = now - self._written
        if age < (TOLD_AGAIN_SECONDS if same(self._last, seen) else TOLD_EVERY_SECONDS):
            return
        self._written = now
        try:
            self._etag = write_seen(self._store, self._id, seen, uuid4().hex, self._etag)
        except StoreError as error:
            self._note(str(error))
            return
        self._last = seen
        self._note("")

    def _note(self, problem: str) -> None:
        if problem and not self._problem:
            _log.warning(
                "what Envoys have is not written into the store, and `pointsman proxies` lacks it: %s", problem
            )
        elif self._problem and not problem:
            _log.info("what Envoys have is written into the store again")
        self._problem = problem

    def _run(self) -> None:
        pause = LOOK_SECONDS
        while not self._stop.wait(pause):
            began = time.thread_time()
            try:
                self.turn()
            except Exception:
                # It is for people alone: nothing that goes wrong with it may end the process.
                if not self._stop.is_set():
                    _log.exception("what Envoys have could not be written down")
            pause = max(LOOK_SECONDS, _SHARE * (time.thread_time() - began))


def adapter_name(addresses: Mapping[str, str]) -> str:
    """The name of an adapter for people: its host, and where Envoys fetch."""
    ways = [f"{way} {addresses[way]}" for way in ("grpc", "http", "files") if way in addresses]
    return f"{socket.gethostname()} ({', '.join(ways)})"
