"""Before anybody writes to a bucket, it is probed: exactly one of many writers at once must win. Once."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws
from pointsman.store import probe as module
from pointsman.store.bucket_url import BucketUrl
from pointsman.store.open import open_store
from pointsman.store.probe import ROUNDS, WRITERS, mark, probe
from pointsman.store.protocol import StoreError, StoreUnavailable, Write

from tests.aws.http_ends import aws_over_http
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, wait_until
from tests.store.wire import Wire, after, refusal, silence

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few writers, where their number does not matter."""
    monkeypatch.setattr(module, "WRITERS", 6)
    monkeypatch.setattr(module, "ROUNDS", 2)


small = pytest.mark.usefixtures("_small")


def listed(client: "S3Client", bucket: str) -> list[str]:
    return [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", ())]


def probed(url: str) -> None:
    with closing(open_store(url)) as store:
        probe(url, store)


def test_a_bucket_that_passes_is_remembered_and_not_probed_again(
    s3_client: "S3Client", bucket: str, wire: Wire
) -> None:
    probed(f"s3://{bucket}/mesh")
    key, data = mark(BucketUrl(bucket, "mesh/"))
    assert listed(s3_client, bucket) == [f"mesh/{key}"], "what the writers contended for is deleted"
    assert s3_client.get_object(Bucket=bucket, Key=f"mesh/{key}")["Body"].read() == data
    written = [status for method, status in wire.statuses if method == "PUT"]
    assert sorted(written) == [200] * (2 * ROUNDS + 3) + [412] * (2 * ROUNDS * (WRITERS - 1) + 2)
    wire.statuses.clear()
    probed(f"s3://{bucket}/mesh")
    assert wire.statuses == [("GET", 200)]


def test_through_another_endpoint_it_may_be_another_store(s3_client: "S3Client", bucket: str, wire: Wire) -> None:
    key, data = mark(BucketUrl(bucket, endpoint="https://elsewhere"))
    s3_client.put_object(Bucket=bucket, Key=key, Body=data)
    wire.dropped.add("If-Match")
    with pytest.raises(StoreError, match="If-Match does not work in this store"):
        probed(f"s3://{bucket}")


@small
@pytest.mark.parametrize("there", [b"", b"not JSON", b'{"kind": "catalog", "schema": 1}'])
def test_a_mark_that_cannot_be_read_is_none(s3_client: "S3Client", bucket: str, wire: Wire, there: bytes) -> None:
    key, data = mark(BucketUrl(bucket))
    s3_client.put_object(Bucket=bucket, Key=key, Body=there)
    probed(f"s3://{bucket}")
    assert s3_client.get_object(Bucket=bucket, Key=key)["Body"].read() == data


@pytest.mark.parametrize("condition", ["If-None-Match", "If-Match"])
def test_a_store_that_ignores_a_condition_is_refused_and_nothing_stays(
    s3_client: "S3Client", bucket: str, wire: Wire, condition: str
) -> None:
    wire.dropped.add(condition)
    with pytest.raises(StoreError, match=f"^store s3://{bucket}: {condition} does not work in this store") as error:
        probed(f"s3://{bucket}")
    assert not isinstance(error.value, StoreUnavailable)
    assert "docs/object-stores.md names stores that work" in str(error.value)
    assert listed(s3_client, bucket) == []


@small
@pytest.mark.parametrize(("condition", "before"), [("If-None-Match", 4), ("If-Match", 4 + 2 * 6)])
def test_a_store_that_gives_way_when_many_write_at_once_is_refused(
    s3_client: "S3Client", bucket: str, wire: Wire, condition: str, before: int
) -> None:
    """With one writer after another, nothing is wrong with it."""

    def gives_way() -> None:
        if len(wire.conditions) > before:
            wire.dropped.add(condition)

    wire.around = gives_way
    reason = ""
    for turn in range(10):
        wire.conditions.clear()
        wire.dropped.clear()
        try:
            probed(f"s3://{bucket}/{turn}")
        except StoreError as error:
            reason = str(error)
            break
        # On a busy machine those who are to write at once may write one after another, and nothing is wrong then.
    assert f"{condition} does not work in this store: 6 wrote one key at once" in reason
    assert [key for key in listed(s3_client, bucket) if key.startswith(f"{turn}/")] == []


@small
def test_doubtful_answers_do_not_make_a_good_store_a_bad_one(s3_client: "S3Client", bucket: str, wire: Wire) -> None:
    alone = (silence, refusal(503, "SlowDown"), refusal(500, "InternalError"), *[lambda passed: passed()] * 4)
    crowd = (silence, refusal(409, "OperationAborted"), refusal(500, "InternalError"))
    wire.will("PUT", *alone, *crowd)
    probed(f"s3://{bucket}")
    assert listed(s3_client, bucket) == [mark(BucketUrl(bucket))[0]]


def test_a_store_that_is_away_is_not_judged(s3_client: "S3Client", bucket: str, wire: Wire) -> None:
    wire.always("HEAD", refusal(503, "SlowDown"))
    with pytest.raises(StoreUnavailable, match="try again later"):
        probed(f"s3://{bucket}")
    assert listed(s3_client, bucket) == []


@small
def test_a_bucket_that_may_not_be_cleared_passes_too(s3_client: "S3Client", bucket: str, wire: Wire) -> None:
    wire.always("DELETE", refusal(403, "AccessDenied"))
    probed(f"s3://{bucket}")
    assert len(listed(s3_client, bucket)) == 1 + 2 + 1


def test_a_bucket_is_never_made(s3_client: "S3Client", wire: Wire) -> None:
    with pytest.raises(StoreError, match="the bucket does not exist: make it"):
        probed("s3://mispelled")
    wire.will("GET", refusal(404, "NoSuchKey"))  # as of a store that tells no difference
    with pytest.raises(StoreError, match="the bucket does not exist: make it"):
        probed("s3://mispelled")
    assert not [status for method, status in wire.statuses if method == "PUT"]


@pytest.fixture
def liar() -> Iterator[str]:
    """The URL of a server that speaks S3 and drops the conditions of every write. It has a bucket, `mesh`."""
    with mock_aws(), aws_over_http(drop=frozenset({"if-match", "if-none-match"})) as url:
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="mesh")
        yield url


def test_no_command_writes_to_a_lying_server(liar: str, tmp_path: Path) -> None:
    """Eight at once, as when a script applies one file after another in the background: all are told."""
    store = f"s3://mesh?endpoint={liar}"
    entry = {"Kind": "service-resolver", "ConnectTimeout": "5s"}
    with ExitStack() as running:
        commands = []
        for number in range(8):
            file = tmp_path / f"{number}.json"
            file.write_text(json.dumps(entry | {"Name": f"s{number}"}))
            command = Child(f"apply-{number}", [POINTSMAN, "apply", "--store", store, file], tmp_path, AWS)
            running.enter_context(command)
            commands.append(command)
        up = Child("up", [POINTSMAN, "up", "--store", store, "--listen", "127.0.0.1:0"], tmp_path, AWS)
        running.enter_context(up)
        wait_until(lambda: not any(each.alive for each in (*commands, up)), "all to end", timeout=120.0)
        assert [each.wait() for each in (*commands, up)] == [1] * 9
        for each in (*commands, up):
            assert "does not work in this store" in each.err.read_text()
            assert "Traceback" not in each.err.read_text()
    client = boto3.client("s3", region_name="us-east-1")
    assert not [key for key in listed(client, "mesh") if not key.startswith("probe/race-")]


@small
def test_a_write_of_its_mark_that_loses_is_the_mark_of_another(s3_client: "S3Client", bucket: str, wire: Wire) -> None:
    key, data = mark(BucketUrl(bucket))
    with closing(open_store(f"s3://{bucket}")) as store:
        wire.will("DELETE", after(lambda: store.put(Write(key, data, None)), lambda passed: passed()))
        probe(f"s3://{bucket}", store)
    assert listed(s3_client, bucket) == [key]
