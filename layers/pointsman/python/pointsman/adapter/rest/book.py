"""The answers for every requested proxy, made once for all its Envoys."""

import threading
import time
import weakref
from collections.abc import Callable, Iterable, MutableMapping, Set
from dataclasses import dataclass

from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.rest.stages import SETTLE_S, Stages
from pointsman.delivery.deliver import DeliveredCluster, Delivery, EnvoyVersion, Form, takes_hostnames
from pointsman.delivery.secret_source import ResourceSource
from pointsman.discovery.answers import Answers, Part, make_part, view_answers, view_listeners
from pointsman.discovery.deliveries import Deliveries
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.view import View

Key = tuple[ProxyId, bool]
"""A proxy, and whether its Envoy takes hostnames: everything besides the view that an answer depends on."""


@dataclass(slots=True)
class _Entry:
    """The wanted answers of a proxy's Envoys, made from the view with the number `view`, and the current ones."""

    stages: Stages
    view: int
    delivery: Delivery
    wanted: Answers
    shown: Answers


class AnswerBook:
    """Makes answers from a follower's views. Safe for several threads.

    What proxies share is rendered once for all, so the cost of a failover does not depend on the number of Envoys.
    """

    def __init__(
        self,
        follower: Follower,
        source: ResourceSource,
        *,
        clock: Callable[[], float] = time.monotonic,
        settle: float = SETTLE_S,
        polled: float = 0.0,
    ) -> None:
        self._follower, self._clock, self._settle, self._polled = follower, clock, settle, polled
        self._source, self._deliveries = source, Deliveries(source)
        self._entries: dict[Key, _Entry] = {}
        # Weak references: kept only as long as some answers contain them.
        self._parts: MutableMapping[tuple[str, bool, int], Part] = weakref.WeakValueDictionary()
        self._unsettled: set[Key] = set()
        self._lock = threading.Lock()

    @property
    def unsettled(self) -> Set[Key]:
        """The keys whose answers still change with time alone."""
        with self._lock:
            return frozenset(self._unsettled)

    def answers(self, proxy: ProxyId, envoy: EnvoyVersion | None) -> Answers | None:
        """The answers for an Envoy of this version as `proxy`; None if there has been no complete view yet.

        The same object until something changes.
        """
        key = proxy, takes_hostnames(envoy)
        with self._lock:
            entry, view = self._entries.get(key), self._follower.view(proxy)
            if view is None:
                return entry.shown if entry else None
            if entry is None or entry.view != view.version:
                entry = self._entries[key] = self._entry(proxy, view, envoy, entry)
            elif key not in self._unsettled:
                return entry.shown
            entry.shown = entry.stages.bring(entry.wanted, entry.delivery.serving)
            if entry.stages.settled:
                self._unsettled.discard(key)
            else:
                self._unsettled.add(key)
            return entry.shown

    def forget(self, proxies: Iterable[ProxyId]) -> None:
        """Drop these proxies, which no Envoy asks for any more."""
        with self._lock:
            for key in [(proxy, hostnames) for proxy in proxies for hostnames in (False, True)]:
                self._entries.pop(key, None)
                self._unsettled.discard(key)

    def _entry(self, proxy: ProxyId, view: View, envoy: EnvoyVersion | None, old: _Entry | None) -> _Entry:
        delivery = self._deliveries.make(proxy, view, envoy, old.delivery if old else None)
        before, drains = old.wanted if old else None, delivery.drains.values()
        listeners = view_listeners(
            view.manifests, delivery.listeners, drains, before.listeners if before else None, self._source
        )
        parts = {each.name: self._part(proxy, delivery.form, each) for each in delivery.clusters}
        wanted = view_answers(view.manifests, parts, listeners, before, self._source)
        stages = old.stages if old else Stages(self._clock, self._settle, self._polled)
        return _Entry(stages, view.version, delivery, wanted, wanted)

    def _part(self, proxy: ProxyId, form: Form, delivered: DeliveredCluster) -> Part:
        # Clusters of two datacenters may have the same name.
        key = proxy.snapshot_key(delivered.name), form.hostnames, form.connect_timeout_ms
        found = self._parts.get(key)
        if found is None or found.of is not delivered:
            found = self._parts[key] = make_part(delivered, found)
        return found
