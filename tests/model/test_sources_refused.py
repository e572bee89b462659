"""What a source sends wrong is refused, with the place and the reason, and whatever it is breaks nothing."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.model.errors import InvalidInput
from pointsman.model.sources.consul_watch import watch_event
from pointsman.model.sources.pointer import Pointer
from pointsman.model.sources.recognize import read_events
from pointsman.model.sources.task_claim import read_task_settings
from pointsman.model.sources.text import MOST_BYTES

from tests.model.reported import LISTS, changed, checks, entries, sample, task, watch
from tests.share import share_of

BRIDGE = [{"name": "envoy", "networkBindings": [{"bindIP": "0.0.0.0", "containerPort": 21000, "hostPort": 32768}]}]
OF_API = {"ServiceID": "api-1", "ServiceName": "api-sidecar-proxy"}
NODE = {"Node": "n1", "CheckID": "serfHealth", "Status": "passing"}


def watched(result: Any, **parameters: str) -> Any:
    return watch_event({"type": "service", "dc": "dc1", "service": "api"} | parameters, "7", result)


def list_at(at: Any, **more: Any) -> Any:
    return {**changed(sample("bare-detail"), Instances=...), "InstancesAt": at, **more}


REFUSED: dict[str, tuple[Any, str]] = {
    "a bare list": ([], "event: is a list; a Consul watch goes to /v1/consul/watch"),
    "text": ("hello", "event: must be a mapping, not a string"),
    "an unknown detail type": (
        {"detail-type": "EC2 Instance\nLaunch", "detail": {}},
        '"EC2 Instance?Launch" is no known shape; known are',
    ),
    "no known shape": ({"hello": "world"}, "is of no known shape"),
    "a watch without a detail": ({"detail-type": "Consul Watch"}, "Consul Watch: detail: must be a mapping"),
    "a watch without an index": (
        changed(sample("consul-watch-service"), detail__Index=...),
        "Index: is required: Consul gives it as the header X-Consul-Index",
    ),
    "an index that is none": (watched([], index="1e3"), 'Index: must be a whole number, not "1e3"'),
    "an index below all": (watched([], index="0"), "Index: must be at least 1, not 0"),
    "an index beyond all": (watched([], index="9" * 30), "Index: must be a whole number"),
    "a watch of nodes": (watched([], type="nodes"), 'Type: must be "service" or "checks", not "nodes"'),
    "no service": (watched([], service=""), 'Service: "" is not a lower-case DNS label'),
    "a datacenter that is none": (watched([], dc="../dc1"), "Datacenter: "),
    "another datacenter's instances": (
        watched(entries(**{"1__Node__Datacenter": "dc2"})),
        'Result[1].Node.Datacenter: is "dc2", but the watch is said to be of "dc1"',
    ),
    "null for a list": (watched(None), "Result: must be a list, not null"),
    "checks where instances should be": (watched(checks()), "Result[0].Node: must be a mapping"),
    "instances where checks should be": (watched(entries(), type="checks"), "Result[0].Status: is required"),
    "an instance without a port": (
        watched(entries(**{"0__Service__Port": 0})[:1]),
        "Result[0].Service.Port: is required",
    ),
    "the checks of one service": (
        watched([{**NODE, "ServiceID": "x", "ServiceName": "api-sidecar-proxy"}], type="checks"),
        "watch all checks, without -service",
    ),
    "no checks at all": (watched([], type="checks"), "watch all checks, without -service"),
    "a check without a node": (watched([NODE, {"Status": "passing"}], type="checks"), "Result[1].Node: is required"),
    "a check with an unknown status": (
        watched([{**NODE, "Status": "fine"}, {**NODE, **OF_API}], type="checks"),
        'Result[0].Status: must be "passing"',
    ),
    "a task that is no mapping": (
        {"detail-type": "ECS Task State Change", "detail": [1]},
        "ECS Task State Change: detail: must be a mapping",
    ),
    "a task without a version": (task(version=...), "detail.version: is required"),
    "a version that is text": (task(version="3"), 'detail.version: must be a whole number, not "3"'),
    "an ARN that is none": (
        task(taskArn="arn:aws:s3:::bucket"),
        'detail.taskArn: "arn:aws:s3:::bucket" is not the ARN of one',
    ),
    "the ARN of no cluster": (task(clusterArn="mesh"), 'detail.clusterArn: "mesh" is not the ARN of one'),
    "a tag with no service in it": (
        task(tags__0__value="API v1"),
        'task c13b4cb40f1f4fe4a2971f76ae5a47ad: tag "pointsman:service": "API v1" is not a lower-case DNS label',
    ),
    "a tag with no port in it": (task(tags__1__value="http"), 'tag "pointsman:port": "http" is not a port'),
    "a port out of range": (task(tags__1__value="70000"), 'tag "pointsman:port": "70000" is not a port'),
    "no port anywhere": (task(tags__1=...), 'says no port; give it a tag "pointsman:port"'),
    "a kind that there is not": (
        task(tags__3={"key": "pointsman:kind", "value": "ingress"}),
        '"ingress" is neither "service" nor "mesh-gateway"',
    ),
    "ports of the host": (
        task(attachments=[], containers=BRIDGE),
        "has ports of its host, whose address is in no event; run it in the network mode awsvpc",
    ),
    "no network of its own": (task(attachments=[], containers=[]), "is RUNNING without a network interface of its own"),
    "an address that is none": (task(attachments__0__details__4__value="ip-10-2-0-139"), "is not an IP address"),
    "somebody else's bucket": (
        list_at({"Bucket": "evil", "Key": "mesh/incoming/x"}),
        'InstancesAt.Bucket: "evil" is not this stack\'s bucket',
    ),
    "another part of the bucket": (
        list_at({"Key": "mesh/config/head"}),
        'InstancesAt.Key: "mesh/config/head" is not a key under "mesh/incoming/"',
    ),
    "a key with a line feed": (list_at({"Key": "mesh/incoming/a\nb"}), '"mesh/incoming/a?b" is not a key'),
    "a pointer without a key": (list_at({"Bucket": "pointsman-test"}), "InstancesAt.Key: is required"),
    "a pointer that is text": (list_at("s3://pointsman-test/mesh/incoming/x"), "InstancesAt: must be a mapping"),
    "a list and a pointer": (
        list_at({"Key": "mesh/incoming/x"}, Instances=[]),
        "InstancesAt: goes in the place of Instances, not with it",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_with_the_place_and_the_reason(name: str) -> None:
    raw, message = REFUSED[name]
    with pytest.raises(InvalidInput) as refused:
        read_events(raw, LISTS)
    assert message in str(refused.value)


def test_where_no_objects_are_fetched_a_pointer_is_refused() -> None:
    with pytest.raises(InvalidInput, match="InstancesAt: no objects are fetched here; send the Instances themselves"):
        read_events(sample("instances-at"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "api.json: is not there, or empty; write the object before its event"),
        (b"", "is not JSON"),
        (b'{"Instances": []}', "does not hold a list; the object is the value of Instances as JSON"),
        (b" " * (MOST_BYTES + 1), f"is longer than {MOST_BYTES} bytes"),
    ],
)
def test_an_object_that_is_not_the_list_is_refused(content: bytes | None, message: str) -> None:
    pointer = read_events(sample("instances-at"), LISTS).missing
    assert isinstance(pointer, Pointer)
    with pytest.raises(InvalidInput, match=message):
        pointer.filled(content)


def test_a_parameter_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(
        InvalidInput, match="Consul Watch: datacenter: is no parameter of a watch; there are type, dc, "
    ):
        watch([], datacenter="dc1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the settings for ECS tasks: are not JSON"),
        ('{"group": {}}', "group: is not a field here"),
        ('{"groups": {"service:api": {"port": "21000"}}}', "port: must be a whole number"),
        ('{"groups": {"service:api": {"service": "API", "port": 1}}}', '"API" is not a lower-case DNS label'),
        ('{"groups": {"service:*": {}}}', "port: is required"),
        ('{"datacenter": "eu_1"}', 'datacenter: "eu_1" is not a lower-case DNS label'),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_task_settings(text)
    assert message in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SHAPES = ["consul-watch-service", "consul-watch-checks", "ecs-task-running", "ecs-task-stopped", "instances-at"]


@given(st.sampled_from(SHAPES), st.data())
@settings(max_examples=share_of(400), deadline=None)
def test_whatever_stands_anywhere_in_a_sample_is_read_or_refused(name: str, data: st.DataObject) -> None:
    raw = sample(name)
    inside, last = {"": raw}, ""
    while data.draw(st.integers(0, 6)) and isinstance(inside[last], dict | list) and inside[last]:
        inside = inside[last]
        last = data.draw(st.sampled_from(range(len(inside)) if isinstance(inside, list) else sorted(inside)))
    inside[last] = data.draw(JSON)
    refused = None
    try:
        read_events(raw, LISTS)
    except InvalidInput as error:
        refused = str(error)
    assert refused is None or ("\n" not in refused and len(refused) < 20_000)
