"""Answers to Envoys from the store alone: nothing is held, and nothing but speed depends on what was asked before.

Requests, versions and answers are those of the adapter over REST, so an Envoy may ask one after the other;
docs/envoy.md says what differs.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from pointsman.delivery.deliver import Form, gateway_listeners, sidecar_listeners, takes_hostnames
from pointsman.delivery.order import Given
from pointsman.delivery.secret_source import ResourceSource
from pointsman.discovery.answers import Answer, Answers, Kind, make_answers, view_answers, view_listeners
from pointsman.discovery.memory import MOST_BYTES, Memory
from pointsman.discovery.names import cluster_ids_in
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.request import Asker, DiscoveryRequest
from pointsman.discovery.version import Standing, Version
from pointsman.discovery.view import Manifests, are_retired, cluster_ids, manifests_of
from pointsman.model.errors import PointsmanError
from pointsman.store.protocol import Store
from pointsman.xds.manifest import Change, SidecarManifest
from pointsman.xds.snapshot import Snapshot

MOST_PROXIES = 256
"""Whose answers are kept as a whole."""

_AHEAD = (Standing.OLDER, Standing.CONFLICT)

_SHOWN = 3
"""Reasons that are told; one is mostly like the other."""

_LONGEST = 200
"""Characters of a name that are told."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class NotRegistered(PointsmanError):
    """Nobody registered the proxy that asks."""


class NotReady(PointsmanError):
    """What the proxy should get cannot be read, and nothing of it is here: the text says why. Ask again later."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request comes to.

    `answer` is None if the Envoy keeps what it has. `ahead` is whether that is newer than what was found, or another
    of the same number, `unreachable` why the store could not be asked just now, "" if it was. `resets` are what went
    back, in objects and in what the Envoy has, because the store itself did.
    """

    answer: Answer | None
    ahead: bool = False
    unreachable: str = ""
    resets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _View:
    manifests: Manifests
    snapshots: Mapping[str, Snapshot]
    answers: Answers

    def is_of(self, manifests: Manifests, snapshots: Mapping[str, Snapshot]) -> bool:
        same = all(self.snapshots.get(name) is each for name, each in snapshots.items())
        return same and self.manifests == manifests


class Discovery:
    """Answers requests from `store`, which is asked each time for what changed since this process asked last.

    Endpoints take one conditional read; listeners those of the proxy's manifests; clusters one more for each of them,
    all at the same time. A process that is new here reads everything once. Not safe for several threads.
    """

    def __init__(
        self,
        store: Store,
        source: ResourceSource,
        *,
        settle: float,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """`source` is how Envoys are told to ask for endpoints and secrets; `most_bytes` of stored objects are kept in
        memory.

        `settle` is the seconds in which every Envoy has polled, and what came by it has warmed: so long after a change
        of the config the listeners that may need new clusters are held back, and the clusters that old listeners may
        need stay. `seconds` is a clock that only goes forward, in seconds.
        """
        self._source, self._settle, self._clock = source, settle, clock
        self._memory = Memory(store, most_bytes, clock=seconds)
        self._listeners: OrderedDict[ProxyId, tuple[Manifests, Answer]] = OrderedDict()
        self._views: OrderedDict[tuple[ProxyId, bool], _View] = OrderedDict()

    def answer(self, request: DiscoveryRequest) -> Outcome:
        """What `request` is answered now: never less than what it says its Envoy has, and never older, unless the store
        has it so when it is read past every cache.

        Raises NotRegistered (for clusters and listeners; endpoints are found by their name alone) and NotReady; the
        Envoy is to keep what it has.
        """
        theirs = Version.read(request.version)
        self._memory.asked.clear()
        self._memory.resets.clear()
        found = self._find(request, theirs)
        stands = found.stands(theirs) if found else Standing.SAME
        is_ahead = stands in _AHEAD
        if is_ahead and self._memory.confirm(self._memory.asked):
            found = self._find(request, theirs, confirmed=True)
            stands = found.stands(theirs) if found else Standing.SAME
            if found is not None and stands is Standing.OLDER:
                of = f"{request.kind.value} {request.name}".rstrip()
                self._memory.resets.append(f"{of} of {request.asker.proxy} went from {request.version} to {found.text}")
            is_ahead = False
        answer = None if is_ahead or stands is Standing.SAME else found
        return Outcome(answer, is_ahead, self._memory.unreachable, tuple(self._memory.resets))

    def _find(self, request: DiscoveryRequest, theirs: Version | None, *, confirmed: bool = False) -> Answer | None:
        """What there is; None if the Envoy is to keep what it has, whatever there is."""
        if request.kind is Kind.ENDPOINTS:
            return self._endpoints(request.asker, request.name)
        return self._clusters_or_listeners(request, theirs, confirmed)

    def _endpoints(self, asker: Asker, name: str) -> Answer | None:
        """The endpoints of that name; None if no cluster of the datacenter asks for them (any more, or yet)."""
        keys = [asker.proxy.snapshot_key(each) for each in cluster_ids_in(name)]
        self._memory.read(keys)
        form = Form(takes_hostnames(asker.envoy), self._source)
        for key in keys:
            value = self._memory.value(key)
            if isinstance(value, Snapshot) and not value.retired:
                part = self._memory.part(key, value, form)
                if part.of.place == name:
                    return part.endpoints
        self._check(f'the endpoints "{name[:_LONGEST]}" cannot be had', keys)
        return None

    def _clusters_or_listeners(
        self, request: DiscoveryRequest, theirs: Version | None, confirmed: bool
    ) -> Answer | None:
        proxy = request.asker.proxy
        manifests = self._manifests(proxy)
        if are_retired(manifests):
            if theirs is not None:
                return None  # it may be running on them still
            raise NotRegistered(f"{proxy} is not registered any more; `pointsman apply` does that")
        change = manifests.change if isinstance(manifests, SidecarManifest) else None
        given = Given.by_time(0.0, self._settle, came=bool(change.came)) if change and theirs is not None else Given()
        ago = self._seconds_since(change) if change else 0.0
        if request.kind is Kind.LISTENERS:
            listeners = self._listeners_of(proxy, manifests)
            if not confirmed and listeners.stands(theirs) is not Standing.NEWER:
                return listeners
            # Listeners need clusters: new ones are not given before all that they could need can be, and was.
            answers = self._answers(request.asker, manifests)
            return answers.listeners if given.may_listen(ago) else None
        answers = self._answers(request.asker, manifests)
        if change and change.left and not given.may_leave(ago):
            return self._with(change.left, answers, request.asker)
        if change and change.left and answers.clusters.stands(theirs) is Standing.CONFLICT:
            # It may have those that left, still: that is as far, and came before.
            return replace(answers.clusters, past=(self._with(change.left, answers, request.asker).version,))
        return answers.clusters

    def _manifests(self, proxy: ProxyId) -> Manifests:
        self._memory.read(proxy.manifest_keys)
        found = manifests_of([self._memory.value(key) for key in proxy.manifest_keys])
        if found is None:
            self._check(f"{proxy} has no complete view", proxy.manifest_keys)
            own, *others = proxy.manifest_keys
            if self._memory.value(own) is None:
                raise NotRegistered(f"{proxy} is not registered; `pointsman apply` does that")
            raise NotReady(f"{proxy} has no complete view: {', '.join(others)} is not there")
        return found

    def _listeners_of(self, proxy: ProxyId, manifests: Manifests) -> Answer:
        of, answer = self._listeners.get(proxy, (None, None))
        if answer is None or of != manifests:
            if isinstance(manifests, SidecarManifest):
                answer = view_listeners(manifests, sidecar_listeners(manifests), answer)
            else:
                answer = view_listeners(manifests, gateway_listeners(*manifests), answer)
        _remember(self._listeners, proxy, (manifests, answer))
        return answer

    def _answers(self, asker: Asker, manifests: Manifests) -> Answers:
        proxy, hostnames = asker.proxy, takes_hostnames(asker.envoy)
        snapshots = self._snapshots(proxy, manifests)
        view = self._views.get((proxy, hostnames))
        if view is None or not view.is_of(manifests, snapshots):
            timeout = 0 if isinstance(manifests, SidecarManifest) else manifests[0].connect_timeout_ms
            form = Form(hostnames, self._source, timeout)
            parts = (self._memory.part(proxy.snapshot_key(each), of, form) for each, of in snapshots.items())
            by_name = {each.of.name: each for each in parts}
            listeners, before = self._listeners_of(proxy, manifests), view.answers if view else None
            view = _View(manifests, snapshots, view_answers(manifests, by_name, listeners, before))
        _remember(self._views, (proxy, hostnames), view)
        return view.answers

    def _with(self, left: Sequence[str], answers: Answers, asker: Asker) -> Answer:
        """The clusters of `answers` and those that `left`, as far as they are there still."""
        keys = [asker.proxy.snapshot_key(each) for each in left]
        self._memory.read(keys)
        form = Form(takes_hostnames(asker.envoy), self._source)
        values = ((key, self._memory.value(key)) for key in keys)
        parts = [self._memory.part(key, value, form) for key, value in values if isinstance(value, Snapshot)]
        by_name = {**{each.of.name: each for each in parts}, **answers.parts}
        # Of the same order as without them: neither is ahead of the other.
        return make_answers(answers.clusters.version, by_name, answers.listeners, None).clusters

    def _seconds_since(self, change: Change) -> float:
        # Clocks differ: a change that is a little ahead of ours was just now.
        return abs((self._clock() - datetime.fromisoformat(change.at)).total_seconds())

    def _snapshots(self, proxy: ProxyId, manifests: Manifests) -> dict[str, Snapshot]:
        """By cluster id, all that `manifests` name."""
        keys = {each: proxy.snapshot_key(each) for each in cluster_ids(manifests)}
        if keys:
            self._memory.read(keys.values())
        values = {each: self._memory.value(key) for each, key in keys.items()}
        found = {each: value for each, value in values.items() if isinstance(value, Snapshot)}
        if missing := [keys[each] for each in keys if each not in found]:
            self._check(f"{proxy} has no complete view", missing)
            raise NotReady(f"{proxy} has no complete view: the manifest names what is not there, {_some(missing)}")
        return found

    def _check(self, what: str, keys: Sequence[str]) -> None:
        """Raise NotReady if the missing ones among these are not known to be absent."""
        missing = [key for key in keys if self._memory.value(key) is None]
        reasons = [reason for key in missing if (reason := self._memory.problem(key))]
        if missing and self._memory.unreachable:
            reasons.append(f"the store cannot be read: {self._memory.unreachable}")
        if reasons:
            raise NotReady(f"{what}: {_some(reasons)}")


def _remember(kept: "OrderedDict[_K, _V]", key: _K, value: _V) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > MOST_PROXIES:
        kept.popitem(last=False)


def _some(reasons: Sequence[str]) -> str:
    more = f", and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return "; ".join(reasons[:_SHOWN]) + more
