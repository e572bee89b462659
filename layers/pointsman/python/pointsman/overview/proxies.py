"""Which Envoy has what, by which adapter, and which is behind: what adapters saw, beside what the store has now."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

from pointsman.discovery.mark import Mark, make_mark
from pointsman.discovery.proxy import ProxyId, SidecarId, read_proxy
from pointsman.discovery.view import are_retired, cluster_ids, manifests_of
from pointsman.model.era import Era
from pointsman.model.keys import datacenter_of
from pointsman.model.names import GATEWAYS, ServiceName
from pointsman.model.seen import TOLD_EVERY_SECONDS, Lack, SeenEnvoy, SeenProxy, State, Why, worst
from pointsman.model.stored import Damaged, NewerSchema, parse
from pointsman.pipeline.config import load_root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.known import known_names
from pointsman.pipeline.seen import Told, told_by_adapters
from pointsman.pipeline.settle import BATCH
from pointsman.store import keys
from pointsman.store.protocol import Stored
from pointsman.xds.manifest import Manifest, read_manifest

SCHEMA: Final = 1
"""The number of the form of what is here as JSON: it grows when a field goes or changes its meaning."""

ON_ITS_WAY_SECONDS: Final = 10.0
"""What was published this long before an adapter told what it has, it should have had by then."""

TOLD_LATE_SECONDS: Final = TOLD_EVERY_SECONDS + 30.0
"""What was published this long ago, an adapter would have told of by now if it had it."""

MOST_MISSING: Final = 10
"""Clusters that an adapter does not have yet and that are named."""


_STATE_OF: Final = {
    Why.REJECTED: State.REJECTING,
    Why.UNANSWERED: State.BEHIND,
    Why.UNWRITTEN: State.BEHIND,
    Why.STATIC: State.BEHIND,
    Why.AHEAD: State.AHEAD,
    Why.RETIRED: State.RETIRED,
}

BAD: Final = frozenset({State.REJECTING, State.BEHIND})
"""States in which an Envoy does not have what it should have."""


@dataclass(frozen=True, slots=True)
class EnvoyView:
    """An Envoy, or a registered proxy that no adapter has seen (then `node`, `way` and `adapter` are "").

    `proxy` is the key of its registration, `way` `ads`, `rest`, `files` or `admin`. `since` is when the adapter first
    saw it, `newest` when the newest of its clusters was published, of those that its adapter has; both are RFC 3339 in
    UTC, "" if unknown. `version` is a digest of the versions of all its clusters: Envoys with equal ones have the same.
    It is `behind_s` seconds behind. `lacks` is what it lacks, `missing` the clusters that its adapter lacks, and
    `problems` why.
    """

    datacenter: str
    proxy: str
    node: str
    way: str
    adapter: str
    state: State
    behind_s: float = 0.0
    since: str = ""
    version: str = ""
    newest: str = ""
    lacks: tuple[Lack, ...] = ()
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdapterView:
    """An adapter: its name, when it last told what it saw, and how many Envoys it has; `unnamed` of them are beyond the
    number that is told."""

    name: str
    at: str
    envoys: int
    unnamed: int


@dataclass(frozen=True, slots=True)
class Proxies:
    """Envoys, the worst first, and the adapters that told of them."""

    now: str
    adapters: tuple[AdapterView, ...]
    envoys: tuple[EnvoyView, ...]

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        states = [each.state for each in self.envoys]
        return {
            "schema": SCHEMA,
            "now": self.now,
            "adapters": [asdict(each) for each in self.adapters],
            "counts": {state.value: states.count(state) for state in State},
            "envoys": [asdict(each) for each in self.envoys],
        }


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the store has of a cluster, and when that was published (RFC 3339, UTC)."""

    era: Era
    version: int
    published: str


@dataclass(frozen=True, slots=True)
class Due:
    """What a proxy should have: its mark, its clusters by id, and when its manifests were written (seconds since
    1970)."""

    mark: Mark
    clusters: Mapping[str, Cluster]
    written: float


def proxies(
    now: float, told: Sequence[Told], due: Mapping[str, Due], registered: Collection[str], wanted: Collection[str]
) -> Proxies:
    """How the Envoys of the proxies under the keys `wanted` are, and which of those `registered` no adapter has seen.

    `told` is what adapters saw, `due` what the store has for each; `now` is in seconds since 1970. An Envoy that two
    adapters tell of is with the one that told last.
    """
    found: dict[tuple[str, str, str], list[EnvoyView]] = {}
    adapters: list[AdapterView] = []
    seen: set[str] = set()
    complete = True
    for each in sorted(told, key=lambda each: each.written):
        mine = [proxy for proxy in each.seen.proxies if proxy.key in wanted]
        count = sum(len(proxy.envoys) for proxy in mine)
        adapters.append(AdapterView(each.seen.adapter, each.seen.at, count + each.seen.more, each.seen.more))
        complete &= not each.seen.more
        here: dict[tuple[str, str, str], list[EnvoyView]] = {}
        for proxy in mine:
            seen.add(proxy.key)
            for envoy in proxy.envoys:
                # Files without a node are those of each adapter.
                place = "" if envoy.node else each.seen.adapter
                view = _view(now, each, proxy, envoy, due.get(proxy.key))
                here.setdefault((proxy.key, envoy.node, place), []).append(view)
        found |= here
    unseen = set(registered) & set(wanted) - seen if complete else set()
    views = [
        *chain.from_iterable(found.values()),
        *(EnvoyView(datacenter_of(key), key, "", "", "", State.UNSEEN) for key in unseen),
    ]
    order = list(State)
    views.sort(key=lambda each: (order.index(each.state), -each.behind_s, each.proxy, each.node, each.adapter))
    return Proxies(_text(now), tuple(sorted(adapters, key=lambda each: each.name)), tuple(views))


def _view(now: float, told: Told, proxy: SeenProxy, envoy: SeenEnvoy, due: Due | None) -> EnvoyView:
    state, behind, missing = State.CURRENT, 0.0, tuple[str, ...]()
    if due is not None and (proxy.manifests, proxy.clusters) != (due.mark.manifests, due.mark.clusters):
        later = {id_: each.published for id_, each in due.clusters.items() if each.published > proxy.newest}
        missing = tuple(sorted(later, key=lambda id_: (later[id_], id_))[:MOST_MISSING])
        first = min((_seconds(each) for each in later.values()), default=due.written)
        late = told.written - first > ON_ITS_WAY_SECONDS or now - first > TOLD_LATE_SECONDS
        state, behind = (State.BEHIND, max(0.0, now - first)) if late else (State.CHANGING, 0.0)
    if proxy.problems and state is State.CURRENT:
        state = State.BEHIND
    if (lack := worst(envoy.lacks)) is not None and _order(_STATE_OF[lack.why]) <= _order(state):
        state = _STATE_OF[lack.why]
        if state in BAD:
            behind = max(behind, now - _seconds(lack.since))
    return EnvoyView(
        datacenter_of(proxy.key),
        proxy.key,
        envoy.node,
        envoy.way,
        told.seen.adapter,
        state,
        round(behind, 1),
        envoy.since,
        proxy.clusters,
        proxy.newest,
        envoy.lacks,
        missing,
        proxy.problems,
    )


def _order(state: State) -> int:
    return list(State).index(state)


def read_proxies(engine: Engine, service: ServiceName | None = None, datacenter: str = "") -> Proxies:
    """How the Envoys are: all, those of the sidecars of one service (`mesh-gateway`: of the gateways), or those of one
    datacenter.

    Raises InvalidInput if nothing names the service or the datacenter, and StoreError.
    """
    now = datetime.fromisoformat(engine.now()).timestamp()
    config = engine.config(load_root(engine.objects, engine.refresh().root))
    told = list(told_by_adapters(engine.store, now))
    registered = {key for key in config.registrations.keys_alone() if engine.scope.has(datacenter_of(key))}
    known = {*registered, *(proxy.key for each in told for proxy in each.seen.proxies)}
    wanted = {key for key in known if _is_wanted(read_proxy(key), service, datacenter)}
    if not wanted and (service or datacenter):
        names = known_names(engine, config)
        if service and service.name != GATEWAYS:
            names.check_service(f'service "{service.name}"', service)
        if datacenter:
            names.check_datacenter("proxies", "dc", datacenter)
    shown = {proxy.key for each in told for proxy in each.seen.proxies} & wanted
    return proxies(now, told, dict(_due(engine, sorted(shown))), registered, wanted)


def _is_wanted(proxy: ProxyId | None, service: ServiceName | None, datacenter: str) -> bool:
    if proxy is None or datacenter not in ("", proxy.datacenter):
        return False
    if isinstance(proxy, SidecarId):
        return service in (None, ServiceName(proxy.namespace, proxy.service))
    return service is None or service.name == GATEWAYS


def _due(engine: Engine, wanted: Sequence[str]) -> Iterator[tuple[str, Due]]:
    """What the store has for the proxies under these keys; without those that are incomplete there."""
    written = {each.key: each.written for each in engine.store.list(keys.MANIFESTS)}
    known: dict[str, Cluster] = {}
    for start in range(0, len(wanted), BATCH):
        some = [proxy for key in wanted[start : start + BATCH] if (proxy := read_proxy(key)) is not None]
        stored = engine.store.get_many(sorted({key for proxy in some for key in proxy.manifest_keys}))
        values = {key: _manifest(each) for key, each in stored.items()}
        for proxy in some:
            manifests = manifests_of([values.get(key) for key in proxy.manifest_keys])
            if manifests is None or are_retired(manifests):
                continue
            ids = {id_: proxy.snapshot_key(id_) for id_ in cluster_ids(manifests)}
            _learn(engine, known, ids.values())
            clusters = {id_: known[key] for id_, key in ids.items() if key in known}
            mark = make_mark(manifests, ((id_, each.era, each.version) for id_, each in clusters.items()))
            yield str(proxy.key), Due(mark, clusters, max(written.get(key, 0.0) for key in proxy.manifest_keys))


def _learn(engine: Engine, known: dict[str, Cluster], wanted: Iterable[str]) -> None:
    missing = sorted({key for key in wanted if key not in known})
    for key, stored in (engine.store.get_many(missing) if missing else {}).items():
        reading = engine.heads.read(keys.plan_of(key), stored, engine.now())
        if (snapshot := reading.snapshot) is not None and reading.data:
            known[key] = Cluster(snapshot.era, snapshot.version, snapshot.published)


def _manifest(stored: Stored) -> Manifest | None:
    try:
        return read_manifest(parse(stored.data))
    except (Damaged, NewerSchema):
        return None  # what adapters say of it is told anyway


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
