"""What holds on a real object store, SeaweedFS, beside the contract of a store."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from pointsman.adapter.follow.follower import Follower
from pointsman.discovery.proxy import GatewayId, SidecarId
from pointsman.model.keys import gateway_key
from pointsman.pipeline.configure import Batch, configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.reconcile import reconcile
from pointsman.store.bucket_url import read_bucket_url
from pointsman.store.open import open_store
from pointsman.store.probe import mark
from pointsman.store.protocol import Store, Write

from tests.fleet.control_plane import POINTSMAN
from tests.fleet.object_store import Bucket
from tests.fleet.process import Child, wait_until
from tests.fleet.seaweedfs import SeaweedFS
from tests.pipeline.meshes import event, gateway, gateway_instance, instance, namespace, proxy_defaults, sidecar

pytestmark = pytest.mark.objectstore


@pytest.fixture
def bucket(seaweedfs: SeaweedFS, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new bucket, that the client of this process reaches."""
    found = seaweedfs.bucket(request.node.name.replace("_", "-")[5:60].strip("-"))
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def store(bucket: Bucket) -> Iterator[Store]:
    with closing(open_store(bucket.url)) as opened:
        yield opened


def apply(bucket: Bucket, files: list[Path], directory: Path) -> list[tuple[int, str]]:
    """`pointsman apply` of each file, all at once: their exit codes and what they said."""
    with ExitStack() as running:
        commands = [
            Child(
                f"apply-{file.stem}", [POINTSMAN, "apply", "--store", bucket.url, file], directory, bucket.environment
            )
            for file in files
        ]
        for each in commands:
            running.enter_context(each)
        wait_until(lambda: not any(each.alive for each in commands), "all to end", timeout=300.0)
        return [(each.wait(), each.err.read_text()) for each in commands]


def entries(directory: Path, count: int) -> list[Path]:
    """Files with one config entry each."""
    files = [directory / f"{number}.json" for number in range(count)]
    for file in files:
        file.write_text(json.dumps({"Kind": "service-resolver", "Name": f"s{file.stem}", "ConnectTimeout": "5s"}))
    return files


def test_eight_who_apply_at_once_all_do(bucket: Bucket, store: Store, tmp_path: Path) -> None:
    assert [code for code, _ in apply(bucket, entries(tmp_path, 8), tmp_path)] == [0] * 8
    engine = Engine(store)
    head = engine.refresh()
    assert {entry.name for entry in engine.config(engine.root).entries} == {f"s{number}" for number in range(8)}
    assert head.generation == 8


def test_a_new_bucket_is_probed_by_the_first_who_writes(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = seaweedfs.bucket("first", probed=False)
    (done,) = apply(bucket, entries(tmp_path, 1), tmp_path)
    assert done[0] == 0
    assert "trying whether of many writers at once exactly one wins" in done[1]
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    with closing(open_store(bucket.url)) as store:
        assert [each.key for each in store.list("probe/")] == [mark(read_bucket_url(bucket.url))[0]]


def test_a_typing_error_makes_no_bucket(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    """This store makes a bucket with the first object that is written to it."""
    bucket = Bucket(f"s3://mehs?endpoint={seaweedfs.objects.url}", seaweedfs.objects.environment)
    (done,) = apply(bucket, entries(tmp_path, 1), tmp_path)
    assert done[0] == 1
    assert "the bucket does not exist: make it" in done[1]
    assert "mehs" not in [each["Name"] for each in seaweedfs.objects.client().list_buckets()["Buckets"]]


def test_gateways_come_and_go_and_are_listed(store: Store) -> None:
    """Also with names that look like what stands beside them in keys."""
    engine, ids = Engine(store), ("gw", "gateways", "gateway")
    documents = [
        proxy_defaults(mode="local"),
        namespace("gateways"),
        sidecar("gw", "web", namespace="gateways"),
        sidecar("web", "gw"),
        *(gateway("dc1", each) for each in ids),
    ]
    configure(engine, parse_documents(documents))
    ingest(engine, event(None, 1, [gateway_instance()], dc="dc1"))
    ingest(engine, event("gw", 1, [instance("gw")], dc="dc1", namespace="gateways"))
    gateways = {GatewayId("dc1", each) for each in ids}
    follower = Follower(store)
    assert follower.discover() == gateways | {
        SidecarId("dc1", "gateways", "gw"),
        SidecarId("dc1", "default", "web"),
    }
    follower.refresh()
    assert all(follower.view(each) is not None for each in follower.proxies)
    configure(engine, Batch(delete_registrations=[gateway_key("dc1", "gateway")]))
    assert reconcile(engine).repaired == 0
    assert Follower(store).discover() >= gateways - {GatewayId("dc1", "gateway")}
    later = Follower(store)
    later.discover()
    later.refresh()
    assert later.proxies == follower.proxies - {GatewayId("dc1", "gateway")}


def test_as_many_requests_as_threads_have_connections_of_their_own(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise each of them is logged, and makes a connection that is thrown away."""
    names = [f"k{number}" for number in range(16)]
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(12) as pool:
        store.put_many([Write(name, b"", None) for name in names])
        reads = [pool.submit(store.get_many, names) for _ in range(20)] + [
            pool.submit(store.get, "k1") for _ in range(20)
        ]
        assert all(each.result() for each in reads)
    assert caplog.messages == []
