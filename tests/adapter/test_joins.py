"""Envoys that come all at once cost the store what they need, once: objects, not objects times proxies."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws
from pointsman.adapter.follow import joins
from pointsman.adapter.follow.follower import Follower
from pointsman.discovery.proxy import ProxyId, SidecarId
from pointsman.store.protocol import Changes, Stored, StoreError
from pointsman.store.s3 import S3Store
from pointsman.xds.manifest import SidecarManifest

from tests.adapter import rest, streams
from tests.adapter.doubles import Remote
from tests.adapter.node import NEW, listener
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.adapter.streams import CLUSTERS, node, stream
from tests.fleet.process import wait_until

PROXIES, CLUSTERS_EACH = 200, 5
OBJECTS = PROXIES * (1 + CLUSTERS_EACH)


class Bucket(Remote):
    """A store that is asked for each object by a request of its own, and counts them; it waits while it is `slow`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.requests = 0
        self.fast = threading.Event()
        self.fast.set()

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        self.requests += len(known)
        self.fast.wait(30)
        return super().changes(known, "")

    def get(self, key: str) -> Stored | None:
        self.requests += 1
        return super().get(key)

    def wait(self, cursor: str, timeout: float) -> bool:
        threading.Event().wait(timeout)
        return True


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    bucket = Bucket(tmp_path / "bucket.db")
    publisher = Publisher(bucket)
    for number in range(PROXIES):
        names = [f"u{number}-{each}" for each in range(CLUSTERS_EACH)]
        for name in names:
            publisher.head(sidecar_plan(service=name), content(service=name))
        made = SidecarManifest(1, tuple(f"{each}.default.dc1" for each in names), (listener("s2"),))
        publisher.manifest(*SidecarId("dc1", "default", f"s{number}").manifest_keys, made)
    yield bucket
    bucket.close()


@contextlib.contextmanager
def quiet(adapter: streams.Adapter | rest.Adapter) -> Iterator[None]:
    """Its own looks at the store, which all proxies share, have ended: what is counted is what joins cost."""
    adapter._stop.set()
    with adapter:
        adapter._thread.join()
        yield


def test_many_streams_that_begin_at_once_cost_one_reading(bucket: Bucket) -> None:
    adapter = streams.Adapter(bucket)
    with quiet(adapter), contextlib.ExitStack() as held:
        before = bucket.requests
        spoken = [held.enter_context(stream(adapter.server.address)) for _ in range(PROXIES)]
        for number, each in enumerate(spoken):
            each.say(CLUSTERS, node=node(NEW, f"s{number}"))
        for each in spoken:
            assert len(each.hear().resources) == CLUSTERS_EACH
        asked = bucket.requests - before
    print(f"{PROXIES} streams that began at once: {asked} conditional reads for {OBJECTS} objects")
    assert asked == OBJECTS


def test_many_first_polls_at_once_cost_one_reading(bucket: Bucket) -> None:
    adapter = rest.Adapter(bucket, pause=20.0)
    with quiet(adapter), ThreadPoolExecutor(PROXIES) as pool:
        before = bucket.requests
        envoys = [
            rest.Envoy(adapter, {**rest.NODE, "extensions": [], "id": f"s{number}-1", "cluster": f"s{number}"})
            for number in range(PROXIES)
        ]
        replies = list(pool.map(lambda envoy: envoy.ask("clusters", timeout=60), envoys))
        asked = bucket.requests - before
    assert [len(each.resources) for each in replies] == [CLUSTERS_EACH] * PROXIES
    print(f"{PROXIES} first polls at once: {asked} conditional reads for {OBJECTS} objects")
    assert asked == OBJECTS


def test_so_many_are_prepared_for_at_a_time_and_the_others_wait_in_their_order(bucket: Bucket) -> None:
    adapter = streams.Adapter(bucket)
    with quiet(adapter), contextlib.ExitStack() as held:
        bucket.fast.clear()
        spoken = [held.enter_context(stream(adapter.server.address)) for _ in range(joins.JOINS_AT_ONCE + 7)]
        for number, each in enumerate(spoken):
            each.say(CLUSTERS, node=node(NEW, f"s{number}"))
        wait_until(lambda: adapter.adapter.waiting == 7, "the others to wait")
        assert len(adapter.follower.proxies) <= joins.JOINS_AT_ONCE
        bucket.fast.set()
        for each in spoken:
            assert len(each.hear().resources) == CLUSTERS_EACH
        assert adapter.adapter.waiting == 0


def test_a_lone_join_reads_its_own_objects_and_nothing_that_others_have(bucket: Bucket) -> None:
    adapter = streams.Adapter(bucket)
    with quiet(adapter):
        for number in range(20):
            before = bucket.requests
            with stream(adapter.server.address) as envoy:
                envoy.say(CLUSTERS, node=node(NEW, f"s{number}"))
                envoy.hear()
            assert bucket.requests - before == 1 + CLUSTERS_EACH
        before = bucket.requests
        assert adapter.follower.join(SidecarId("dc1", "default", "s3")) == set()
        assert bucket.requests == before


def test_on_a_bucket_that_is_polled_requests_grow_with_objects_and_not_with_proxies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks, asked = [], []
    refresh = Follower.refresh

    def look(follower: Follower) -> set[ProxyId]:
        looks.append(follower)
        return refresh(follower)

    monkeypatch.setattr(Follower, "refresh", look)
    services = [f"u{number}" for number in range(20)]
    with mock_aws(), contextlib.ExitStack() as held:
        config = Config(max_pool_connections=16, retries={"total_max_attempts": 1})
        client = boto3.client("s3", region_name="us-east-1", config=config)
        client.create_bucket(Bucket="mesh")
        store = held.enter_context(contextlib.closing(S3Store(client, "mesh")))
        publisher = Publisher(store)
        for service in services:
            publisher.head(sidecar_plan(service=service), content(service=service))
        made = SidecarManifest(1, tuple(f"{each}.default.dc1" for each in services), (listener("s2"),))
        for number in range(PROXIES):
            publisher.manifest(*SidecarId("dc1", "default", f"s{number}").manifest_keys, made)
        client.meta.events.register("before-send.s3", lambda request, **_: asked.append(request.url))
        adapter = held.enter_context(streams.Adapter(store))
        spoken = [held.enter_context(stream(adapter.server.address)) for _ in range(PROXIES)]
        for number, each in enumerate(spoken):
            each.say(CLUSTERS, node=node(NEW, f"s{number}"))
        for each in spoken:
            assert len(each.hear().resources) == len(services)
        counted = len(asked)
    objects = PROXIES + len(services)
    print(f"{PROXIES} proxies joined a polled bucket: {counted} requests for {objects} objects, {len(looks)} looks")
    # A look asks for each object that is followed once, and so do all joins together.
    assert counted <= objects * (1 + len(looks))


def test_who_is_not_registered_is_asked_for_and_not_kept(bucket: Bucket) -> None:
    adapter = streams.Adapter(bucket)
    with quiet(adapter):
        follower = adapter.follower
        nobody = [SidecarId("dc1", "default", f"nobody-{number}") for number in range(50)]
        with ThreadPoolExecutor(joins.JOINS_AT_ONCE) as pool:
            assert set().union(*pool.map(follower.join, nobody)) == set()
        assert not follower.proxies
        # While the store is away everybody who asked hears so, and is read when it is back.
        bucket.leave()
        somebody = SidecarId("dc1", "default", "s1")
        for proxy in (somebody, nobody[0]):
            with pytest.raises(StoreError, match="gone for now"):
                follower.join(proxy)
        assert not follower.proxies
        bucket.come_back()
        assert follower.join(somebody) == {somebody}
        assert follower.view(somebody) is not None


def test_a_slow_store_that_is_then_away_is_told_to_all_who_waited_for_it(bucket: Bucket) -> None:
    adapter = streams.Adapter(bucket)
    with quiet(adapter), ThreadPoolExecutor(8) as pool:
        bucket.fast.clear()
        asked = [pool.submit(adapter.follower.join, SidecarId("dc1", "default", f"s{each}")) for each in range(8)]
        wait_until(lambda: len(adapter.follower.proxies) == 8, "all to wait")
        before, bucket.answers = bucket.requests, 0
        bucket.fast.set()
        for each in asked:
            assert "gone for now" in str(each.exception(30))
        # One reading for the first, one for all who came meanwhile.
        assert bucket.requests - before <= 8
