"""Tracks which objects a replica follows, and for which proxies."""

from collections.abc import Iterable, Set

from pointsman.adapter.follow.replica import Replica
from pointsman.discovery.proxy import ProxyId


class Needs:
    """The objects that each proxy needs. Not safe for several threads, except `keys`."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._keys: dict[ProxyId, frozenset[str]] = {}
        self._users: dict[str, set[ProxyId]] = {}

    def keys(self, proxy: ProxyId) -> frozenset[str]:
        """The keys that are followed for `proxy`."""
        return self._keys.get(proxy, frozenset())

    def users(self, changed: Iterable[str]) -> set[ProxyId]:
        """The proxies that need one of these keys."""
        return {proxy for key in changed for proxy in self._users.get(key, ())}

    def add(self, proxy: ProxyId, wanted: Set[str]) -> None:
        """Also follow these keys for `proxy`."""
        before = self.keys(proxy)
        new = wanted - before
        self._replica.follow(new)
        for key in new:
            self._users.setdefault(key, set()).add(proxy)
        self._keys[proxy] = before | new

    def set(self, proxy: ProxyId, wanted: Set[str]) -> None:
        """Follow exactly these keys for `proxy`."""
        self.add(proxy, wanted)
        for key in self._keys[proxy] - wanted:
            users = self._users[key]
            users.discard(proxy)
            if not users:
                del self._users[key]
                self._replica.forget([key])
        self._keys[proxy] = frozenset(wanted)

    def drop(self, proxy: ProxyId) -> None:
        """Follow nothing for `proxy`."""
        self.set(proxy, frozenset())
        del self._keys[proxy]
