"""Each function does what its role allows: every call of a whole story is compared with the template's policies."""

import json

import pytest

from tests.adapter.rest import NODE
from tests.aws.harness import Aws
from tests.aws.mesh import CONFIG, s2
from tests.aws.policy import Call, allows, needs
from tests.aws.test_sweep import left
from tests.aws.test_template import FUNCTIONS
from tests.pipeline.meshes import instance, resolver, sidecar


def refused(aws: Aws) -> list[tuple[str, str, str]]:
    """The calls so far that AWS would not have let through."""
    wanted = {(call.function, *needs(call)) for call in aws.calls}
    return sorted(each for each in wanted if not allows(aws.stack, *each))


def test_no_function_makes_a_call_that_its_role_does_not_allow(aws: Aws) -> None:
    aws.calls.clear()
    aws.request("Configure", "PUT", "/v1/config", CONFIG)
    for dc in ("dc1", "dc2"):
        aws.put_event(s2(dc=dc))
        aws.put_event(s2("critical", dc=dc))
        aws.pump()
    detail = {"Source": "nomad", "Index": 1, "Datacenter": "dc1", "Service": "brand-new"}
    aws.put_event({"detail-type": "Instance Health Changed", "detail": {**detail, "Instance": instance("s", 9)}})
    aws.sqs.send_message(QueueUrl=aws.stack.refs["Queue"], MessageBody="poison")
    uploaded = json.dumps(resolver("s2", ConnectTimeout="8s")).encode()
    aws.s3.put_object(Bucket=aws.stack.refs["Bucket"], Key="deploy/s2.json", Body=uploaded)
    aws.pump()
    aws.request("Configure", "PUT", "/v1/config", [resolver("s3", ConnectTimeout="9s"), sidecar("s1", "s2", "s3")])
    aws.request("Configure", "DELETE", "/v1/config/registration/s1", dc="dc1")
    aws.request("Configure", "POST", "/v1/rollback/1")
    aws.request("Configure", "GET", "/v1/status")
    leased = {**s2("critical", dc="dc1")["detail"], "Lease": "30s", "Source": "agent/host-1"}
    assert aws.request("Configure", "POST", "/v1/events", {"detail": leased})[0] == 200
    stale = {**leased, "Index": leased["Index"] - 1, "Instances": []}
    assert aws.request("Configure", "POST", "/v1/events", {"detail": stale})[1]["stale"]
    order = {"verb": "drain", "datacenter": "dc2", "for": "2h", "reason": "a story"}
    code, given = aws.request("Configure", "POST", "/v1/orders", order, force="1")
    assert code == 200
    assert aws.request("Configure", "POST", f"/v1/orders/{given['order']['id']}/end")[0] == 200
    assert aws.request("Configure", "GET", "/v1/orders")[1]["ended"][0]["ended_by"].endswith(":user/deployer")
    assert aws.request("Configure", "DELETE", "/v1/sources/agent/host-1")[0] == 200
    assert aws.request("Configure", "GET", "/v1/sources")[0] == 200
    # A cold environment has to read what a warm one has in hand; a damaged head makes it look into the history.
    aws.crash()
    for key in aws.objects():
        if key.startswith("snapshots/"):
            aws.s3.put_object(Bucket=aws.stack.refs["Bucket"], Key=key, Body=b"damaged")
    aws.put_event(s2())
    aws.pump()
    aws.crash()
    # What an adapter left behind, and a subscription without its queue.
    for name in (left(aws), left(aws)):
        url = aws.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    aws.sqs.delete_queue(QueueUrl=url)
    aws.tick()

    for _ in range(2):
        for kind, names in (("clusters", []), ("listeners", []), ("endpoints", ["s2.default.dc1.internal.pointsman"])):
            aws.request("Discovery", "POST", f"/v3/discovery:{kind}", {"node": NODE, "resource_names": names})
        for node in ({**NODE, "cluster": "nobody"}, {**NODE, "cluster": "mesh-gateway", "id": "gw"}):
            aws.request("Discovery", "POST", "/v3/discovery:clusters", {"node": node})

    assert refused(aws) == []
    assert {call.function for call in aws.calls} == set(FUNCTIONS)
    assert {call.operation for call in aws.calls if call.function == "Discovery"} == {"GetObject"}
    made = {(call.function, call.operation) for call in aws.calls}
    assert made >= {("Ingest", "SendMessage"), ("Ingest", "ListObjectsV2"), ("Ingest", "PublishBatch")}
    assert made >= {("Configure", "PublishBatch"), ("Configure", "SendMessage"), ("Reconcile", "PublishBatch")}
    assert made >= {("Reconcile", "DeleteQueue"), ("Reconcile", "Unsubscribe"), ("Reconcile", "GetQueueUrl")}
    assert any(call.operation == "GetObject" and call.parameters["Key"] == "deploy/s2.json" for call in aws.calls)


@pytest.mark.parametrize(
    ("function", "operation", "key"),
    [
        ("Ingest", "PutObject", "deploy/s2.hcl"),
        ("Configure", "PutObject", "deploy/s2.hcl"),
        ("Configure", "GetObject", "tokens"),
        ("Reconcile", "PutObject", "catalog/dc1/service/default/s2"),
        ("Configure", "GetObject", "elsewhere"),
        ("Discovery", "GetObject", "config/objects/x"),
        ("Discovery", "GetObject", "catalog/dc1/service/default/s2"),
        ("Discovery", "PutObject", "snapshots/dc1/sidecar/s2.default.dc1"),
    ],
)
def test_the_comparison_would_notice(mesh: Aws, function: str, operation: str, key: str) -> None:
    parameters = {"Bucket": mesh.stack.refs["Bucket"], "Key": key}
    assert not allows(mesh.stack, function, *needs(Call(function, "s3", operation, parameters)))
    with pytest.raises(AssertionError, match=r"say in tests/aws/policy\.py"):
        needs(Call(function, "s3", "DeleteObjects", parameters))
