"""A look at the tasks that run: from ECS over the bus to the catalogs of this stack and its peers."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.stub import Stubber
from moto.ecs.models import ecs_backends
from pointsman.aws import task_looks
from pointsman.aws.task_looks import NotLooked, look, put
from pointsman.model.sources.task_claim import LOOK_LEASE

from tests.aws.harness import Aws
from tests.aws.mesh import CONFIG
from tests.aws.template import ACCOUNT, REGION
from tests.aws.test_policies import refused

SETTINGS = {"datacenter": "dc1", "groups": {"service:s2": {"port": 21000}}, "clusters": ["mesh"]}
CLUSTER = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/mesh"


class Ecs:
    """A cluster of the mocked ECS. What the mock does not say of tasks, their version and their address, is set here,
    in the words of ECS."""

    def __init__(self) -> None:
        self.client: Any = boto3.client("ecs")
        self.client.create_cluster(clusterName="mesh")
        containers = [{"name": "envoy", "image": "envoy", "memory": 64}]
        self.client.register_task_definition(family="s2", containerDefinitions=containers)

    def run(self, address: str, service: str = "s2", tags: Sequence[dict[str, str]] = ()) -> str:
        """Run a task of the service at this address; its ARN."""
        asked = {"cluster": "mesh", "taskDefinition": "s2", "launchType": "FARGATE", "group": f"service:{service}"}
        (task,) = self.client.run_task(**asked, tags=[*tags])["tasks"]
        arn = str(task["taskArn"])
        made = ecs_backends[ACCOUNT][REGION].tasks["mesh"][arn]
        made.version = 3
        made.advance = lambda: None  # or every question would bring it a step nearer to its end
        details = [{"name": "privateIPv4Address", "value": address}]
        made.attachments = [{"id": "1", "type": "ElasticNetworkInterface", "status": "ATTACHED", "details": details}]
        return arn

    def vanish(self, arn: str) -> None:
        """ECS stopped the task and forgot it, and its events were lost."""
        del ecs_backends[ACCOUNT][REGION].tasks["mesh"][arn]

    def forget(self) -> None:
        """ECS knows no cluster any more."""
        ecs_backends[ACCOUNT][REGION].tasks.clear()
        ecs_backends[ACCOUNT][REGION].clusters.clear()


def healthy(aws: Aws) -> tuple[int, int]:
    """How many instances s2 has in dc1, and how many of them are healthy, as the status says."""
    (resolver,) = aws.request("Configure", "GET", "/v1/status")[1]["resolvers"]
    (target,) = [each for each in resolver["targets"] if each["id"] == "s2.default.dc1"]
    return target["healthy"], target["total"]


@pytest.fixture
def stack() -> Iterator[Aws]:
    """A stack that looks at a cluster, which is not there yet."""
    with Aws(EcsTasks=json.dumps(SETTINGS)) as aws:
        aws.request("Configure", "PUT", "/v1/config", CONFIG)
        yield aws


def test_what_runs_is_known_without_an_event_of_ecs_and_no_call_needs_more_than_the_roles_allow(
    stack: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not stack.tick()["failed"], "a cluster that cannot be looked at keeps nothing else from being done"
    assert '"ClustersNotLookedAt":[1.0]' in capsys.readouterr().out
    ecs = Ecs()
    gone, _ = ecs.run("10.2.0.1"), ecs.run("10.2.0.2")
    stack.calls.clear()
    stack.tick()
    assert '"ClustersNotLookedAt":[0.0]' in capsys.readouterr().out
    assert stack.pump() == 0
    assert healthy(stack) == (2, 2)
    (source,) = stack.request("Configure", "GET", "/v1/status")[1]["sources"]
    assert (source["source"], source["datacenter"]) == (f"ecs/{REGION}/{ACCOUNT}/mesh", "dc1")
    assert source["lease_ms"] == 20 * 60_000
    assert LOOK_LEASE == "20m"
    ecs.vanish(gone)
    stack.tick()
    assert stack.pump() == 0
    assert {"ListTasks", "DescribeTasks", "DescribeClusters", "PutEvents"} <= {each.operation for each in stack.calls}
    assert refused(stack) == []


def test_the_peers_hear_of_what_was_found_as_of_any_event() -> None:
    with Aws(PeerBus1=f"arn:aws:events:eu-west-1:{ACCOUNT}:event-bus/peer") as aws:
        rules = dict(aws.stack.of("AWS::Events::Rule"))
        for name in ("HealthRule", "PeersRule"):
            assert task_looks.SOURCE not in json.dumps(aws.stack.value(rules[name]["EventPattern"])), (
                "by its type alone"
            )
            assert "ECS Task List" in aws.stack.value(rules[name]["EventPattern"])["detail-type"]


def client(service: str = "ecs") -> tuple[Any, Stubber]:
    """A client of AWS, and what answers it."""
    made = botocore.session.get_session().create_client(
        service, region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    return made, Stubber(made)


def arns(count: int, first: int = 0) -> list[str]:
    return [f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/mesh/{number:032x}" for number in range(first, first + count)]


def test_a_look_turns_every_page_asks_for_a_hundred_at_a_time_and_keeps_those_that_ecs_cannot_describe() -> None:
    ecs, answers = client()
    asked = {"cluster": "mesh", "desiredStatus": "RUNNING", "maxResults": 100}
    answers.add_response("list_tasks", {"taskArns": arns(100), "nextToken": "more"}, asked)
    answers.add_response("list_tasks", {"taskArns": arns(50, 100)}, asked | {"nextToken": "more"})
    answers.add_response("describe_clusters", {"clusters": [{"clusterArn": CLUSTER}]}, {"clusters": ["mesh"]})
    for some in (arns(100), arns(50, 100)):
        described = [{"taskArn": each, "lastStatus": "RUNNING", "version": 3} for each in some[1:]]
        answers.add_response(
            "describe_tasks",
            {"tasks": described, "failures": [{"arn": some[0], "reason": "MISSING"}]},
            {"cluster": "mesh", "tasks": some, "include": ["TAGS"]},
        )
    with answers:
        (event,) = look(ecs, "mesh", "20m")
    answers.assert_no_pending_responses()
    found = event["detail"]["tasks"]
    assert [each["taskArn"] for each in found] == arns(150)
    assert [each["taskArn"] for each in found if "lastStatus" not in each] == [arns(1)[0], arns(1, 100)[0]]


def test_a_cluster_with_too_many_tasks_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_looks, "MOST_TASKS", 99)
    ecs, answers = client()
    answers.add_response("list_tasks", {"taskArns": arns(100)})
    with answers, pytest.raises(NotLooked, match="has more than 99 tasks, so it is not looked at"):
        look(ecs, "mesh", "20m")


def test_a_bus_that_does_not_take_what_was_found_is_told_of() -> None:
    events, answers = client("events")
    answers.add_response("put_events", {"FailedEntryCount": 1, "Entries": [{"ErrorMessage": "ThrottlingException"}]})
    answers.add_client_error("put_events", "ResourceNotFoundException")
    with answers:
        for reason in ("was not taken by the bus mesh: ThrottlingException", "cannot be put on the bus mesh"):
            with pytest.raises(NotLooked, match=reason):
                put(events, "mesh", {"detail-type": "ECS Task List", "detail": {}})
