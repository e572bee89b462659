"""Everything that an adapter keeps has a bound and a way out: proxies come and go, and what is kept is who is there."""

import contextlib
import gc
import os
import queue
import random
import types
import weakref
from itertools import chain
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from pointsman.adapter.admin import watch
from pointsman.adapter.ads import ads_adapter, subscription
from pointsman.adapter.ads import stream as ads_stream
from pointsman.adapter.ads.server import MOST_STREAMS_OF_ONE, SERVICE
from pointsman.adapter.follow import discovering
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.idle import IDLE_SECONDS, LOOK_SECONDS, Idle
from pointsman.adapter.follow.saved import Saved
from pointsman.adapter.rest import rejections
from pointsman.adapter.rest.held import RestChannel
from pointsman.aws import noticed
from pointsman.aws.noticed import NoticedStore
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.proxy import ProxyId, SidecarId
from pointsman.discovery.request import LONGEST_TEXT, Asker, DiscoveryRequest
from pointsman.store import keys
from pointsman.store.protocol import Store
from pointsman.xds.manifest import SidecarManifest

from tests.adapter import rest, streams
from tests.adapter.doubles import Clock, Remote
from tests.adapter.node import MANIFEST, NEW, S1, Node, listener
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.adapter.streams import CLUSTERS, ENDPOINTS, asks, names, node, stream
from tests.fleet.process import wait_until
from tests.pipeline.memory import Connection, MemoryStore

_NOT_KEPT = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.FrameType, types.CodeType)


def held(*roots: Any) -> int:
    """How many entries all the collections have that are reached from `roots` by way of our own objects."""
    seen, found, rest_ = {id(each) for each in roots}, 0, list(roots)
    while rest_:
        of = rest_.pop()
        found += len(of) if isinstance(of, dict | list | set | tuple | frozenset) else 0
        for each in gc.get_referents(of):
            ours = type(each).__module__.startswith("pointsman") or type(each).__module__ in ("builtins", "collections")
            ours |= type(each).__module__ == "weakref"
            if ours and id(each) not in seen and not isinstance(each, _NOT_KEPT):
                seen.add(id(each))
                rest_.append(each)
    return found


class Fleet:
    """Sidecars of any number of services, each with upstreams of its own and one that all share."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher, self._generation = publisher, 0
        publisher.head(sidecar_plan(service="shared"), content(service="shared"))

    def register(self, number: int, chance: random.Random) -> None:
        """A registration that is new, or changes its upstreams."""
        self._generation += 1
        upstreams = [f"u{number}-{chance.randrange(4)}" for _ in range(2)]
        for each in upstreams:
            self._publisher.head(sidecar_plan(service=each), content([chance.choice(["dc1", "dc2"])], service=each))
        clusters = tuple(sorted({f"{each}.default.dc1" for each in [*upstreams, "shared"]}))
        made = SidecarManifest(self._generation, clusters, (listener("s2"),))
        self._publisher.manifest(*proxy(number).manifest_keys, made)

    def delete(self, number: int) -> None:
        """The registration is deleted."""
        self._generation += 1
        gone = SidecarManifest(self._generation, (), (), retired=True)
        self._publisher.manifest(*proxy(number).manifest_keys, gone)


def proxy(number: int) -> SidecarId:
    return SidecarId("dc1", "default", f"s{number}")


class Served:
    """One follower with both network adapters, and the release of idle proxies; the test moves the time."""

    def __init__(self, store: Store, directory: Path, clock: Clock) -> None:
        self.clock = clock
        self.kept = Saved(directory, "store", now=clock)
        self.follower = Follower(store, clock=clock, kept=self.kept)
        self.ads = ads_adapter.AdsAdapter(self.follower, clock=clock)
        self.rest = rest.RestAdapter(self.follower, rest.Metrics(lambda: 0.0, lambda: ""))
        self.idle = Idle(self.follower, [self.ads, self.rest], clock)

    def look(self, after: float = 0.0) -> None:
        """What the follower's thread does."""
        self.clock.now += after
        changed = self.follower.refresh()
        for way in (self.ads, self.rest):
            way.on_change(changed)
        self.idle.look()
        self.kept.flush()

    def come(self, who: ProxyId) -> "Come":
        """An Envoy begins to stream, and another one to poll."""
        return Come(self, who)


class Open:
    """What the adapter reads of a stream that is open."""

    def __init__(self, who: ProxyId) -> None:
        self.proxy, self.node = who, ""

    def wake(self) -> None:
        """Somebody waits here."""


class Come:
    """Who came, until `go`."""

    def __init__(self, served: Served, who: ProxyId) -> None:
        self._served, self._channel = served, ads_stream.Channel()
        self._stream: Any = Open(who)
        served.follower.join(who)
        with served.ads._lock:
            self._channel = served.ads._channels.setdefault((who, True), self._channel)
            self._channel.streams.add(self._stream)
        served.ads._streams.add(self._stream)
        served.ads._look_for(who, NEW, self._channel)
        found = served.rest._lookup._look(who, NEW)
        if not isinstance(found, tuple):
            served.rest._channels.setdefault((who, True), RestChannel()).take(found)

    def go(self) -> None:
        """Hang up."""
        self._channel.streams.discard(self._stream)
        self._served.ads._streams.discard(self._stream)
        self._served.ads._forget(self._stream.proxy, NEW, self._channel)


@pytest.mark.parametrize("proxies", [800, pytest.param(10_000, marks=pytest.mark.soak)])
def test_any_number_of_proxies_come_and_go_and_what_is_kept_is_who_is_there(
    proxies: int, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    store = Connection(MemoryStore())
    chance, fleet = random.Random(7), Fleet(Publisher(store))
    served = Served(store, tmp_path / "kept", clock)
    there: dict[int, Come] = {}
    at_once, sizes, most = 20, [], 0
    for number in range(proxies):
        fleet.register(number, chance)
        there[number] = served.come(proxy(number))
        if len(there) > at_once:
            leaving = chance.choice(list(there))
            there.pop(leaving).go()
            if chance.random() < 0.5:
                fleet.delete(leaving)
        for again in chance.sample(sorted(there), min(2, len(there))):
            fleet.register(again, chance)
        # Some ask for what is not registered (any more, or ever).
        served.come(proxy(chance.randrange(10_000_000, 20_000_000))).go()
        if number % 5 == 0:
            store.calls.clear()
            served.look(after=LOOK_SECONDS)
            most = max(most, len(served.follower.proxies))
        if number % 100 == 99:
            for _ in range(3):
                served.look(after=IDLE_SECONDS)
            assert served.follower.proxies == {proxy(each) for each in there}
            assert set(served.ads._channels) == set(served.rest._channels) == {(proxy(each), True) for each in there}
            gc.collect()
            sizes.append(held(served.follower, served.ads, served.rest, served.idle, served.kept))
            assert len(list((tmp_path / "kept").glob("*.kept"))) <= 4 * len(there) + 1
    print(f"entries kept after every 100 of {proxies} proxies, with {at_once} there: {sizes}")
    # In between, those that came within the idle time, and no more.
    assert most <= at_once + 5 * 2 * (IDLE_SECONDS / LOOK_SECONDS + 2)
    assert max(sizes[1:]) <= 1.2 * sizes[0]
    for each in there.values():
        each.go()
    for _ in range(3):
        served.look(after=IDLE_SECONDS)
    assert not served.follower.proxies
    gc.collect()
    assert held(served.follower, served.ads, served.rest, served.idle, served.kept) < sizes[0] / 4


def test_nobody_is_let_go_while_the_store_is_away_nor_while_they_stream_nor_who_is_named(
    store: Remote, publisher: Publisher, tmp_path: Path, clock: Clock
) -> None:
    chance, fleet = random.Random(7), Fleet(publisher)
    fleet.register(1, chance)
    fleet.register(2, chance)
    served = Served(store, tmp_path / "kept", clock)
    streams_, leaves = served.come(proxy(1)), served.come(proxy(2))
    leaves.go()
    served.look()
    store.leave()
    for _ in range(5):
        served.look(after=IDLE_SECONDS)
    assert served.follower.proxies == {proxy(1), proxy(2)}
    store.come_back()
    for _ in range(3):
        served.look(after=IDLE_SECONDS)
    assert served.follower.proxies == {proxy(1)}
    streams_.go()
    named = Follower(store, [proxy(1)], clock=clock)
    named.refresh()
    named.forget([proxy(1)])
    assert named.proxies == {proxy(1)}
    # What comes back is newer than whatever was sent before it was let go.
    before = served.follower.view(proxy(1))
    served.follower.forget([proxy(1)])
    assert served.follower.join(proxy(1)) == {proxy(1)}
    after = served.follower.view(proxy(1))
    assert before is not None
    assert after is not None
    assert after.version > before.version


def test_files_of_hundreds_that_come_and_go(root: Path, clock: Clock) -> None:
    store = Connection(MemoryStore())
    chance, fleet = random.Random(7), Fleet(Publisher(store))
    node_ = Node(store, root, clock, proxies=())
    sizes, read = [], []
    for number in range(300):
        fleet.register(number, chance)
        if number >= 10:
            fleet.delete(number - 10)
        if number % 20 == 19:
            node_.follower.discover()
            node_.turn(after=61)
        if number % 50 == 49:
            node_.follower.discover()
            node_.turn()
            node_.turn(after=86_400)
            node_.turn(after=61)
            node_.turn(after=86_400)
            gc.collect()
            # All but what is remembered of each deleted registration, which has a bound of its own.
            found = node_.follower._discovering
            ended, found._ended = found._ended, {}
            sizes.append(held(node_.adapter))
            found._ended = ended
            assert len(list((root / "dc1/sidecar/default").iterdir())) <= 20
            # Deleted registrations are listed, and not read again.
            store.calls.clear()
            node_.follower.discover()
            node_.turn()
            read.append(sum(len(keys) for name, keys in store.calls if name == "changes"))
    print(f"entries kept after every 50 of 300 proxies: {sizes}; keys looked at: {read}")
    assert max(sizes[1:]) <= 1.3 * sizes[0]
    assert max(read) <= 1.3 * read[0]


def test_deleted_registrations_are_remembered_within_a_bound(
    store: Remote, publisher: Publisher, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovering, "MOST_ENDED", 10)
    fleet, follower = Fleet(publisher), Follower(store, clock=clock)
    for number in range(30):
        fleet.delete(number)
    follower.discover()
    follower.refresh()
    assert (len(follower._discovering._ended), follower.proxies) == (10, frozenset())
    # Those that are forgotten are read again, and are no less retired.
    assert len(follower.discover()) == 20
    assert not any(follower.view(each) for each in map(proxy, range(30)) if follower.refresh() is not None)


def test_what_waits_for_a_disk_is_what_is_followed_or_there(tmp_path: Path, clock: Clock) -> None:
    store = Connection(MemoryStore())
    chance, fleet = random.Random(7), Fleet(Publisher(store))
    kept = Saved(tmp_path / "kept", "store", now=clock)
    follower = Follower(store, clock=clock, kept=kept)
    for number in range(200):
        fleet.register(number, chance)
        follower.join(proxy(number))
        if number >= 5:
            follower.forget([proxy(number - 5)])
        assert len(kept._pending) <= 5 * 4 + 1
    assert kept.flush()
    assert len(list((tmp_path / "kept").glob("*.kept"))) <= 5 * 4 + 1


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds of streams, small enough to be reached."""
    monkeypatch.setattr(ads_adapter, "MOST_STREAMS", 2)
    monkeypatch.setattr(ads_stream, "MOST_NAMES", 50)
    monkeypatch.setattr(subscription, "MOST_UNANSWERED", 3)


@pytest.mark.usefixtures("short")
def test_so_many_streams_and_the_others_are_told(store: Remote, published: Publisher) -> None:
    with streams.Adapter(store) as adapter, contextlib.ExitStack() as held_:
        first, second, third = (held_.enter_context(stream(adapter.server.address)) for _ in range(3))
        for each in (first, second):
            each.say(CLUSTERS, node=node(NEW))
            each.hear()
        third.say(CLUSTERS, node=node(NEW))
        with pytest.raises(grpc.RpcError) as refused:
            third.hear()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "there are 2 streams already" in refused.value.details()
        assert 'pointsman_refused_total{reason="full",way="ads"} 1.0' in adapter.metrics.text().decode()
        first.close()
        wait_until(lambda: len(adapter.adapter._streams) == 1, "one to end")
        fourth = held_.enter_context(stream(adapter.server.address))
        fourth.say(CLUSTERS, node=node(NEW))
        assert names(fourth.hear()) == ["s2", "s3"]


class Noted:
    """A request, of which is known for how long anything holds it."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    @property
    def __class__(self) -> Any:
        """For `isinstance`."""
        return type(self._request)


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "state of the world"])
def test_a_stream_does_not_hold_the_requests_that_it_has_processed(
    delta: bool, store: Remote, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_: weakref.WeakSet[Noted] = weakref.WeakSet()
    read = []

    def reader(message: Any, made: Any = ads_adapter._reader) -> Any:
        def noted(data: bytes) -> Any:
            found = Noted(made(message)(data))
            held_.add(found)
            read.append(found.type_url)
            return found

        return noted

    # Each may have a node of 77 KB, and a stream lasts for days.
    monkeypatch.setattr(ads_adapter, "_reader", reader)
    with streams.Adapter(store) as adapter, stream(adapter.server.address, delta) as envoy:
        envoy.say(CLUSTERS, node=node(NEW))
        response = envoy.hear()
        wait_until(lambda: (len(read), len(held_)) == (1, 0), "the first request to be let go")
        envoy.accept(response, node=node(NEW))
        wait_until(lambda: (len(read), len(held_)) == (2, 0), "the second one to be let go")


def test_nothing_grows_with_the_changes_that_streams_take(store: Remote, published: Publisher) -> None:
    sizes = []
    with streams.Adapter(store) as adapter, contextlib.ExitStack() as held_:
        spoken = [held_.enter_context(stream(adapter.server.address, delta)) for delta in (True, False)]

        def acknowledged() -> bool:
            kinds = [each["kinds"].values() for each in adapter.adapter.config_dump()["streams"]]
            return not any(kind["unanswered"] for kind in chain(*kinds))

        for each in spoken:
            each.say(CLUSTERS, node=node(NEW))
            response = each.hear()
            each.accept(response)
            each.say(
                ENDPOINTS, **{"resource_names_subscribe" if each is spoken[0] else "resource_names": asks(response)}
            )
            each.accept(each.hear())
        for change in range(1, 151):
            published.head(sidecar_plan(), content(["dc2" if change % 2 else "dc1"]))
            for each in spoken:
                each.accept(each.hear())
            if change % 50 == 0:
                wait_until(acknowledged, "all to be acknowledged")
                gc.collect()
                sizes.append(held(adapter.adapter, adapter.follower))
    print(f"entries kept after every 50 changes: {sizes}")
    assert max(sizes) <= 1.02 * sizes[0]


def test_one_connection_has_so_many_streams_and_the_next_waits_for_one_to_end(
    store: Remote, published: Publisher
) -> None:
    message = DeltaDiscoveryRequest(type_url=CLUSTERS.value, node=node(NEW)).SerializeToString()
    with streams.Adapter(store) as adapter, grpc.insecure_channel(adapter.server.address) as channel:
        call = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")
        later: queue.SimpleQueue[bytes] = queue.SimpleQueue()

        def open_one() -> Any:
            return call(chain([message], iter(later.get, b"")), timeout=60)

        first, *others = [open_one() for _ in range(MOST_STREAMS_OF_ONE)]
        for each in (first, *others):
            next(each)
        beyond = [open_one() for _ in range(20)]
        with stream(adapter.server.address) as another:
            another.say(CLUSTERS, node=node(NEW))
            another.hear()
            assert len(adapter.adapter._streams) == MOST_STREAMS_OF_ONE + 1
        first.cancel()
        assert next(beyond[0])
        for _ in range(MOST_STREAMS_OF_ONE + 20):
            later.put(b"")


def ended(envoy: streams.Spoken) -> str:
    """Why a stream with too much on it ends; responses before that are ignored."""
    with pytest.raises(grpc.RpcError) as refused:
        _hear_all(envoy)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return str(refused.value.details())


def _hear_all(envoy: streams.Spoken) -> None:
    while True:
        envoy.hear()


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("delta", [True, False], ids=["delta", "state of the world"])
def test_a_stream_holds_so_many_names_and_ends_beyond(delta: bool, store: Remote, published: Publisher) -> None:
    with streams.Adapter(store) as adapter:
        for field in ["initial_resource_versions", "resource_names_subscribe"] if delta else ["resource_names"]:
            many: Any = {f"n{number}": "1" for number in range(51)}
            with stream(adapter.server.address, delta) as envoy:
                envoy.say(CLUSTERS, node=node(NEW), **{field: many if field.startswith("initial") else list(many)})
                assert "more than 50 names" in ended(envoy)
        # A little at a time comes to the same.
        if delta:
            with stream(adapter.server.address) as envoy:
                envoy.say(CLUSTERS, node=node(NEW))
                for number in range(60):
                    envoy.say(ENDPOINTS, resource_names_subscribe=[f"n{number}"])
                assert "more than 50 names" in ended(envoy)


@pytest.mark.usefixtures("short")
def test_an_envoy_that_reads_and_never_answers_is_remembered_so_much_of(store: Remote, published: Publisher) -> None:
    with streams.Adapter(store) as adapter, stream(adapter.server.address) as envoy:
        envoy.say(CLUSTERS, node=node(NEW))
        places = asks(envoy.hear())
        envoy.say(ENDPOINTS, resource_names_subscribe=places)
        responses = [envoy.hear()]
        for number in range(10):
            published.head(sidecar_plan(), content([f"dc{number % 2 + 2}"]))
            responses.append(envoy.hear())
        (open_,) = adapter.adapter._streams
        assert {len(each.unanswered) for each in open_._conversation.subscriptions.values()} == {1, 3}
        # What it says to the last one counts.
        envoy.reject(responses[-1], "x" * 100_000)
        (rejection,) = wait_until(adapter.adapter.rejections, "it to be heard")
        assert len(rejection.reason) == subscription.MOST_REASON


@pytest.mark.parametrize("way", ["ads", "rest"])
def test_a_node_id_a_version_and_a_name_have_a_length(way: str, store: Remote, published: Publisher) -> None:
    long = "x" * (LONGEST_TEXT + 1)
    if way == "ads":
        with streams.Adapter(store) as adapter, stream(adapter.server.address) as envoy:
            who = node(NEW)
            who.id = "x" * 257
            envoy.say(CLUSTERS, node=who)
            with pytest.raises(grpc.RpcError, match="257 characters, 256 at most"):
                envoy.hear()
            for delta in (True, False):
                fields = ["resource_names_subscribe", "initial_resource_versions"] if delta else ["resource_names"]
                for field in fields:
                    names_ = {long: "1"} if field.startswith("initial") else [long]
                    with stream(adapter.server.address, delta) as envoy:
                        envoy.say(ENDPOINTS, node=node(NEW), **{field: names_})
                        with pytest.raises(grpc.RpcError, match="a name of 1025 characters, 1024 at most"):
                            envoy.hear()
        return
    with rest.Adapter(store) as adapter_:
        for reply in (
            rest.Envoy(adapter_, {**rest.NODE, "id": "x" * 257}).ask("clusters"),
            rest.Envoy(adapter_).ask("clusters", long),
            rest.Envoy(adapter_).ask("endpoints", "", long),
        ):
            assert (reply.status, "at most are taken" in reply.json["error"]) == (400, True)


def test_rejections_over_http_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "_MOST", 30)
    monkeypatch.setattr(rejections, "_MOST_FOUND", 20)
    found = rejections.Rejections()
    requests = [
        DiscoveryRequest(Asker(S1, NEW, f"node-{number}"), ResourceKind.CLUSTERS, "", "1.0.0-1")
        for number in range(100)
    ]
    for each in requests:
        found.sent(each, "2.0.0-2", 0.0)
    assert sum(found.asked(each, 1.0) for each in requests) == 30
    assert len(found.all(2.0, lambda *_: False)) == 20
    assert found.all(1000.0, lambda *_: False) == []


def test_notices_that_nobody_takes_are_kept_within_a_bound_and_then_everything_is_read(
    store: Remote, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noticed, "MOST_HEARD_BYTES", 10_000)
    told = NoticedStore(store, lambda: pytest.fail("no queue is made"))
    told._listener._turns, told._listener._silent = 1, False
    follower = Follower(told, [S1])
    follower.refresh()
    assert follower.view(S1) is not None
    told.changes({MANIFEST: None}, "1")
    published.head(sidecar_plan(), content(["dc2"]))
    for number in range(500):
        head = {"serial": number + 1, "filler": "x" * 200}
        notice = {"key": keys.snapshot(f"dc1/sidecar/u{number}"), "version": 1, "head": head}
        told._hear([orjson.dumps(notice).decode()])
        assert sum(map(len, (data for _, data in told._heard.values()))) <= 10_000
    assert told._lost
    assert told.wait("", 0.0)
    assert follower.refresh() == {S1}


def test_the_series_of_the_metrics_do_not_grow_with_proxies(store: Remote, publisher: Publisher) -> None:
    publisher.head(sidecar_plan(), content())
    with streams.Adapter(store) as adapter:
        counts = []
        for number in range(12):
            publisher.manifest(*proxy(number).manifest_keys, SidecarManifest(1, ("s2.default.dc1",), ()))
            with stream(adapter.server.address) as envoy:
                envoy.say(CLUSTERS, node=node(NEW, f"s{number}"))
                envoy.reject(envoy.hear(), f"reason {number}")
                wait_until(lambda number=number: str(number) in str(adapter.adapter.rejections()), "it to be heard")  # type: ignore[misc]
            counts.append(len(adapter.metrics.text().splitlines()))
    assert counts[1:] == [counts[1]] * 11


def test_what_an_admin_tells_is_looked_at_so_much_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MOST_REJECTED", 5)

    class Endless:
        """An admin with as many clusters as there are."""

        def __init__(self) -> None:
            self.asked: list[str] = []

        def __str__(self) -> str:
            return "127.0.0.1:9901"

        def get(self, path: str) -> Any:
            self.asked.append(path)
            if path == "/server_info":
                return {"node": {"id": "s1-1", "cluster": "s1", "metadata": {"datacenter": "dc1"}}}
            stats = [{"name": f"cluster.c{number}.update_rejected", "value": 1} for number in range(1000)]
            return {"stats": [*stats, {"name": "server.uptime", "value": 9}]}

    admin: Any = Endless()
    looking = watch.AdminWatch([admin], rest.Metrics(lambda: 0.0, lambda: ""), lambda _: (), lambda *_: False)
    looking.look()
    assert len(looking.rejections()) == 5
    assert max(map(len, admin.asked)) < 1000
