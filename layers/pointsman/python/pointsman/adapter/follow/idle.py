"""Letting go of proxies that nobody asks for any more."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Protocol

from pointsman.adapter.follow.follower import Follower
from pointsman.discovery.proxy import ProxyId

IDLE_SECONDS = 900.0
"""For so long a proxy is followed on after its last stream or poll: its Envoys may be restarting."""

LOOK_SECONDS = 30.0
"""Between two looks who is idle."""


class User(Protocol):
    """A way to Envoys."""

    def in_use(self) -> Set[ProxyId]:
        """Who has a stream, or has asked since the last look."""

    def release(self, proxies: Iterable[ProxyId]) -> None:
        """Keep nothing of these, unless somebody asks for them again."""


class Idle:
    """Has a follower, and the ways that it serves, keep only what somebody asks for. Safe for several threads."""

    def __init__(self, follower: Follower, users: Sequence[User], clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells seconds, from whenever. The users may still be added to."""
        self._follower, self._users, self._clock = follower, users, clock
        self._since: dict[ProxyId, float] = {}
        self._looked = clock()
        self._lock = threading.Lock()

    def look(self) -> None:
        """Let go of who is due, if it is time for a look. Nobody is while the store is away: it could not be read
        again."""
        if self._follower.seen and not self._follower.unreachable and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        idle = self._follower.proxies - self._follower.named - self._in_use()
        self._since = {proxy: self._since.get(proxy, now) for proxy in idle}
        due = {proxy for proxy, since in self._since.items() if now - since >= IDLE_SECONDS}
        if not due:
            return
        for user in self._users:
            user.release(due)
        self._follower.forget(due)
        # Who came in between has what was there, and has to be kept up with the store.
        self._follower.add(due & self._in_use())

    def _in_use(self) -> Set[ProxyId]:
        return {proxy for user in self._users for proxy in user.in_use()}
