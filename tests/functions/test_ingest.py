"""What functions/ingest promises: from an SQS record to a snapshot in S3, and nothing good is ever lost."""

import json
import runpy
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pointsman.pipeline.configure import configure, parse_documents

from tests.functions.cloud import CONTEXT, Cloud, Published, aws_client
from tests.functions.mesh import API, sample, sample_text
from tests.pipeline.meshes import instance, sidecar
from tests.store.wire import Answer, Pass, Wire, refusal

HANDLER = Path(__file__).parents[2] / "functions/ingest/handler.py"
THROTTLED = refusal(503, "SlowDown")
DC1_GATEWAYS = frozenset({("10.1.0.21", 8443, True), ("10.1.0.22", 8443, True)})


def api(version: int, datacenter: str, endpoints: frozenset[tuple[str, int, bool]] = DC1_GATEWAYS) -> Published:
    """The head when `datacenter` serves."""
    name = f"api.default.{datacenter}"
    return Published(version, name, f"{name}.internal.pointsman", endpoints)


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """The metrics printed since the last look, summed over the invocations."""
    out: dict[str, float] = {}
    for line in capsys.readouterr().out.splitlines():
        body = json.loads(line)
        (directive,) = body["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Pointsman"
        assert body["service"] == "ingest"
        for metric in directive["Metrics"]:
            out[metric["Name"]] = out.get(metric["Name"], 0) + sum(body[metric["Name"]])
    return out


def test_the_samples_tell_the_story_of_a_failover(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloud.failures(sample("sqs-ingest")) == set()
    story = [
        ("gateway-health-changed", "dc2", DC1_GATEWAYS),
        ("bare-detail", "dc2", DC1_GATEWAYS),
        ("service-health-changed", "dc2", DC1_GATEWAYS),
        ("instance-health-changed", "dc1", {("10.1.0.11", 21000, True), ("10.1.0.12", 21000, False)}),
        ("instance-removed", "dc2", DC1_GATEWAYS),
    ]
    for name, serving, endpoints in story:
        cloud.send(sample_text(name))
        assert cloud.deliver() == []
        now = cloud.published(API)
        assert now == api(now.version, serving, frozenset(endpoints)), name
    assert cloud.published(API).version == 5, "nobody, dc2 without a gateway, with gateways, dc1, dc2"
    assert (cloud.waiting(), cloud.dead()) == (0, [])
    told = metrics(capsys)
    assert told.pop("PublishLag") > 0
    assert told == {"EventsIngested": 7, "ResolversRecomputed": 6, "SnapshotsPublished": 4, "TargetsSwitched": 3}


def test_a_list_at_an_older_index_comes_late_changes_nothing_and_is_told_of(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.send(sample_text("gateway-health-changed"), sample_text("instance-health-changed"))
    assert cloud.deliver() == []
    passing = cloud.published(API)
    assert passing.active == "api.default.dc1"
    cloud.send(sample_text("service-health-changed"))
    assert cloud.deliver() == []
    after = cloud.published(API)
    assert after.active == "api.default.dc1"
    assert {(address, healthy) for address, _, healthy in after.endpoints} == {
        ("10.1.0.11", True),
        ("10.1.0.12", False),
    }
    (line,) = cloud.lines("stale")
    assert (line["level"], line["catalog"]) == ("INFO", "dc1/service/default/api")
    assert line["known"]["index"] == line["heard_from"]["index"] - 1 == 48230
    told = metrics(capsys)
    assert (told["EventsStale"], told.get("EventsDuplicate", 0)) == (1, 0)


def test_a_poisoned_record_among_good_ones_fails_alone(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    wrong_type = sample("service-health-changed")
    wrong_type["detail"]["Index"] = "48213"
    poison = {
        "{not json": "is not JSON",
        '{"hello": "world"}': "event: is of no known shape",
        json.dumps(wrong_type): 'Index: must be a whole number, not "48213"',
        "[" * 2000 + "]" * 2000: "is nested too deeply",
        '{"Index": ' + "9" * 5000 + "}": "is not JSON",
        r'{"Source": "\ud800"}': "is not JSON",
        '{"detail-type": "EC2 Instance State-change Notification", "detail": {}}': "is no known shape",
        json.dumps({**sample("bare-detail"), "Service": "a\uffff\n"}): r'"a?\n" is not a lower-case DNS label',
    }
    cloud.send(sample_text("gateway-health-changed"), *poison, sample_text("bare-detail"))
    assert cloud.deliver() == []
    assert cloud.waiting() == 0, "the poison is not retried"
    assert cloud.published(API).active == "api.default.dc3"

    dead = {letter["body"]: letter for letter in cloud.dead()}
    assert dead.keys() == poison.keys()
    (switch,) = cloud.lines("switched")
    assert (switch["service"], switch["upstream"], switch["to"]) == ("ingest", "default/api", "api.default.dc3")
    assert (switch["cause"], switch["datacenter"]) == ("event", "dc1")
    lines = {line["message_id"]: line for line in cloud.lines("refused")}
    for body, reason in poison.items():
        assert reason in dead[body]["reason"]
        assert lines[dead[body]["message-id"]]["level"] == "ERROR"
    assert len(lines) == len(poison)
    told = metrics(capsys)
    assert told.pop("PublishLag") > 0
    assert told == {
        "EventsIngested": 2,
        "EventsRefused": len(poison),
        "ResolversRecomputed": 1,
        "SnapshotsPublished": 1,
        "TargetsSwitched": 1,
    }


def test_without_a_queue_for_dead_letters_the_poison_is_a_batch_item_failure(
    cloud_without_dead_letters: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = cloud_without_dead_letters
    cloud.send("{}", sample_text("bare-detail"))
    assert cloud.deliver() == ["{}"]
    assert cloud.published(API).active == "api.default.dc3"
    told = metrics(capsys)
    assert told.pop("PublishLag") > 0
    assert told == {
        "EventsIngested": 1,
        "EventsFailed": 1,
        "ResolversRecomputed": 1,
        "SnapshotsPublished": 1,
        "TargetsSwitched": 1,
    }


def test_a_dead_letter_that_is_too_large_with_its_reason_goes_without(cloud: Cloud, wire: Wire) -> None:
    def limited(passed: Pass) -> Answer:
        error = {"__type": "com.amazonaws.sqs#InvalidParameterValue", "message": "Message must be shorter"}
        return 400, {"x-amzn-query-error": "InvalidParameterValue;Sender"}, json.dumps(error)

    record = {"messageId": "2e1424d4-f796-459a-8184-9c92662be6da", "body": "{}", "eventSource": "aws:sqs"}
    wire.will("POST", limited)
    assert cloud.failures({"Records": [record]}) == set()
    assert not wire.faults["POST"]
    assert cloud.dead() == [{"body": "{}"}]


def test_a_dead_letter_that_cannot_be_sent_is_tried_again(cloud: Cloud) -> None:
    cloud.sqs.delete_queue(QueueUrl=cloud.dead_letters)
    cloud.send("{}", sample_text("bare-detail"))
    assert cloud.deliver() == ["{}"]
    (line,) = cloud.lines("failed, to be delivered again")
    assert "is of no known shape" in line["exception"]


def test_a_record_that_s3_does_not_take_is_delivered_again(
    cloud: Cloud, wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.send(sample_text("gateway-health-changed"), sample_text("bare-detail"))
    assert cloud.deliver() == []
    before = cloud.published(API)
    capsys.readouterr()

    wire.will("GET", *[THROTTLED] * 100)
    cloud.send(sample_text("instance-health-changed"))
    assert cloud.deliver() == [sample_text("instance-health-changed")]
    wire.faults.clear()
    assert cloud.published(API) == before
    (line,) = cloud.lines("failed, to be delivered again")
    assert line["correlation_id"] == sample("instance-health-changed")["id"]
    assert "try again later" in line["reason"]
    assert metrics(capsys) == {"EventsFailed": 1}

    assert cloud.deliver() == []
    assert cloud.published(API) == api(before.version + 1, "dc1", frozenset({("10.1.0.11", 21000, True)}))
    assert cloud.waiting() == 0
    assert cloud.dead() == [], "a good event is never a dead letter"


def test_what_a_crash_left_half_done_is_finished_by_the_redelivery(cloud: Cloud, wire: Wire) -> None:
    cloud.send(sample_text("gateway-health-changed"), sample_text("bare-detail"))
    assert cloud.deliver() == []
    before = cloud.published(API)
    # The catalog is written by the first PUT; the head's swap and everything after it fail.
    wire.will("PUT", lambda passed: passed(), *[refusal(403, "AccessDenied")] * 100)
    cloud.send(sample_text("instance-health-changed"))
    assert cloud.deliver() == [sample_text("instance-health-changed")]
    assert cloud.published(API) == before
    wire.faults.clear()
    assert cloud.deliver() == []
    assert cloud.published(API).active == "api.default.dc1"


def test_a_redelivered_record_changes_nothing(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    batch = [sample_text("gateway-health-changed"), sample_text("service-health-changed"), sample_text("bare-detail")]
    cloud.send(*batch)
    assert cloud.deliver() == []
    before = cloud.published(API)
    assert before.active == "api.default.dc3"
    capsys.readouterr()
    cloud.send(*reversed(batch))
    assert cloud.deliver() == []
    assert cloud.published(API) == before
    assert metrics(capsys) == {"EventsIngested": 3, "EventsDuplicate": 3, "ResolversRecomputed": 1}


def test_most_of_a_catalog_vanishing_at_once_is_a_loud_metric(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    event = sample("service-health-changed")
    detail = event["detail"]
    cloud.send(event)
    assert cloud.deliver() == []
    assert "InstancesVanished" not in metrics(capsys)
    count, detail["Instances"] = len(detail["Instances"]), []
    detail["Index"] += 1
    cloud.send(event, event)
    assert cloud.deliver() == []
    # It may be true, so it counts; and it counts once.
    assert metrics(capsys)["InstancesVanished"] == count
    (line,) = cloud.lines("most of a catalog vanished at once")
    assert (line["source"], line["catalog"], line["vanished"]) == (detail["Source"], "dc1/service/default/api", count)
    assert line["level"] == "WARNING"


@pytest.mark.parametrize(
    ("ago", "least", "most"), [(5.0, 5_000, 35_000), (-60.0, 0, 0)], ids=["five seconds ago", "a clock that is ahead"]
)
def test_the_lag_is_counted_from_when_the_queue_took_the_event_in(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], ago: float, least: float, most: float
) -> None:
    """EventBridge's own time of an event has whole seconds only, and other machines' clocks are other clocks."""
    cloud.send(sample("gateway-health-changed"))
    assert cloud.deliver() == []
    capsys.readouterr()
    cloud.send({"time": "2026-03-02T10:04:12Z", "detail": sample("bare-detail")})
    sent_ms = round((time.time() - ago) * 1000)
    assert cloud.deliver({"SentTimestamp": str(sent_ms)}) == []
    assert cloud.published(API).active == "api.default.dc3"
    assert least <= metrics(capsys)["PublishLag"] <= most


def test_a_record_that_does_not_say_when_it_was_sent_has_no_lag(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.send(sample("gateway-health-changed"))
    assert cloud.deliver() == []
    capsys.readouterr()
    cloud.send(sample("bare-detail"))
    assert cloud.deliver({"SentTimestamp": ""}) == []
    told = metrics(capsys)
    assert "PublishLag" not in told
    assert told["TargetsSwitched"] == 1


def test_one_process_serves_many_invocations_and_sees_what_others_configure(cloud: Cloud) -> None:
    engine, clients = cloud.function.engine, cloud.function.sqs
    detail = sample("bare-detail")
    cloud.send(sample_text("gateway-health-changed"))
    for index in range(20):
        detail["Index"] += 1
        detail["Instances"][0]["Checks"][1]["Status"] = "critical" if index % 2 else "passing"
        cloud.send(detail)
        assert cloud.deliver() == []
        expected = "api.default.dc1" if index % 2 else "api.default.dc3"
        assert cloud.published(API).active == expected
    redirect: list[dict[str, Any]] = [{"Kind": "service-resolver", "Name": "api", "Redirect": {"Datacenter": "dc3"}}]
    configure(cloud.engine(), parse_documents(redirect))
    detail["Index"] += 1
    detail["Instances"][0]["Service"]["Port"] = 21001
    cloud.send(detail)
    assert cloud.deliver() == []
    assert cloud.published("dc1/sidecar/api.default.dc3").active == "api.default.dc3"
    assert (cloud.function.engine, cloud.function.sqs) == (engine, clients)


def test_a_failover_is_logged_with_the_events_id(cloud: Cloud) -> None:
    cloud.send(sample_text("gateway-health-changed"), sample_text("instance-health-changed"))
    assert cloud.deliver() == []
    line = cloud.lines("published")[-1]
    assert line["correlation_id"] == sample("instance-health-changed")["id"]
    assert line["moved"] == [f"{API} v{cloud.published(API).version}"]


def test_an_event_put_on_a_bus_arrives_as_it_is(cloud: Cloud) -> None:
    events = aws_client("events")
    events.create_event_bus(Name="mesh")
    pattern = {"detail-type": ["Service Health Changed", "Instance Health Changed"]}
    events.put_rule(Name="ingest", EventBusName="mesh", EventPattern=json.dumps(pattern))
    arn = cloud.sqs.get_queue_attributes(QueueUrl=cloud.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_targets(Rule="ingest", EventBusName="mesh", Targets=[{"Id": "queue", "Arn": arn}])
    for name in ("gateway-health-changed", "instance-health-changed"):
        event = sample(name)
        entry = {"EventBusName": "mesh", "Source": event["source"], "DetailType": event["detail-type"]}
        events.put_events(Entries=[{**entry, "Detail": json.dumps(event["detail"])}])
    assert cloud.deliver() == []
    assert cloud.published(API).active == "api.default.dc1"


def test_without_its_store_the_function_says_what_is_missing(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POINTSMAN_STORE", raising=False)
    with pytest.raises(Exception, match="POINTSMAN_STORE is not set: name the bucket"):
        runpy.run_path(str(HANDLER))


def test_what_a_batch_has_no_time_left_for_comes_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(cloud.engine(), parse_documents([sidecar("shop", "db")]))
    detail = {"Source": "consul-dc1", "Datacenter": "dc1", "Service": "db", "Index": 1, "Instances": [instance("db")]}
    cloud.send(sample("bare-detail"), detail)
    spare = cloud.function.SPARE_MS
    late = SimpleNamespace(**vars(CONTEXT) | {"get_remaining_time_in_millis": lambda: spare})
    with monkeypatch.context() as patch:
        patch.setattr("pointsman.pipeline.settle.BATCH", 1)
        patch.setattr("tests.functions.cloud.CONTEXT", late)
        assert len(cloud.deliver()) == 1, "the first step settled the other one"
    assert "not settled in time" in cloud.lines("failed, to be delivered again")[-1]["reason"]
    assert cloud.deliver() == []
    assert cloud.published("dc1/sidecar/db.default.dc1").active == "db.default.dc1"
