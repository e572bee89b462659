"""Answers Envoys from the store alone. It holds no polls, and earlier requests only affect its speed.

Requests, versions and answers are those of the REST adapter, so an Envoy may switch between the two; docs/envoy.md
lists the differences.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from pointsman.delivery.deliver import Form, gateway_listeners, sidecar_listeners, takes_hostnames
from pointsman.delivery.order import Given
from pointsman.delivery.response import ResourceKind
from pointsman.delivery.secret_source import ResourceSource
from pointsman.discovery.answers import Answer, Answers, make_answers, view_answers, view_listeners
from pointsman.discovery.memory import MOST_BYTES, Memory
from pointsman.discovery.names import cluster_ids_in
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.request import Asker, DiscoveryRequest
from pointsman.discovery.version import Standing, Version
from pointsman.discovery.view import Manifests, are_retired, cluster_ids, drained_ids, manifests_of
from pointsman.model.errors import PointsmanError
from pointsman.store.protocol import Store
from pointsman.xds.manifest import SidecarManifest
from pointsman.xds.snapshot import Snapshot

MOST_PROXIES = 256
"""Proxies whose complete answers are kept."""

_AHEAD = (Standing.OLDER, Standing.CONFLICT)

_SHOWN = 3
"""Reasons in one message; they are mostly alike."""

_LONGEST = 200
"""Characters of a name in a message."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class NotRegistered(PointsmanError):
    """The proxy that asks is not registered."""


class NotReady(PointsmanError):
    """The proxy's resources can be neither read nor taken from memory; the text says why. Ask again later."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a request.

    `answer` is None if the Envoy keeps what it has. `ahead` is whether that is newer than what was found, or different
    with the same number; `unreachable` is why the store could not be read, "" if it was. `resets` names the objects and
    the Envoy's versions that went back because the store did.
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
    """Answers requests from `store`, and reads for each request what changed since this process last read it.

    Endpoints take one conditional read; listeners one for each manifest of the proxy; clusters one more for each
    cluster, all at the same time. A new process reads everything once. Not safe for several threads.
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
        """`source` is where clusters fetch endpoints and secrets; `most_bytes` of stored objects are kept in memory.

        `settle` is the seconds within which every Envoy has polled and warmed what it got. For so long after a change
        of config, listeners that may need new clusters are held back, and clusters that old listeners may need stay.
        `seconds` is a monotonic clock, in seconds.
        """
        self._source, self._settle, self._clock = source, settle, clock
        self._memory = Memory(store, most_bytes, clock=seconds)
        self._listeners: OrderedDict[ProxyId, tuple[Manifests, Mapping[str, Snapshot], Answer]] = OrderedDict()
        self._views: OrderedDict[tuple[ProxyId, bool], _View] = OrderedDict()

    def answer(self, request: DiscoveryRequest) -> Outcome:
        """The answer to `request`, never older than what its Envoy has, unless a read without caches confirms that the
        store went back.

        Raises NotRegistered (only for clusters and listeners, since endpoints are found by name) and NotReady; then the
        Envoy should keep what it has.
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
                of = f"{request.kind.label} {request.name}".rstrip()
                self._memory.resets.append(f"{of} of {request.asker.proxy} went from {request.version} to {found.text}")
            is_ahead = False
        answer = None if is_ahead or stands is Standing.SAME else found
        return Outcome(answer, is_ahead, self._memory.unreachable, tuple(self._memory.resets))

    def _find(self, request: DiscoveryRequest, theirs: Version | None, *, confirmed: bool = False) -> Answer | None:
        """The current answer; None if the Envoy should keep what it has in any case."""
        if request.kind is ResourceKind.ENDPOINTS:
            return self._endpoints(request.asker, request.name)
        return self._clusters_or_listeners(request, theirs, confirmed)

    def _endpoints(self, asker: Asker, name: str) -> Answer | None:
        """The endpoints named `name`; None if no cluster of the datacenter requests them now."""
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
                return None  # its Envoy may still use them
            raise NotRegistered(f"{proxy} is not registered any more; `pointsman apply` does that")
        change = manifests.change if isinstance(manifests, SidecarManifest) else None
        given = Given.by_time(0.0, self._settle, came=bool(change.came)) if change and theirs is not None else Given()
        ago = self._seconds_since(change.at) if change else 0.0
        if request.kind is ResourceKind.LISTENERS:
            drains = self._read_snapshots(proxy, drained_ids(manifests))
            listeners = self._listeners_of(proxy, manifests, drains)
            if not confirmed and listeners.stands(theirs) is not Standing.NEWER:
                return listeners
            # Listeners need clusters: new listeners wait until all clusters that they may need can be and have been
            # sent. Listeners that end connections wait until the endpoints have been sent to which clients connect
            # again.
            answers = self._answers(request.asker, manifests)
            since = [self._seconds_since(each.published) for each in drains.values()] if theirs is not None else []
            is_polled = all(each >= self._settle for each in since)
            return answers.listeners if given.may_listen(ago) and is_polled else None
        answers = self._answers(request.asker, manifests)
        if change and change.left and not given.may_leave(ago):
            return self._with(change.left, answers, request.asker)
        if change and change.left and answers.clusters.stands(theirs) is Standing.CONFLICT:
            # The Envoy may still have the clusters that left: its version has the same order, and came before.
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

    def _listeners_of(self, proxy: ProxyId, manifests: Manifests, drains: Mapping[str, Snapshot]) -> Answer:
        of, filled, answer = self._listeners.get(proxy, (None, {}, None))
        if answer is None or of != manifests or any(filled.get(name) is not each for name, each in drains.items()):
            if isinstance(manifests, SidecarManifest):
                made = sidecar_listeners(manifests, drains)
            else:
                made = gateway_listeners(*manifests)
            answer = view_listeners(manifests, made, drains.values(), answer, self._source)
        _remember(self._listeners, proxy, (manifests, drains, answer))
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
            drains = {each: snapshots[each] for each in drained_ids(manifests)}
            listeners, before = self._listeners_of(proxy, manifests, drains), view.answers if view else None
            view = _View(manifests, snapshots, view_answers(manifests, by_name, listeners, before, self._source))
        _remember(self._views, (proxy, hostnames), view)
        return view.answers

    def _with(self, left: Sequence[str], answers: Answers, asker: Asker) -> Answer:
        """The clusters of `answers`, and those of `left` that still exist."""
        keys = [asker.proxy.snapshot_key(each) for each in left]
        self._memory.read(keys)
        form = Form(takes_hostnames(asker.envoy), self._source)
        values = ((key, self._memory.value(key)) for key in keys)
        parts = [self._memory.part(key, value, form) for key, value in values if isinstance(value, Snapshot)]
        by_name = {**{each.of.name: each for each in parts}, **answers.parts}
        # The order is the same as without them: neither answer is ahead of the other.
        own_of = answers.clusters.own_of
        return make_answers(answers.clusters.version, by_name, answers.listeners, None, own_of=own_of).clusters

    def _seconds_since(self, at: str) -> float:
        # Clocks differ: a change slightly in the future counts as just now.
        return abs((self._clock() - datetime.fromisoformat(at)).total_seconds())

    def _snapshots(self, proxy: ProxyId, manifests: Manifests) -> dict[str, Snapshot]:
        """All snapshots that `manifests` name, by cluster id."""
        return self._read_snapshots(proxy, cluster_ids(manifests))

    def _read_snapshots(self, proxy: ProxyId, ids: Iterable[str]) -> dict[str, Snapshot]:
        """The snapshots of these clusters, by id."""
        keys = {each: proxy.snapshot_key(each) for each in sorted(ids)}
        if keys:
            self._memory.read(keys.values())
        values = {each: self._memory.value(key) for each, key in keys.items()}
        found = {each: value for each, value in values.items() if isinstance(value, Snapshot)}
        if missing := [keys[each] for each in keys if each not in found]:
            self._check(f"{proxy} has no complete view", missing)
            raise NotReady(f"{proxy} has no complete view: the manifest names what is not there, {_some(missing)}")
        return found

    def _check(self, what: str, keys: Sequence[str]) -> None:
        """Raise NotReady unless the missing keys among these are known not to exist."""
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
