"""ECS tasks as instances: every situation, in any order, and whose instance a task is."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.model.catalog import EMPTY, merge
from pointsman.model.errors import InvalidInput
from pointsman.model.names import ServiceName
from pointsman.model.sources.recognize import SourceSettings, read_events
from pointsman.model.sources.task_claim import TaskSettings, read_task_settings
from pointsman.model.sources.task_tags import TaskTags

from tests.model.reported import GROUPS, catalog, changed, only, serving, task, visible
from tests.share import share_of

# What the events come to: the health of the one endpoint, or None where there is none.
SITUATIONS: dict[str, tuple[list[Any], bool | None]] = {
    "running": ([task()], True),
    "twice": ([task(), task()], True),
    "its health is not told": ([task(healthStatus=..., containers=[])], True),
    "no health check is defined": (
        [task(healthStatus="UNKNOWN", containers__0__healthStatus="UNKNOWN", containers__1__healthStatus="UNKNOWN")],
        True,
    ),
    "one of its containers is ill": ([task(healthStatus="UNHEALTHY", containers__1__healthStatus="UNHEALTHY")], False),
    "ill, and the task's own health is not told": (
        [task(healthStatus=..., containers__0__healthStatus="UNHEALTHY")],
        False,
    ),
    "ill as a whole": ([task(healthStatus="UNHEALTHY")], False),
    "a container that is not essential is ill": ([task(containers__1__healthStatus="UNHEALTHY")], True),
    "a container that has done its work": (
        [task(healthStatus=..., containers__1__lastStatus="STOPPED", containers__1__healthStatus="UNHEALTHY")],
        True,
    ),
    "its Envoy has exited": (
        [task(healthStatus=..., containers__0__lastStatus="STOPPED", containers__0__exitCode=139)],
        False,
    ),
    "its Envoy has exited, and runs again": (
        [task(healthStatus="HEALTHY", containers__0__lastStatus="STOPPED"), task(version=4, healthStatus=...)],
        True,
    ),
    "well again": ([task(healthStatus="UNHEALTHY"), task(version=4)], True),
    "ill at first, which comes late": ([task(version=4), task(healthStatus="UNHEALTHY")], True),
    "about to be stopped": ([task(), task(version=4, desiredStatus="STOPPED")], False),
    "about to be stopped, but running comes late": ([task(version=4, desiredStatus="STOPPED"), task()], False),
    "going, its interface gone already": (
        [task(), task(version=5, lastStatus="DEPROVISIONING", desiredStatus="STOPPED", attachments=[], containers=[])],
        False,
    ),
    "going, and nothing else ever heard": ([task(version=5, lastStatus="STOPPING")], None),
    "stopped": ([task(), task("ecs-task-stopped")], None),
    "stopped, but running comes late": ([task("ecs-task-stopped"), task()], None),
    "stopped, and deleted": (
        [task(), task("ecs-task-stopped"), task("ecs-task-stopped", version=7, lastStatus="DELETED")],
        None,
    ),
    "not there yet": ([task(version=1, lastStatus="PROVISIONING"), task(version=2, lastStatus="PENDING")], None),
    "there, but pending comes late": ([task(), task(version=2, lastStatus="PENDING")], True),
    "on its container instance": (
        [task(launchType="EC2", containerInstanceArn="arn:aws:ecs:eu-central-1:1:container-instance/mesh/9")],
        True,
    ),
    "the address only with the containers": ([task(attachments=[])], True),
    "with other attachments": (
        [task(attachments=[{"type": "elb", "details": []}, {"type": "sdi"}, *task()["detail"]["attachments"]])],
        True,
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_task_in_every_situation(name: str) -> None:
    events, healthy = SITUATIONS[name]
    read = [event for raw in events for event in read_events(raw).events]
    expected = {} if healthy is None else {("10.2.0.139", 21000): healthy}
    assert serving(read) == expected
    assert serving(reversed(read)) == expected


LIFE = [
    task(version=1, lastStatus="PROVISIONING", attachments=[]),
    task(version=2, lastStatus="PENDING"),
    task(version=3, healthStatus="UNKNOWN"),
    task(version=3, healthStatus="UNKNOWN", connectivity="DISCONNECTED"),
    task(version=4, healthStatus="UNHEALTHY"),
    task(version=5),
    task(version=6, desiredStatus="STOPPED"),
    task(version=7, desiredStatus="STOPPED", lastStatus="DEPROVISIONING", attachments=[], containers=[]),
    task("ecs-task-stopped", version=8),
]


@given(st.data())
@settings(max_examples=share_of(200), deadline=None)
def test_the_order_and_the_number_of_a_tasks_events_do_not_matter(data: st.DataObject) -> None:
    upto = data.draw(st.integers(3, len(LIFE)))
    life = [event for raw in LIFE[:upto] for event in read_events(raw).events]
    delivered = data.draw(st.permutations(life + data.draw(st.lists(st.sampled_from(life), max_size=4))))
    assert catalog(delivered).sources == catalog(life).sources
    healthy = {3: True, 4: True, 5: False, 6: True, 7: False, 8: False}
    assert serving(delivered) == ({("10.2.0.139", 21000): healthy[upto]} if upto in healthy else {})


def test_two_tasks_are_two_instances_and_stop_by_themselves() -> None:
    other = json.loads(
        json.dumps(task(version=9))
        .replace("c13b4cb40f1f4fe4a2971f76ae5a47ad", "0" * 32)
        .replace("10.2.0.139", "10.2.0.7")
    )
    events = [only(read_events(raw)) for raw in (task(), other, task("ecs-task-stopped"))]
    assert serving(events) == {("10.2.0.7", 21000): True}


def test_an_envoy_that_has_exited_is_named_with_its_exit_code_and_under_the_name_that_the_settings_say() -> None:
    exited = task(containers__0__lastStatus="STOPPED", containers__0__exitCode=139)
    ((_, body),) = visible([only(read_events(exited))])
    (check,) = [each for each in body["Checks"] if each["Status"] == "critical"]
    assert (check["CheckID"], check["Output"]) == ("ecs:container:envoy", "STOPPED, exit code 139")
    other = SourceSettings(read_task_settings('{"envoy": "proxy"}'))
    assert serving([only(read_events(exited, other))]) == {("10.2.0.139", 21000): True}


UNTAGGED = task("ecs-task-as-sent")
STARTED_WITH = [
    {"environment": [{"name": "POINTSMAN_SERVICE", "value": "api"}, {"name": "POINTSMAN_PORT", "value": "8443"}]}
]
CLAIMS: dict[str, tuple[Any, str, tuple[str, str, int] | str]] = {
    "tags": (task(), "", ("default/api", "dc2", 21000)),
    "tags before the group's line": (
        task(),
        '{"groups": {"service:api": {"service": "db", "port": 1, "datacenter": "dc9"}}}',
        ("default/api", "dc2", 21000),
    ),
    "what it was started with": (
        changed(UNTAGGED, detail__overrides={"containerOverrides": STARTED_WITH}),
        "",
        ("default/api", "eu-central-1", 8443),
    ),
    "the group's line": (UNTAGGED, GROUPS, ("default/api", "dc2", 21000)),
    "the group's line, with other names": (
        UNTAGGED,
        '{"groups": {"service:api": {"service": "db", "namespace": "team", "port": 2, "datacenter": "dc3"}}}',
        ("team/db", "dc3", 2),
    ),
    "a group that is no service": (
        changed(UNTAGGED, detail__group="family:job"),
        '{"groups": {"family:job": {"service": "job", "port": 2}}}',
        ("default/job", "eu-central-1", 2),
    ),
    "every service by its name": (
        UNTAGGED,
        '{"groups": {"service:*": {"port": 21000}}}',
        ("default/api", "eu-central-1", 21000),
    ),
    "a service whose name cannot stand here": (
        changed(UNTAGGED, detail__group="service:Api_2"),
        '{"groups": {"service:*": {"port": 21000}}}',
        "is not mapped to a service",
    ),
    "every service by its name, and no address": (
        changed(UNTAGGED, detail__attachments=[], detail__containers=[]),
        '{"groups": {"service:*": {"port": 21000}}}',
        "run it in the network mode awsvpc",
    ),
    "a family, where services count": (
        changed(UNTAGGED, detail__group="family:api"),
        '{"groups": {"service:*": {"port": 21000}}}',
        'its group "family:api" is not mapped to a service',
    ),
    "nobody's": (UNTAGGED, "", 'has no tag "pointsman:service"'),
    "other people's tags": (
        changed(UNTAGGED, detail__tags=[{"key": "team", "value": "payments"}]),
        "",
        'has no tag "pointsman:service"',
    ),
    "a mesh gateway": (
        changed(
            UNTAGGED,
            detail__tags=[
                {"key": "pointsman:kind", "value": "mesh-gateway"},
                {"key": "pointsman:port", "value": "8443"},
            ],
        ),
        "",
        ("None", "eu-central-1", 8443),
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_whose_instance_a_task_is(name: str) -> None:
    raw, stack, expected = CLAIMS[name]
    reading = read_events(raw, SourceSettings(read_task_settings(stack)))
    if isinstance(expected, str):
        assert reading.events == ()
        assert expected in reading.ignored[0]
        return
    event = only(reading)
    ((_, body),) = visible([event])
    assert (str(event.service), event.datacenter, body["Service"]["Port"]) == expected


def test_tags_that_an_event_does_not_bring_are_asked_for_once() -> None:
    asking = SourceSettings(TaskSettings(tags=True))
    missing = read_events(UNTAGGED, asking).missing
    assert isinstance(missing, TaskTags)
    assert (missing.account, missing.region) == ("111122223333", "eu-central-1")
    assert missing.task == UNTAGGED["detail"]["taskArn"]
    filled = missing.filled([{"key": "pointsman:service", "value": "api"}, {"key": "pointsman:port", "value": "21000"}])
    assert only(read_events(filled, asking)).service == ServiceName("default", "api")
    assert read_events(missing.filled([]), asking).ignored
    assert read_events(changed(UNTAGGED, detail__lastStatus="PENDING"), asking).ignored


def test_a_port_of_the_host_counts_where_the_event_says_its_address() -> None:
    bound = [{"bindIP": "10.2.9.9", "containerPort": 21000, "hostPort": 32768, "protocol": "tcp"}]
    raw = task(attachments=[], containers=[{"name": "envoy", "lastStatus": "RUNNING", "networkBindings": bound}])
    assert serving([only(read_events(raw))]) == {("10.2.9.9", 32768): True}


def test_other_events_of_ecs_are_passed_over() -> None:
    other = {"source": "aws.ecs", "detail-type": "ECS Service Action", "detail": {"eventName": "SERVICE_STEADY_STATE"}}
    assert "says nothing of a task" in read_events(other).ignored[0]


def test_by_hand_a_task_is_removed_with_a_time_and_never_listed() -> None:
    (running,) = read_events(task()).events
    node, stamp = running.statements[0].node, {"Source": running.source, "Index": running.index + 1}
    detail = {**stamp, "Datacenter": running.datacenter, "Service": "api", "Removed": {"Node": node, "ID": node}}
    (removed,) = read_events({"detail": detail, "time": "2026-03-02T12:00:00Z"}).events
    assert list(merge(merge(EMPTY, running), removed).visible()) == []
    assert (running.moment or 0) < (removed.moment or 0)
    with pytest.raises(InvalidInput, match="event: time: is required with the source"):
        read_events({"detail": detail})
    with pytest.raises(InvalidInput, match="counts by task, so a list of it has no index; send Instance or Removed"):
        read_events({"detail": {**stamp, "Datacenter": "dc2", "Service": "api", "Instances": []}})
