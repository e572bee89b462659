"""Stops following proxies that no Envoy asks for any more."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Protocol

from pointsman.adapter.follow.follower import Follower
from pointsman.discovery.proxy import ProxyId

IDLE_SECONDS = 900.0
"""Seconds for which a proxy is still followed after its last stream or poll: its Envoys may be restarting."""

LOOK_SECONDS = 30.0
"""Seconds between two checks for idle proxies."""


class User(Protocol):
    """An adapter."""

    def in_use(self) -> Set[ProxyId]:
        """The proxies with a stream, or with a request since the last check."""

    def release(self, proxies: Iterable[ProxyId]) -> None:
        """Drop everything about these proxies, until they are asked for again."""


class Idle:
    """Makes a follower and its adapters keep only what Envoys ask for. Safe for several threads."""

    def __init__(self, follower: Follower, users: Sequence[User], clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds, from any zero. `users` may be extended later."""
        self._follower, self._users, self._clock = follower, users, clock
        self._since: dict[ProxyId, float] = {}
        self._looked = clock()
        self._lock = threading.Lock()

    def look(self) -> None:
        """Drop idle proxies, if a check is due. Drops none while the store is unavailable, because they could not be
        read again."""
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
        # A proxy that came back in between kept its view, and has to be followed.
        self._follower.add(due & self._in_use())

    def _in_use(self) -> Set[ProxyId]:
        return {proxy for user in self._users for proxy in user.in_use()}
