"""A URL or a path becomes the store that it names, or one clear line."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pointsman.store.bucket_url import BucketUrl, read_bucket_url, region_of
from pointsman.store.open import open_store
from pointsman.store.protocol import StoreError, StoreUnavailable, Write
from pointsman.store.session import new_client, new_session
from pointsman.store.session import s3_client as s3_client_of

from tests.store.wire import Answer, Pass, Wire, refusal


def test_a_file_is_named_by_path_or_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a store?#%41.db"
    for number, name in enumerate([str(path), path.as_uri().replace("file:", "sqlite:"), path.name]):
        store = open_store(name, create=number == 0)
        assert store.put(Write(f"k{number}", b"", None)).etag
        assert len(list(store.list(""))) == number + 1
        store.close()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_bucket_is_named_with_or_without_a_prefix(
    s3_client: object, bucket: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    whole = open_store(f"s3://{bucket}")
    for name in (f"s3://{bucket}/mesh/prod", f"s3://{bucket}/mesh/prod/"):
        store = open_store(name)
        store.put(Write("k", b"", None))
        assert [listed.key for listed in store.list("")] == ["k"]
        store.close()
    assert [listed.key for listed in whole.list("")] == ["mesh/prod/k"]
    whole.close()


def test_a_hurried_one_gives_up_soon(bucket: str, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = open_store(f"s3://{bucket}", hurried=True)
    wire.will("GET", refusal(503, "SlowDown"))
    assert store.get("k") is None
    wire.will("GET", *[refusal(503, "SlowDown")] * 2)
    with pytest.raises(StoreUnavailable, match="in 2 attempts"):
        store.get("k")
    store.close()


def test_the_region_is_that_of_either_variable_and_of_botocores_own_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert new_session().get_config_variable("region") == "eu-west-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert new_session().get_config_variable("region") == "eu-central-1"


@pytest.mark.parametrize("text", ["Wed, 21 Oct 2015 07:28:00 GMT", "2015-10-21 07:28:00 GMT"])
def test_a_date_in_an_answer_is_read_in_its_usual_form_and_in_others(
    text: str, s3_client: object, bucket: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = new_client(new_session(), "s3")
    client.put_object(Bucket=bucket, Key="k", Body=b"data")

    def dated(passed: Pass) -> Answer:
        status, headers, body = passed()
        return status, {**headers, "last-modified": text}, body

    wire.will("GET", dated)
    assert client.get_object(Bucket=bucket, Key="k")["LastModified"] == datetime(2015, 10, 21, 7, 28, tzinfo=UTC)


@pytest.mark.parametrize("endpoint", ["", "https://s3.us-east-1.amazonaws.com"])
def test_an_object_is_written_without_asking_first_whether_the_store_is_willing(
    endpoint: str, s3_client: object, bucket: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = s3_client_of(new_session(), BucketUrl(bucket, endpoint=endpoint), connections=1)
    asked: list[object] = []
    client.meta.events.register_first(
        "before-send.s3.PutObject", lambda request, **_: asked.append(request.headers.get("Expect"))
    )
    client.put_object(Bucket=bucket, Key="k", Body=b"data")
    assert asked == [None]
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


def test_who_keeps_objects_in_a_file_does_not_pay_for_boto3(tmp_path: Path) -> None:
    script = """
import sys
from pointsman.store.bucket_url import BucketUrl, read_bucket_url, region_of
from pointsman.store.open import open_store
open_store(sys.argv[1], create=True).close()
sys.exit(", ".join({"boto3", "botocore"} & set(sys.modules)) or 0)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "store.db")], check=True)


@pytest.mark.parametrize(
    ("url", "variables", "place", "region"),
    [
        ("s3://mesh", {}, BucketUrl("mesh"), ""),
        ("s3://mesh/a/b/", {}, BucketUrl("mesh", "a/b/"), ""),
        ("s3://mesh?region=eu-north-1", {}, BucketUrl("mesh", region="eu-north-1"), "eu-north-1"),
        ("s3://mesh/a?endpoint=http://[::1]:8333/", {}, BucketUrl("mesh", "a/", "http://[::1]:8333"), "us-east-1"),
        (
            "s3://mesh?endpoint=https://garage.example&region=garage",
            {"AWS_ENDPOINT_URL_S3": "http://other"},
            BucketUrl("mesh", endpoint="https://garage.example", region="garage"),
            "garage",
        ),
        ("s3://mesh", {"AWS_ENDPOINT_URL": "http://a"}, BucketUrl("mesh", endpoint="http://a"), "us-east-1"),
        (
            "s3://mesh",
            {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"},
            BucketUrl("mesh", endpoint="http://b"),
            "us-east-1",
        ),
    ],
)
def test_a_url_says_which_object_store_or_the_environment_does(
    url: str, variables: dict[str, str], place: BucketUrl, region: str
) -> None:
    assert read_bucket_url(url, variables) == place
    assert region_of(place, None) == region
    assert region_of(place, "eu-west-1") == (place.region or "eu-west-1")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "the name is empty: name a file"),
        ("gs://bucket", "there is no kind of store named gs: name a file"),
        ("S4://bucket", "there is no kind of store named S4: name a file"),
        ("s3://", "not s3://BUCKET/PREFIX"),
        ("s3:///prefix", "not s3://BUCKET/PREFIX"),
        ("s3://key:secret@bucket", "not s3://BUCKET/PREFIX"),
        ("s3://bucket/prefix?versionId=1", "not s3://BUCKET/PREFIX.*given once, and nothing else"),
        ("s3://bucket?region=a&region=b", "not s3://BUCKET/PREFIX.*given once, and nothing else"),
        ("s3://bucket?endpoint", "not s3://BUCKET/PREFIX"),
        ("s3://bucket?region=a&region=b&endpoint=c", "not s3://BUCKET/PREFIX"),
        ("s3://bucket?region=eu central", 'region: "eu central" is not the name of a region'),
        ("s3://bucket?endpoint=127.0.0.1:8333", 'endpoint: "127.0.0.1:8333" is not http://HOST:PORT'),
        ("s3://bucket?endpoint=http://key:secret@host", "endpoint: .* is not http://HOST:PORT .*credentials come from"),
        ("s3://bucket?endpoint=http://host:99999", "endpoint: .* is not http://HOST:PORT"),
        ("s3://bucket?endpoint=http://host/path", "endpoint: .* is not http://HOST:PORT"),
        ("sqlite://", "not sqlite:///absolute/path: name a file"),
        ("sqlite://store.db", "not sqlite:///absolute/path: name a file"),
        ("sqlite:///no/such/directory/store.db", "there is no directory /no/such/directory: make it"),
    ],
)
def test_what_names_no_store_is_refused_with_the_way_out(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=f"^store.*: {said}"):
        open_store(url, create=True)
