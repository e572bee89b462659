"""Every kind of store, for the tests that hold for each, and the mocked S3."""

import itertools
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber
from pointsman.store.protocol import Store
from pointsman.store.s3 import S3Store
from pointsman.store.sqlite import SQLiteStore

from tests.fleet.ceph import INSTALLED, Ceph
from tests.fleet.object_store import ObjectStore
from tests.fleet.process import Ports
from tests.fleet.seaweedfs import SeaweedFS
from tests.pipeline.memory import Connection, MemoryStore
from tests.store.wire import Wire

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Open = Callable[[], Store]

_buckets = (f"objects-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def s3_client() -> "Iterator[S3Client]":
    """A client of a mocked S3, for a whole module: making one takes a while."""
    with mock_aws():
        config = Config(max_pool_connections=16, retries={"total_max_attempts": 1})
        yield boto3.client("s3", region_name="us-east-1", config=config)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """What stands between the client and the mocked S3. A test with a fault that no request met fails."""
    wire, pass_on = Wire(), BotocoreStubber.process_request
    monkeypatch.setattr(
        BotocoreStubber, "process_request", lambda self, request: wire(lambda it: pass_on(self, it), request)
    )
    yield wire
    left = {method: len(faults) for method, faults in wire.faults.items() if faults}
    assert not left, f"no request met these faults: {left}"


@pytest.fixture
def bucket(s3_client: "S3Client", wire: Wire) -> str:
    """A new, empty bucket."""
    name = next(_buckets)
    s3_client.create_bucket(Bucket=name)
    wire.statuses.clear()
    return name


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the objects of a bucket's store are."""

    client: "S3Client"
    bucket: str
    prefix: str

    def objects(self) -> dict[str, bytes]:
        """All of them, by their full keys."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        names = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return {name: self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read() for name in names}


@pytest.fixture(scope="session")
def seaweedfs_client(seaweedfs: SeaweedFS) -> "S3Client":
    """A client of SeaweedFS, whose lists come in pages of 20. It has a bucket, `objects`."""
    return _in_pages(seaweedfs.objects)


@pytest.fixture(scope="session")
def ceph_client(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[S3Client]":
    """The same of Ceph."""
    with Ports() as ports, Ceph(tmp_path_factory.mktemp("ceph"), ports) as ceph:
        yield _in_pages(ceph.objects)


def _in_pages(objects: ObjectStore) -> "S3Client":
    client = objects.client()
    client.create_bucket(Bucket="objects")
    client.list_objects_v2 = partial(client.list_objects_v2, MaxKeys=20)  # type: ignore[method-assign]
    return client


@pytest.fixture
def kept(request: pytest.FixtureRequest) -> Kept:
    """The empty place of a test in a bucket, mocked or real."""
    for real in {"seaweedfs", "ceph"} & {*request.node.callspec.params.values()}:
        return Kept(request.getfixturevalue(f"{real}_client"), "objects", f"{next(_buckets)}/")
    return Kept(request.getfixturevalue("s3_client"), request.getfixturevalue("bucket"), "mesh/")


_CEPH = pytest.param(
    "ceph",
    marks=[
        pytest.mark.soak,
        pytest.mark.skipif(not INSTALLED, reason="needs Debian's ceph-common, ceph-mon, ceph-osd and radosgw"),
    ],
)


_SEAWEEDFS = pytest.param("seaweedfs", marks=pytest.mark.objectstore)


@pytest.fixture(params=["sqlite", "s3", _SEAWEEDFS, "memory", _CEPH])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one more instance of one and the same store; all are closed after the test."""
    opened: list[Store] = []
    if request.param == "sqlite":
        make: Open = lambda: SQLiteStore(tmp_path / "store.db")  # noqa: E731
    elif request.param == "memory":
        objects = MemoryStore()
        make = lambda: Connection(objects, page=20)  # noqa: E731
    else:
        kept: Kept = request.getfixturevalue("kept")
        make = lambda: S3Store(kept.client, kept.bucket, kept.prefix)  # noqa: E731

    def open_again() -> Store:
        opened.append(make())
        return opened[-1]

    yield open_again
    for store in opened:
        store.close()


@pytest.fixture
def put_back(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Callable[[], None]]:
    """Takes a copy of the store that `open_again` opens, which has to be closed; what it gives puts that copy back."""
    if "sqlite" in request.node.callspec.params.values():
        path, copy = tmp_path / "store.db", tmp_path / "copy.db"

        def copied() -> Callable[[], None]:
            shutil.copy(path, copy)
            return lambda: shutil.copy(copy, path) and None
    elif "memory" in request.node.callspec.params.values():
        connection: Connection = request.getfixturevalue("open_again")()

        def copied() -> Callable[[], None]:
            then = dict(connection.objects.objects)

            def put_back() -> None:
                connection.objects.objects = dict(then)
                connection.objects.sequence += 1

            return put_back
    else:
        kept: Kept = request.getfixturevalue("kept")

        def copied() -> Callable[[], None]:
            then = kept.objects()

            def put_back() -> None:
                for key in kept.objects():
                    kept.client.delete_object(Bucket=kept.bucket, Key=key)
                for key, data in then.items():
                    kept.client.put_object(Bucket=kept.bucket, Key=key, Body=data)

            return put_back

    return copied


@pytest.fixture
def take_away(request: pytest.FixtureRequest, open_again: Open, tmp_path: Path) -> Callable[[str], None]:
    """Removes an object of the store that `open_again` opens, as an operator or a bucket's rule does."""
    if "sqlite" in request.node.callspec.params.values():

        def take_away(key: str) -> None:
            with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as connection:
                connection.execute("DELETE FROM objects WHERE key = ?", (key,))
    elif "memory" in request.node.callspec.params.values():
        opened = open_again()
        assert isinstance(opened, Connection)

        def take_away(key: str) -> None:
            del opened.objects.objects[key]
    else:
        kept: Kept = request.getfixturevalue("kept")

        def take_away(key: str) -> None:
            kept.client.delete_object(Bucket=kept.bucket, Key=kept.prefix + key)

    return take_away


@pytest.fixture
def store(open_again: Open) -> Store:
    """An empty store."""
    return open_again()
