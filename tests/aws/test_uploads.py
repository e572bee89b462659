"""Config that is uploaded under deploy/: applied as it is, or refused as a whole."""

import copy
import json
from typing import Any
from urllib.parse import unquote_plus

import pytest
from pointsman.model.sources.upload import LONGEST_KEY_BYTES, MAX_UPLOAD_BYTES, Upload

from tests.aws.harness import Aws, sqs_event
from tests.aws.mesh import RESOLVER, active, s2
from tests.aws.test_engine import SAMPLES
from tests.store.wire import refusal

HCL = 'Kind = "service-resolver"\nName = "s2"\nConnectTimeout = "9s"\n'
YAML = "---\nKind: service-resolver\nName: s2\nConnectTimeout: 9s\n---\nKind: service-resolver\nName: s9\n"
NINE_SECONDS = 9_000_000_000


def upload(aws: Aws, key: str, content: str | bytes) -> None:
    """What a CI job does with `aws s3 cp`."""
    body = content.encode() if isinstance(content, str) else content
    aws.s3.put_object(Bucket=aws.stack.refs["Bucket"], Key=key, Body=body)


def told_of(notification: Any) -> Any:
    """What a notification of S3 says of bucket and object."""
    (record,) = notification["Records"]
    return record["s3"]


def timeout(aws: Aws) -> Any:
    """The connect timeout that the config has for s2."""
    return aws.request("Configure", "GET", "/v1/config/service-resolver/s2")[1].get("ConnectTimeout")


def generation(aws: Aws) -> int:
    """The config's generation, all of it published."""
    status = aws.request("Configure", "GET", "/v1/status")[1]
    assert status["propagated"] == status["generation"]
    return int(status["generation"])


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("deploy/s2.hcl", HCL),
        ("deploy/mesh of dc1/ä+s2.yaml", YAML),
        ("deploy/s2.json", json.dumps([{**RESOLVER, "ConnectTimeout": "9s"}])),
    ],
)
def test_what_is_uploaded_is_the_config_and_published_and_told(mesh: Aws, key: str, content: str) -> None:
    before, queue = generation(mesh), mesh.follow()
    upload(mesh, key, content)
    assert mesh.pump() == 0
    assert (timeout(mesh), generation(mesh)) == (NINE_SECONDS, before + 1)
    keys = {json.loads(each["Body"])["key"] for each in mesh.messages(queue)}
    assert any(each.startswith("snapshots/dc1/sidecar/") for each in keys)
    assert (mesh.depth("Queue"), mesh.depth("DeadLetters")) == (0, 0)
    (last, *_) = mesh.request("Configure", "GET", "/v1/generations")[1]["generations"]
    assert last["by"] == f"s3://{mesh.stack.refs['Bucket']}/{key}"[:500]

    upload(mesh, key, content)
    assert mesh.pump() == 0
    assert generation(mesh) == before + 1, "the same again is no change"


@pytest.mark.parametrize(
    ("key", "content", "reason"),
    [
        ("deploy/s2.hcl", 'Kind = "service-resolver"\nName = [', "deploy/s2.hcl"),
        ("deploy/s2.yaml", f"{YAML}---\nKind: no-such-kind\nName: x\n", "no-such-kind"),
        ("deploy/s2.json", json.dumps([{**RESOLVER, "ConnectTimeout": "soon"}]), "ConnectTimeout"),
        ("deploy/s2.json", json.dumps({**RESOLVER, "DefaultSubset": "v9"}), "v9"),
        ("deploy/s2.json", b"\xff\xfe{}", "is not UTF-8 (byte 0)"),
        ("deploy/s2.json", b" " * (MAX_UPLOAD_BYTES + 1), f"is longer than {MAX_UPLOAD_BYTES} bytes"),
        ("deploy/s2.json", b"", "is not there any more, or empty"),
        ("deploy/s2.json", b'{"Kind": ' + b"9" * 5000 + b"}", "is not JSON"),
        ("deploy/s2.yaml", b"a: " + b"9" * 5000, "64 bits do not hold"),
        ("deploy/s2.hcl", b"a = " + b"9" * 5000, "too many digits"),
        ("deploy/s2.json", b'{"Kind": "\\ud800"}', "is not JSON"),
        ("deploy/s2.yaml", b"&a [*a]", "contains itself"),
    ],
    ids=[
        *("no HCL", "one of three is no kind", "no duration", "no such subset", "no text", "too large", "empty"),
        *("digits in JSON", "digits in YAML", "digits in HCL", "half a pair", "a list inside itself"),
    ],
)
def test_what_is_wrong_is_refused_with_its_reasons_and_changes_nothing(
    mesh: Aws, key: str, content: str | bytes, reason: str
) -> None:
    before = mesh.objects()
    upload(mesh, key, content)
    mesh.put_event(s2())
    assert mesh.pump() == 0, "the good one beside it is taken in"
    (dead,) = mesh.messages("DeadLetters")
    assert unquote_plus(told_of(json.loads(dead["Body"]))["object"]["key"]) == key
    assert reason in dead["MessageAttributes"]["reason"]["StringValue"]
    config = {name: data for name, data in mesh.objects().items() if name.startswith("config/")}
    assert config == {name: data for name, data in before.items() if name.startswith("config/")}
    assert active(mesh) == "dc1"


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("PUT", "/v1/config", b"\xff\xfe{}", "is not UTF-8 (byte 0)"),
        ("PUT", "/v1/config", b'{"Kind": ' + b"9" * 5000 + b"}", "is not JSON"),
        ("PUT", "/v1/config", b'{"Kind": "\\ud800"}', "is not JSON"),
        ("PUT", "/v1/config", '{"Kind": "\ud800"}', "is not"),
        ("PUT", "/v1/config", b"[" * 100_000, "is nested too deeply"),
        ("PUT", "/v1/config", "a = " + "9" * 5000, "too many digits"),
        ("PUT", "/v1/config", None, "is empty"),
        ("POST", "/v1/rollback/" + "9" * 5000, None, "is not the number of a generation"),
        ("POST", "/v1/rollback/x", None, "is not the number of a generation"),
    ],
    ids=[
        "no UTF-8",
        "digits",
        "half a pair",
        "half a pair as text",
        "deep",
        "digits in HCL",
        "none",
        "rollback",
        "word",
    ],
)
def test_what_a_request_cannot_mean_is_answered_400_with_the_reason(
    mesh: Aws, method: str, path: str, body: Any, reason: str
) -> None:
    status, answer = mesh.request("Configure", method, path, body)
    assert status == 400
    assert reason in answer["error"]
    assert len(answer["error"]) < 1000


def test_an_upload_that_meets_a_defect_is_not_delivered_again(mesh: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(upload: Upload, content: bytes | None) -> Any:
        raise ZeroDivisionError("so it is")

    monkeypatch.setattr(Upload, "documents", defect)
    upload(mesh, "deploy/s2.hcl", HCL)
    assert mesh.pump() == 0
    (dead,) = mesh.messages("DeadLetters")
    assert "cannot be read: ZeroDivisionError: so it is" in dead["MessageAttributes"]["reason"]["StringValue"]


def test_the_object_counts_as_it_is_when_it_is_read_not_when_it_was_told_of(mesh: Aws) -> None:
    upload(mesh, "deploy/s2.hcl", "no HCL at all {")
    upload(mesh, "deploy/s2.hcl", HCL)
    assert mesh.pump() == 0
    assert timeout(mesh) == NINE_SECONDS
    assert mesh.depth("DeadLetters") == 0


def test_an_upload_that_comes_while_an_older_one_is_applied_has_the_last_word(mesh: Aws) -> None:
    raced, rival, queue = False, mesh.cold("Ingest"), mesh.stack.attributes["Queue", "Arn"]

    def race(method: str, path: str) -> None:
        nonlocal raced
        if method == "PUT" and "/config/" in path and not raced:
            raced = True
            upload(mesh, "deploy/s2.hcl", HCL)
            assert rival(sqs_event(mesh.messages("Queue"), queue)) == {"batchItemFailures": []}
            assert timeout(mesh) == NINE_SECONDS, "the newer one is applied and done"

    upload(mesh, "deploy/s2.hcl", HCL.replace("9s", "7s"))
    (first,) = mesh.messages("Queue")
    mesh.wire.before = race
    assert mesh.handler("Ingest")(sqs_event([first], queue)) == {"batchItemFailures": []}
    assert raced
    assert timeout(mesh) == NINE_SECONDS


def test_an_upload_waits_for_a_store_that_is_away(mesh: Aws) -> None:
    upload(mesh, "deploy/s2.hcl", HCL)
    mesh.wire.will("PUT", *[refusal(403, "AccessDenied")] * 100)
    assert mesh.pump(rounds=1) == 1, "given back, to be delivered again"
    mesh.wire.faults.clear()
    assert mesh.pump() == 0
    assert timeout(mesh) == NINE_SECONDS
    assert mesh.depth("DeadLetters") == 0


def test_a_folder_made_in_the_console_is_nothing_to_apply(mesh: Aws) -> None:
    before = generation(mesh)
    upload(mesh, "deploy/mesh/", b"")
    assert mesh.pump() == 0
    assert (generation(mesh), mesh.depth("Queue"), mesh.depth("DeadLetters")) == (before, 0, 0)


@pytest.mark.parametrize(
    ("bucket", "key", "reason"),
    [
        ("somebody-elses", "deploy/s2.hcl", "is not this stack's bucket"),
        ("", "snapshots/dc1/sidecar/x", 'is not a key under "deploy/"'),
        ("", "", "s3.object.key"),
        ("", f"deploy/{'x' * (LONGEST_KEY_BYTES - 6)}", "is not a key under"),
    ],
)
def test_nothing_else_is_ever_read(mesh: Aws, bucket: str, key: str, reason: str) -> None:
    event = copy.deepcopy(SAMPLES["s3-deploy-upload"])
    told_of(event)["bucket"]["name"] = bucket or mesh.stack.refs["Bucket"]
    told_of(event)["object"]["key"] = key
    mesh.sqs.send_message(QueueUrl=mesh.stack.refs["Queue"], MessageBody=json.dumps(event))
    mesh.calls.clear()
    assert mesh.pump() == 0
    (dead,) = mesh.messages("DeadLetters")
    assert reason in dead["MessageAttributes"]["reason"]["StringValue"]
    assert {call.service for call in mesh.calls} == {"sqs"}


def test_the_sample_is_what_s3_sends(mesh: Aws) -> None:
    event = copy.deepcopy(SAMPLES["s3-deploy-upload"])
    told_of(event)["bucket"]["name"] = mesh.stack.refs["Bucket"]
    upload(mesh, unquote_plus(told_of(event)["object"]["key"]), HCL)
    (sent,) = mesh.messages("Queue")
    assert told_of(event).keys() == told_of(json.loads(sent["Body"])).keys()
    records = sqs_event([{**sent, "Body": json.dumps(event)}], mesh.stack.attributes["Queue", "Arn"])
    assert mesh.handler("Ingest")(records) == {"batchItemFailures": []}
    assert timeout(mesh) == NINE_SECONDS


def test_what_s3_sends_to_see_whether_its_notifications_arrive_is_ignored(mesh: Aws) -> None:
    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": mesh.stack.refs["Bucket"]}
    mesh.sqs.send_message(QueueUrl=mesh.stack.refs["Queue"], MessageBody=json.dumps(test))
    assert mesh.pump() == 0
    assert (mesh.depth("Queue"), mesh.depth("DeadLetters")) == (0, 0)


def test_only_uploads_are_told_of(mesh: Aws) -> None:
    mesh.request("Configure", "PUT", "/v1/config", [RESOLVER | {"ConnectTimeout": "9s"}])
    mesh.s3.put_object(Bucket=mesh.stack.refs["Bucket"], Key="incoming/list.json", Body=b"{}")
    assert mesh.depth("Queue") == 0
