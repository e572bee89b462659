"""Outside of AWS's functions: `up` looks at the tasks that run, and both `up` and `emit` ask for the tags of one."""

import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws
from pointsman.aws.task_tags import TagsOfTasks
from pointsman.cli.main import run
from pointsman.machine.task_looking import LOOK_EVERY_SECONDS, TaskLooking
from pointsman.model.sources.recognize import SourceSettings
from pointsman.model.sources.task_claim import read_task_settings
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.heard import sources
from pointsman.store.protocol import Store
from pointsman.store.session import new_session

from tests.aws.http_ends import aws_over_http
from tests.aws.template import ACCOUNT, REGION
from tests.aws.test_task_looks import Ecs
from tests.fleet.control_plane import Pointsman
from tests.fleet.process import wait_until
from tests.machine.test_sources_sent import Door, healthy
from tests.model.reported import changed, sample
from tests.pipeline.meshes import instance, proxy_defaults, resolver, sidecar

SETTINGS = '{"datacenter": "dc2", "groups": {"service:api": {"port": 21000}}, "clusters": ["mesh"], "lease": "1m"}'
ASKING = SourceSettings(read_task_settings('{"datacenter": "dc2", "tags": true}'))
TAGS = [{"key": "pointsman:service", "value": "api"}, {"key": "pointsman:port", "value": "21000"}]


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ecs]:
    """A cluster of a mocked ECS."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield Ecs()


def looking(store: Store, client: Any, reported: list[str]) -> TaskLooking:
    return TaskLooking(Engine(store), SourceSettings(read_task_settings(SETTINGS)), client, reported.append)


def test_up_looks_at_what_runs_and_says_when_it_cannot(store: Store, ecs: Ecs) -> None:
    reported: list[str] = []
    look = looking(store, ecs.client, reported)
    gone = ecs.run("10.2.0.1", "api")
    ecs.run("10.2.0.2", "api")
    look.look()
    assert healthy(store, "dc2") == (2, 2)
    assert [each.source for each in sources(Engine(store))] == [f"ecs/{REGION}/{ACCOUNT}/mesh"]
    assert look.pause_s == 20 < LOOK_EVERY_SECONDS, "a third of the lease"
    ecs.vanish(gone)
    look.look()
    assert (healthy(store, "dc2"), reported, look.problem) == ((2, 2), [], ""), "it started a moment ago"
    ecs.client.delete_cluster(cluster="mesh")
    ecs.forget()
    look.look()
    assert "cannot be looked at" in look.problem
    assert reported == [f"tasks of ECS: {look.problem}"]
    assert healthy(store, "dc2") == (2, 2)


def test_up_and_emit_ask_for_tags_as_the_function_does(
    store: Store, path: Path, tmp_path: Path, ecs: Ecs, capsys: pytest.CaptureFixture[str]
) -> None:
    arn = ecs.run("10.2.0.1", "api", TAGS)
    event = changed(
        sample("ecs-task-as-sent"),
        detail__taskArn=arn,
        detail__clusterArn=f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/mesh",
    )
    unasked = Door(store, settings=ASKING)
    assert "is not mapped to a service" in unasked.post("/v1/events", event)[1]["ignored"][0]
    door = Door(store, settings=ASKING, with_tags=TagsOfTasks(new_session()).filled)
    assert door.post("/v1/events", event)[1]["changed"]
    assert healthy(store, "dc2") == (1, 1)
    file = tmp_path / "event.json"
    file.write_text(json.dumps(event))
    assert run(["emit", "--store", str(path), "--ecs-tasks", '{"datacenter": "dc2", "tags": true}', str(file)]) == 0
    assert "nothing new" in capsys.readouterr().out
    ecs.forget()
    assert "is not mapped" in door.post("/v1/events", event)[1]["ignored"][0]


def test_tags_that_ecs_does_not_give_now_are_asked_for_when_the_event_comes_again(
    store: Store, ecs: Ecs, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = TagsOfTasks(new_session())
    tags.prepare("eu-central-1")

    def refuse(*_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://ecs")

    monkeypatch.setattr("botocore.endpoint.Endpoint.make_request", refuse)
    code, answer = Door(store, settings=ASKING, with_tags=tags.filled).post("/v1/events", sample("ecs-task-as-sent"))
    assert (code, "cannot be fetched" in answer["error"]) == (503, True)


@pytest.mark.soak
def test_a_region_whose_ecs_is_not_heard_any_more_is_left_when_its_lease_is_over(
    tmp_path: Path, ecs: Ecs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real process, which asks ECS over HTTP."""
    ecs.run("10.2.0.1", "api")
    config = tmp_path / "mesh.json"
    upstream = {"DestinationName": "api", "Datacenter": "dc2", "LocalBindPort": 5000}
    failover = resolver("api", Failover={"*": {"Datacenters": ["dc3"]}})
    config.write_text(json.dumps([proxy_defaults(mode=""), failover, sidecar("s1", upstream)]))
    with aws_over_http() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        table = {**json.loads(SETTINGS), "lease": "3s"}
        pointsman = Pointsman(tmp_path, "td", more=["--ecs-tasks", json.dumps(table)])
        pointsman.apply([config])
        with pointsman:
            indexes = count(1)

            def dc3_speaks_and_serves(datacenter: str) -> bool:
                """Whether that one serves, after the source in dc3 was heard."""
                said = {"Source": "agent", "Index": next(indexes), "Datacenter": "dc3", "Lease": "3s"}
                body = {"detail-type": "Service Health Changed", "detail": {**said, "Service": "api"}}
                body["detail"]["Instances"] = [instance("api")]  # type: ignore[index]
                pointsman.send(body)
                time.sleep(0.5)  # a sixth of its lease
                (resolver_,) = json.loads(pointsman.page("/v1/status"))["resolvers"]
                return bool(resolver_["active"].endswith(f".{datacenter}"))

            wait_until(lambda: dc3_speaks_and_serves("dc2"), "the tasks are known")
            ecs.forget()
            wait_until(lambda: dc3_speaks_and_serves("dc3"), "dc2 is left")
            ecs.client.create_cluster(clusterName="mesh")
            ecs.run("10.2.0.1", "api")
            wait_until(lambda: dc3_speaks_and_serves("dc2"), "dc2 is heard again")
