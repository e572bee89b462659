"""functions/ingest and its other sources: the samples as recorded, what has to be fetched, and what is ignored."""

import json
from typing import Any

import pytest
from pointsman.model.sources.recognize import SourceSettings
from pointsman.model.sources.task_claim import TaskSettings, read_task_settings
from pointsman.model.sources.text import MOST_BYTES

from tests.functions.cloud import BUCKET, CONTEXT, Cloud, aws_client
from tests.functions.mesh import API, sample, sample_text
from tests.store.wire import Wire, refusal

KEY = "mesh/incoming/consul-dc3/api.json"


def sent(cloud: Cloud, *bodies: str | dict[str, Any]) -> str:
    """Which target serves after these."""
    cloud.send(*bodies)
    assert cloud.deliver() == []
    assert cloud.waiting() == 0
    return cloud.published(API).active


def put_list(content: bytes) -> None:
    aws_client("s3").put_object(Bucket=BUCKET, Key=KEY, Body=content)


def test_the_samples_tell_the_story_of_a_failover(cloud: Cloud) -> None:
    put_list(json.dumps(sample("bare-detail")["Instances"]).encode())
    assert sent(cloud, sample_text("gateway-health-changed"), sample_text("consul-watch-service")) == "api.default.dc1"
    assert sent(cloud, sample_text("instances-at")) == "api.default.dc1"
    assert sent(cloud, sample_text("consul-watch-checks")) == "api.default.dc3"
    assert sent(cloud, sample_text("ecs-task-running")) == "api.default.dc2"
    assert sent(cloud, sample_text("ecs-task-stopped")) == "api.default.dc3"
    assert sent(cloud, sample_text("ecs-task-running")) == "api.default.dc3", "the stopped task comes back late"
    assert cloud.dead() == []


def test_a_task_that_nobody_claims_is_logged_and_done(cloud: Cloud) -> None:
    cloud.send(sample_text("ecs-task-as-sent"))
    assert cloud.deliver() == []
    (line,) = cloud.lines("ignored")
    assert "is not mapped to a service" in line["reasons"][0]
    assert (cloud.waiting(), cloud.dead()) == (0, [])


def test_a_task_counts_by_the_stacks_table_of_groups(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    table = '{"datacenter": "dc2", "groups": {"service:api": {"port": 21000}}}'
    monkeypatch.setattr(cloud.function, "settings", SourceSettings(read_task_settings(table)))
    assert sent(cloud, sample_text("gateway-health-changed"), sample_text("ecs-task-as-sent")) == "api.default.dc2"


def test_tags_are_asked_of_ecs_where_the_stack_says_so(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud.function, "settings", SourceSettings(TaskSettings(datacenter="dc2", tags=True)))
    ecs = aws_client("ecs")
    ecs.create_cluster(clusterName="mesh")
    container = {"name": "envoy", "image": "envoy", "memory": 64}
    ecs.register_task_definition(family="api", containerDefinitions=[container])
    tags = [{"key": "pointsman:service", "value": "api"}, {"key": "pointsman:port", "value": "21000"}]
    (task,) = ecs.run_task(cluster="mesh", taskDefinition="api", launchType="FARGATE", tags=tags)["tasks"]
    event, own = sample("ecs-task-as-sent"), CONTEXT.invoked_function_arn.split(":")[4]
    arns = {"taskArn": task["taskArn"], "clusterArn": task["clusterArn"]}
    arns = {name: arn.replace(":123456789012:", f":{own}:") for name, arn in arns.items()}

    def of(**changes: str) -> dict[str, Any]:
        return {**event, "detail": event["detail"] | arns | changes}

    assert sent(cloud, sample_text("gateway-health-changed"), of()) == "api.default.dc2"
    forgotten, no_cluster = of(taskArn=arns["taskArn"][:-1] + "x"), of(clusterArn=arns["clusterArn"] + "-gone")
    sent(cloud, forgotten, no_cluster, event)
    assert len(cloud.lines("ignored")) == 3
    assert cloud.dead() == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is not there, or empty; write the object before its event"),
        (b"", "is not there, or empty"),
        (b"{}", "does not hold a list"),
        (b"[1]", "Instances[0]: must be a mapping, not 1"),
        (b" " * (MOST_BYTES + 1), "is longer than"),
    ],
)
def test_a_pointer_to_no_list_is_a_dead_letter(cloud: Cloud, content: bytes | None, reason: str) -> None:
    if content is not None:
        put_list(content)
    cloud.send(sample_text("instances-at"))
    assert cloud.deliver() == []
    (letter,) = cloud.dead()
    assert reason in letter["reason"]
    assert letter["body"] == sample_text("instances-at")


def test_a_pointer_out_of_the_stacks_own_place_fetches_nothing(cloud: Cloud) -> None:
    for at in ({"Bucket": BUCKET, "Key": "mesh/config/head"}, {"Bucket": "other", "Key": KEY}):
        event = sample("instances-at")
        event["detail"]["InstancesAt"] = at
        cloud.send(event)
    assert cloud.deliver() == []
    assert len(cloud.dead()) == 2


def test_a_list_that_s3_does_not_give_now_is_fetched_again(cloud: Cloud, wire: Wire) -> None:
    put_list(json.dumps(sample("bare-detail")["Instances"]).encode())
    cloud.send(sample_text("gateway-health-changed"))
    assert cloud.deliver() == []
    wire.will("GET", *[refusal(503, "SlowDown")] * 100)
    cloud.send(sample_text("instances-at"))
    assert cloud.deliver() == [sample_text("instances-at")]
    wire.faults.clear()
    assert cloud.deliver() == []
    assert cloud.published(API).active == "api.default.dc3"
    assert cloud.dead() == []
