"""Everything else is gone, adapters and Envoys start from what is on disk: traffic flows, and fails over when the store
is back."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from pointsman.store.s3 import S3Store

from tests.adapter.link import Link
from tests.adapter.stand import WAYS, Stand, Way
from tests.aws.http_ends import aws_over_http
from tests.fleet.process import wait_until

pytestmark = pytest.mark.envoy

AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[S3Store, Link]]:
    """A store in a bucket, and the one way there for other processes."""
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    with mock_aws(), aws_over_http() as url, Link(url) as link:
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="mesh")
        with contextlib.closing(S3Store(client, "mesh")) as store:
            yield store, link


@pytest.mark.parametrize("way", WAYS)
def test_from_disk_alone_traffic_flows_and_when_the_store_is_back_it_fails_over(
    way: Way, bucket: tuple[S3Store, Link], tmp_path: Path
) -> None:
    store, link = bucket
    environment = {**AWS, "AWS_ENDPOINT_URL": link.url}
    with Stand(way, store, "s3://mesh", tmp_path, environment) as stand:
        stand.publish("dc3")
        stand.wait_for_switch("dc3")
        kept = tmp_path / ("envoys/.pointsman/kept" if way == "files" else "kept")
        wait_until(
            lambda: any(b"gateway" in each.read_bytes() or each for each in kept.glob("*.kept")), "it to be kept"
        )
        wait_until(lambda: b'"active":"s2.default.dc3"' in _heads(kept), "the newest to be kept")
        # Where nothing ever comes back, it takes longer to be sure that the store is away.
        link.cut(silent=way == "grpc")
        stand.adapter.kill()
        stand.envoy.kill()
        if way == "files":
            # They would do for themselves: what is kept makes them anew.
            shutil.rmtree(stand.files)
        stand.start_adapter()
        stand.envoy.start()
        stand.envoy.wait_ready()
        begin = time.perf_counter()
        stand.wait_for_switch("dc3")
        ready = stand.page("readyz")
        assert (ready["ready"], ready["waiting_for"], ready["ahead"]) == (True, "", [])
        if way != "grpc":
            wait_until(lambda: stand.metric("pointsman_store_unreachable ") == 1, "it to say that the store is away")
        assert stand.metric("pointsman_staleness_seconds ") > time.perf_counter() - begin
        stand.publish("dc2")
        link.restore()
        stand.wait_for_switch("dc2")
        assert stand.failures(begin) == []
        wait_until(lambda: stand.metric("pointsman_store_unreachable ") == 0, "it to say that the store is back")
        assert stand.metric("pointsman_staleness_seconds ") < 5


def _heads(kept: Path) -> bytes:
    return b"".join(each.read_bytes() for each in kept.glob("*.kept"))
