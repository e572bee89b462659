"""What an adapter says on a stream, and in which order: to an Envoy made of a few dictionaries, whatever happens."""

from collections import deque
from dataclasses import replace
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pointsman.adapter.ads.ahead import Ahead
from pointsman.adapter.ads.conversation import OFFERED_AGAIN_S, PATIENCE_S, RESOLVE_S, SETTLE_S, Conversation
from pointsman.adapter.ads.delta import DeltaConversation
from pointsman.adapter.ads.resources import Resources
from pointsman.adapter.ads.shelf import Shelf
from pointsman.adapter.ads.sotw import StateOfTheWorldConversation
from pointsman.adapter.follow.confirming import GAP_S
from pointsman.adapter.follow.follower import Follower
from pointsman.delivery.deliver import EnvoyVersion
from pointsman.delivery.response import ResourceKind
from pointsman.store import keys
from pointsman.store.sqlite import SQLiteStore
from pointsman.xds.content import compute

from tests.adapter.doubles import Clock, Remote
from tests.adapter.node import MANIFEST, NEW, OLD, S1, manifest
from tests.adapter.published import TRUST_DOMAIN, Publisher, content, gateway_name, instances, sidecar_plan
from tests.share import share_of

CLUSTERS, ENDPOINTS, LISTENERS = ResourceKind
SERVICES = ("s2", "s3", "s4")
NAMED = {"s3": ("dc3",), "s4": ("dc2", "dc3")}
"""By service, where its gateways have host names: its clusters change their type."""


class Source:
    """One adapter's follower and what it makes of it."""

    def __init__(self, store: SQLiteStore, version: EnvoyVersion | None) -> None:
        self._clock = Clock()
        self.follower, self._version = Follower(store, [S1], clock=self._clock), version
        self._shelf = Shelf(self.follower)

    def look(self) -> None:
        """Read what is in the store now."""
        self.follower.refresh()

    def confirm(self) -> None:
        """Look, and read past every cache what is in doubt or what an Envoy is ahead of: that may show more of it."""
        self.look()
        for _ in range(3):
            self._clock.now += GAP_S
            self.follower.confirm(lambda changed: None)

    @property
    def resources(self) -> Resources:
        """What it would send as of its last look."""
        found = self._shelf.resources(S1, self._version)
        assert found is not None
        return found


class Model:
    """What an Envoy does with what it is sent: clusters warm on their endpoints, the old one serves until then."""

    def __init__(self, delta: bool) -> None:
        self.delta = delta
        self.active: dict[str, tuple[Cluster, ClusterLoadAssignment]] = {}
        self.warming: dict[str, Cluster] = {}
        self.listeners: set[str] = set()
        self.versions: dict[ResourceKind, dict[str, str]] = {kind: {} for kind in ResourceKind}
        self.version: dict[ResourceKind, str] = dict.fromkeys(ResourceKind, "")
        self.responses: deque[Any] = deque()
        self._conversation: Conversation[Any] | None = None
        self._ahead: tuple[Source, Ahead] | None = None
        self._nonce: dict[ResourceKind, str] = {}
        self._asked: set[str] = set()
        self._ready = False

    def connect(self, now: float) -> None:
        """Begin a stream: what was under way on the one before is lost."""
        self._conversation = DeltaConversation(now) if self.delta else StateOfTheWorldConversation(now)
        if self._ahead is not None:
            self._ahead[1].end()
        self._ahead = None
        self.responses.clear()
        self._nonce.clear()
        self._asked = self._wanted()
        self._first(CLUSTERS, now)
        if self._asked:
            self._first(ENDPOINTS, now)
        if self._ready:
            self._first(LISTENERS, now)

    def hear(self, source: Source, now: float) -> None:
        """Let the adapter say what it has to."""
        assert self._conversation is not None
        if self._ahead is None:
            self._ahead = source, Ahead(source.follower, S1, "s1-1", lambda: None)
        assert self._ahead[0] is source
        while True:
            for response in self._conversation.advance(source.resources, now):
                made = DeltaDiscoveryResponse if self.delta else DiscoveryResponse
                self.responses.append(made.FromString(response.data))
            if not self._ahead[1].see_to(self._conversation, source.resources):
                return

    def take(self, now: float, refuse: str = "") -> None:
        """Take in one response and answer it, or refuse it for this reason."""
        response = self.responses.popleft()
        kind = ResourceKind(response.type_url)
        if refuse:
            made = DeltaDiscoveryRequest if self.delta else DiscoveryRequest
            refused = made(type_url=kind.value, response_nonce=response.nonce, error_detail={"message": refuse})
            self._receive(refused, now)
            return
        for each in response.resources:
            packed = each.resource if self.delta else each
            self._apply(kind, packed.value)
            if self.delta:
                self.versions[kind][each.name] = each.version
        if self.delta:
            for name in response.removed_resources:
                self.versions[kind].pop(name, None)
                self._remove(kind, name)
        elif kind is not ENDPOINTS:
            named = {_name(kind, each.value) for each in response.resources}
            for name in ({*self.active, *self.warming} if kind is CLUSTERS else self.listeners.copy()) - named:
                self._remove(kind, name)
        self.version[kind] = "some" if self.delta else response.version_info
        self._nonce[kind] = response.nonce
        self._say(kind, now, response.nonce)
        self._resubscribe(now)
        if not self.warming and not self._ready:
            self._ready = True
            self._first(LISTENERS, now)

    def check(self) -> None:
        """Fail unless every cluster that serves pairs one target's SNI with its endpoints."""
        for name, (cluster, assignment) in self.active.items():
            assert assignment.cluster_name == cluster.eds_cluster_config.service_name or _resolves(cluster)
            tls = UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
            (endpoint,) = (each.endpoint for each in assignment.endpoints[0].lb_endpoints)
            datacenter = (endpoint.hostname if tls.auto_host_sni else tls.sni).split(".")[2]
            places = gateway_name(datacenter) if _resolves(cluster) else f"127.0.0.{datacenter[2]}"
            assert endpoint.address.socket_address.address == places, name

    def _wanted(self) -> set[str]:
        clusters = [*(cluster for cluster, _ in self.active.values()), *self.warming.values()]
        return {each.eds_cluster_config.service_name for each in clusters if not _resolves(each)}

    def _first(self, kind: ResourceKind, now: float) -> None:
        names = self._asked if kind is ENDPOINTS else set()
        if self.delta:
            known = self.versions[kind]
            if kind is ENDPOINTS:
                known = {name: version for name, version in known.items() if name in names}
            fields: dict[str, Any] = {"resource_names_subscribe": names, "initial_resource_versions": known}
            self._receive(DeltaDiscoveryRequest(type_url=kind.value, **fields), now)
        else:
            self._receive(
                DiscoveryRequest(type_url=kind.value, version_info=self.version[kind], resource_names=names), now
            )

    def _say(self, kind: ResourceKind, now: float, nonce: str) -> None:
        if self.delta:
            self._receive(DeltaDiscoveryRequest(type_url=kind.value, response_nonce=nonce), now)
        else:
            names = self._asked if kind is ENDPOINTS else ()
            self._receive(
                DiscoveryRequest(
                    type_url=kind.value, response_nonce=nonce, version_info=self.version[kind], resource_names=names
                ),
                now,
            )

    def _resubscribe(self, now: float) -> None:
        before, self._asked = self._asked, self._wanted()
        if before == self._asked:
            return
        for name in before - self._asked:
            self.versions[ENDPOINTS].pop(name, None)
        if ENDPOINTS not in self._nonce and not before:
            self._nonce[ENDPOINTS] = ""
            self._first(ENDPOINTS, now)
        elif self.delta:
            self._receive(
                DeltaDiscoveryRequest(
                    type_url=ENDPOINTS.value,
                    resource_names_subscribe=self._asked - before,
                    resource_names_unsubscribe=before - self._asked,
                ),
                now,
            )
        else:
            self._say(ENDPOINTS, now, self._nonce.get(ENDPOINTS, ""))

    def _receive(self, request: Any, now: float) -> None:
        assert self._conversation is not None
        self._conversation.receive(request, now)

    def _apply(self, kind: ResourceKind, value: bytes) -> None:
        if kind is CLUSTERS:
            cluster = Cluster.FromString(value)
            serving = self.active.get(cluster.name)
            if self.warming.get(cluster.name) == cluster or (
                cluster.name not in self.warming and serving is not None and serving[0] == cluster
            ):
                return  # nothing new
            if _resolves(cluster):
                self.warming.pop(cluster.name, None)
                self.active[cluster.name] = cluster, cluster.load_assignment
            else:
                self.warming[cluster.name] = cluster
        elif kind is LISTENERS:
            self.listeners.add(Listener.FromString(value).name)
        else:
            assignment = ClusterLoadAssignment.FromString(value)
            for name, cluster in [*self.warming.items()]:
                if cluster.eds_cluster_config.service_name == assignment.cluster_name:
                    self.active[name] = (self.warming.pop(name), assignment)
            for name, (cluster, _) in self.active.items():
                if cluster.eds_cluster_config.service_name == assignment.cluster_name:
                    self.active[name] = (cluster, assignment)

    def _remove(self, kind: ResourceKind, name: str) -> None:
        if kind is CLUSTERS:
            self.active.pop(name, None)
            self.warming.pop(name, None)
        elif kind is LISTENERS:
            self.listeners.discard(name)


def _resolves(cluster: Cluster) -> bool:
    return cluster.type == Cluster.DiscoveryType.STRICT_DNS


def _name(kind: ResourceKind, value: bytes) -> str:
    return str((Cluster if kind is CLUSTERS else Listener).FromString(value).name)


Step = tuple[str, Any]
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("switch"), st.tuples(st.sampled_from(SERVICES), st.sampled_from(["dc1", "dc2", "dc3"]))),
    st.tuples(st.just("config"), st.tuples(st.sets(st.sampled_from(SERVICES)), st.sampled_from([["dc2", "dc3"], []]))),
    st.tuples(st.just("deliver"), st.integers(1, 4)),
    st.tuples(st.just("look"), st.sampled_from([0, 1])),
    st.tuples(st.just("confirm"), st.sampled_from([0, 1])),
    st.tuples(st.just("connect"), st.sampled_from([0, 1])),
    st.tuples(st.just("fetch"), st.sampled_from([0, 1])),
    st.tuples(st.just("backup"), st.none()),
    st.tuples(st.just("restore"), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([SETTLE_S, PATIENCE_S])),
)


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "state of the world"])
@example(version=NEW, steps=[("deliver", 2), ("config", ({"s4", "s2"}, ["dc2", "dc3"]))])
@example(
    # The other adapter sends what this one never sees, for it looks when everything is as it was.
    version=NEW,
    steps=[
        ("config", ({"s2"}, [])),
        ("look", 1),
        ("connect", 1),
        ("deliver", 1),
        ("connect", 0),
        ("deliver", 1),
        ("config", ({"s3", "s2"}, ["dc2", "dc3"])),
    ],
)
@example(
    # The stream ends while a cluster is leaving.
    version=NEW,
    steps=[("config", ({"s2"}, [])), ("deliver", 2), ("look", 0), ("deliver", 1), ("connect", 0)],
)
@example(
    version=OLD,
    steps=[("switch", ("s2", "dc2")), ("look", 0), ("deliver", 2), ("connect", 1), ("deliver", 1)],
)
@example(
    # The other adapter is behind, and the store is not: it says so.
    version=NEW,
    steps=[("fetch", 0), ("switch", ("s2", "dc2")), ("look", 0), ("fetch", 0), ("fetch", 1), ("confirm", 1)],
)
@example(
    # The store goes back, and on from there: the one who sees that has sent the Envoy what was there before.
    version=NEW,
    steps=[
        *[("fetch", 0), ("backup", None), ("switch", ("s2", "dc2")), ("config", ({"s2", "s4"}, ["dc2", "dc3"]))],
        *[("look", 0), ("deliver", 100), ("restore", None), ("confirm", 0), ("deliver", 100)],
        *[("switch", ("s2", "dc3")), ("look", 0)],
    ],
)
@example(
    # The same, and the Envoy comes to the other one, who knows nothing of all that.
    version=OLD,
    steps=[
        *[("backup", None), ("switch", ("s2", "dc2")), ("config", ({"s2", "s4"}, []))],
        *[("look", 0), ("fetch", 0), ("restore", None), ("fetch", 1), ("confirm", 1), ("deliver", 100)],
        *[("switch", ("s2", "dc3")), ("look", 1)],
    ],
)
@example(
    # A cluster becomes again what it was before its successor has warmed: on the endpoints that the Envoy has.
    version=NEW,
    steps=[
        *[("backup", None), ("deliver", 100), ("config", ({"s2", "s3"}, [])), ("confirm", 0), ("deliver", 1)],
        *[("restore", None), ("confirm", 0)],
    ],
)
@example(
    # It comes back to an adapter that is as far, and goes back with the store then.
    version=OLD,
    steps=[
        *[("backup", None), ("config", ({"s3", "s4"}, [])), ("confirm", 0), ("fetch", 0), ("fetch", 0)],
        *[("restore", None), ("confirm", 0), ("deliver", 100)],
    ],
)
@settings(max_examples=share_of(100), deadline=None)
@given(version=st.sampled_from([NEW, OLD]), steps=st.lists(STEPS, max_size=40))
def test_whatever_happens_nothing_is_torn_or_missing_or_goes_back_but_with_the_store_and_all_arrives(
    delta: bool, version: EnvoyVersion, steps: list[Step], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = SQLiteStore(tmp_path_factory.mktemp("ads") / "store.db")
    publisher, envoy, now = Publisher(store), Model(delta), 1000.0
    generation, failover, at = 1, ["dc2", "dc3"], 0
    serving = dict.fromkeys(SERVICES, "dc1")
    written = 0
    # What the store had, in order of time, by service; a restore is one more moment. What came before one counts no
    # more for who has looked since.
    lines: dict[str, list[int]] = {service: [] for service in SERVICES}
    unaware: set[int] = set()
    saved: dict[str, tuple[bytes, int | None]] = {}

    def publish(service: str) -> None:
        nonlocal written
        written += 1
        # The port tells which version it was.
        gateways = dict.fromkeys(("dc1", "dc2", "dc3"), 9000 + written)
        found = instances([serving[service]], gateways, service, port=9000 + written, named=NAMED.get(service, ()))
        plan = sidecar_plan(service=service, failover=failover)
        publisher.head(plan, compute(plan, found, TRUST_DOMAIN))
        lines[service].append(9000 + written)

    def back_up() -> None:
        for each in store.list(""):
            stored = store.get(each.key)
            assert stored
            service = each.key.rpartition("/")[2].partition(".")[0]
            saved[each.key] = stored.data, lines[service][-1] if service in lines else None

    def restore() -> None:
        for key, (data, port) in saved.items():
            publisher.garbage(key, data)
            if port is not None:
                lines[key.rpartition("/")[2].partition(".")[0]].append(port)
        unaware.update(range(2) if saved else ())

    def deliver(number: int) -> None:
        for _ in range(number):
            envoy.hear(sources[at], now)
            if not envoy.responses:
                envoy.hear(sources[at], now)  # once more: nothing becomes right by itself
            if not envoy.responses:
                return
            envoy.take(now)
            look_at()

    seen: dict[str, int] = {}

    def look_at() -> None:
        envoy.check()
        if delta:
            assert {f"{each}.default.dc1.internal.{TRUST_DOMAIN}" for each in envoy.listeners} <= envoy.active.keys()
        for name, (_, assignment) in envoy.active.items():
            port = assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value
            line = lines[name.partition(".")[0]]
            # The earliest moment at which the store had that, after the one at which it had what the Envoy had before.
            later = [moment for moment in range(seen.get(name, 0), len(line)) if line[moment] == port]
            assert later or at in unaware, "it went back"
            seen[name] = later[0] if later else line.index(port)
        for name in seen.keys() - envoy.active.keys():
            del seen[name]

    for service in SERVICES:
        publish(service)
    publisher.manifest(MANIFEST, manifest("s2", "s3"))
    sources = [Source(store, version) for _ in range(2)]
    for source in sources:
        source.look()
    envoy.connect(now)
    for what, how in steps:
        if what == "switch":
            serving[how[0]] = how[1]
            publish(how[0])
        elif what == "config":
            generation += 1
            services, failover = sorted(how[0]), how[1]
            for service in SERVICES:
                publish(service)
            publisher.manifest(MANIFEST, manifest(*services, generation=generation))
        elif what == "deliver":
            deliver(how)
        elif what == "look":
            sources[how].look()
        elif what == "confirm":
            sources[how].confirm()
            unaware.discard(how)
        elif what == "backup":
            back_up()
        elif what == "restore":
            restore()
        elif what in ("connect", "fetch"):
            at = how
            envoy.connect(now)
            deliver(100 if what == "fetch" else 0)
        else:
            now += how
    for _ in range(4):
        # It may turn out only now that the Envoy is ahead, in one kind after the other.
        sources[at].confirm()
        deliver(100)
        now += PATIENCE_S
    assert not sources[at].follower.ahead
    wanted = sources[at].resources
    assert envoy.listeners == set(wanted.of[LISTENERS])
    assert {name: each.SerializeToString(deterministic=True) for name, (each, _) in envoy.active.items()} == {
        each.name: each.cluster for each in wanted.delivery.clusters
    }
    asking = [each for cluster, each in envoy.active.values() if not _resolves(cluster)]
    assert {each.SerializeToString(deterministic=True) for each in asking} == {
        each.assignment for each in wanted.delivery.clusters if each.place
    }
    assert not envoy.warming
    for each in wanted.delivery.clusters:
        body = publisher.body(keys.snapshot(f"dc1/sidecar/{each.name.partition('.internal.')[0]}"))
        assert body
        assert body["version"] == each.snapshot.version
    store.close()


def _brought(store: SQLiteStore, delta: bool) -> tuple[Source, Model]:
    """An Envoy that has everything."""
    source, envoy = Source(store, NEW), Model(delta)
    source.look()
    envoy.connect(0.0)
    _deliver(source, envoy, 0.0)
    return source, envoy


def _deliver(source: Source, envoy: Model, now: float) -> list[ResourceKind]:
    """Send everything that is due. Returns the kinds."""
    kinds = []
    while True:
        envoy.hear(source, now)
        if not envoy.responses:
            return kinds
        kinds.append(ResourceKind(envoy.responses[0].type_url))
        envoy.take(now)


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "state of the world"])
def test_a_cluster_that_changes_gets_its_endpoints_again_though_they_are_the_same(
    store: Remote, publisher: Publisher, delta: bool
) -> None:
    plan = sidecar_plan("")
    first = compute(plan, instances(["dc1"]), TRUST_DOMAIN)
    publisher.head(plan, first)
    publisher.manifest(MANIFEST, manifest("s2"))
    source, envoy = _brought(store, delta)
    slower = Cluster.FromString(first.cluster)
    slower.connect_timeout.seconds += 1
    publisher.head(plan, replace(first, cluster=slower.SerializeToString(deterministic=True)))
    source.look()
    assert _deliver(source, envoy, 1.0) == [CLUSTERS, ENDPOINTS]
    assert not envoy.warming


def test_what_has_ended_does_not_come_back_by_an_adapter_that_does_not_know_it_yet(
    store: Remote, published: Publisher
) -> None:
    behind = Source(store, NEW)
    behind.look()
    source, envoy = _brought(store, delta=True)
    published.manifest(MANIFEST, manifest("s3", generation=2))
    source.look()
    assert _deliver(source, envoy, 1.0) == [LISTENERS]
    assert _deliver(source, envoy, 1.0 + SETTLE_S) == [CLUSTERS]
    assert (envoy.listeners, {*envoy.active}) == ({"s3"}, {f"s3.default.dc1.internal.{TRUST_DOMAIN}"})
    envoy.connect(2.0 + SETTLE_S)
    assert _deliver(behind, envoy, 2.0 + SETTLE_S) == []
    assert envoy.listeners == {"s3"}


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "state of the world"])
def test_listeners_wait_for_their_clusters_but_not_for_ever_and_clusters_for_them_to_go(
    store: Remote, published: Publisher, delta: bool
) -> None:
    source, envoy = _brought(store, delta)
    published.head(sidecar_plan(service="s4"), content(service="s4"))
    published.manifest(MANIFEST, manifest("s2", "s4", generation=2))
    source.look()
    envoy.hear(source, 10.0)
    assert [ResourceKind(each.type_url) for each in envoy.responses] == [CLUSTERS]
    envoy.hear(source, 10.0 + PATIENCE_S)
    assert [ResourceKind(each.type_url) for each in envoy.responses] == [CLUSTERS, LISTENERS]
    assert _deliver(source, envoy, 20.0) == [CLUSTERS, LISTENERS, ENDPOINTS]
    assert f"s3.default.dc1.internal.{TRUST_DOMAIN}" in envoy.active
    assert _deliver(source, envoy, 20.0 + SETTLE_S) == [CLUSTERS]
    assert f"s3.default.dc1.internal.{TRUST_DOMAIN}" not in envoy.active


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "state of the world"])
def test_rejected_listeners_are_sent_again_every_few_seconds_until_the_envoy_takes_them(
    store: Remote, published: Publisher, delta: bool
) -> None:
    source, envoy = _brought(store, delta)
    published.head(sidecar_plan(service="s4"), content(service="s4"))
    published.manifest(MANIFEST, manifest("s2", "s3", "s4", generation=2))
    source.look()
    now = 10.0
    envoy.hear(source, now)
    while ResourceKind(envoy.responses[0].type_url) is not LISTENERS:
        envoy.take(now)
        envoy.hear(source, now)
    for _ in range(3):
        envoy.take(now, refuse="cannot bind: Address already in use")
        assert _deliver(source, envoy, now + OFFERED_AGAIN_S - 0.01) == []
        now += OFFERED_AGAIN_S
        envoy.hear(source, now)
        (again,) = envoy.responses
        assert ResourceKind(again.type_url) is LISTENERS
        assert len(again.resources) == (1 if delta else 3)
    envoy.take(now)
    assert envoy.listeners == {"s2", "s3", "s4"}
    assert _deliver(source, envoy, now + 2 * OFFERED_AGAIN_S) == []


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "state of the world"])
def test_listeners_wait_a_while_for_host_names_to_be_resolved_and_of_an_envoy_that_starts_they_do_not(
    store: Remote, published: Publisher, delta: bool
) -> None:
    published.head(sidecar_plan(), content(["dc2"], named=["dc2"]))
    source, envoy = _brought(store, delta)
    assert envoy.listeners == {"s2", "s3"}
    assert _resolves(envoy.active[f"s2.default.dc1.internal.{TRUST_DOMAIN}"][0])
    published.head(sidecar_plan(service="s4"), content(["dc2"], service="s4", named=["dc2"]))
    published.manifest(MANIFEST, manifest("s2", "s3", "s4", generation=2))
    source.look()
    assert _deliver(source, envoy, 10.0) == [CLUSTERS]
    assert _deliver(source, envoy, 10.0 + RESOLVE_S / 2) == []
    assert _deliver(source, envoy, 10.0 + RESOLVE_S) == [LISTENERS]
    # Back to IP addresses, on the endpoints that it asks for then.
    published.head(sidecar_plan(), content(["dc3"], named=["dc2"]))
    source.look()
    assert _deliver(source, envoy, 20.0) == [CLUSTERS, ENDPOINTS]
    assert not envoy.warming
