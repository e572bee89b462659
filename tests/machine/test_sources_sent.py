"""The ways in: Consul's HTTP handler, other events over HTTP, and what a watch runs as a program."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.adapter.report.metrics import Metrics
from pointsman.api.request import Api, without_tags
from pointsman.cli.ecs_tasks import read_ecs_tasks
from pointsman.cli.main import run
from pointsman.machine.calls import Calls
from pointsman.machine.intake import Intake
from pointsman.machine.passes import Passes
from pointsman.model.sources.recognize import DEFAULTS, SourceSettings
from pointsman.model.sources.task_tags import TaskTags
from pointsman.overview.reading import read_now
from pointsman.pipeline.engine import Engine
from pointsman.store.protocol import Store

from tests.model.reported import SAMPLES, checks, entries, sample

WATCHED = "type=service&dc=dc1&service=api"


class Door:
    """The intake on a store, and what it reported."""

    def __init__(
        self,
        store: Store,
        metrics: Metrics | None = None,
        settings: SourceSettings = DEFAULTS,
        with_tags: Callable[[TaskTags], Any] = without_tags,
    ) -> None:
        self.reported: list[str] = []
        api = Api(Engine(store), lambda: settings, with_tags=with_tags)
        passes = Passes(api, self.reported.append, metrics)
        self._app = Intake(api, passes, Calls(), self.reported.append)

    def post(self, path: str, body: Any, query: str = "", headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and answer."""
        return asyncio.run(
            self._post(path, body if isinstance(body, bytes) else json.dumps(body).encode(), query, headers or {})
        )

    async def _post(self, path: str, body: bytes, query: str, headers: dict[str, str]) -> tuple[int, Any]:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in {"content-type": "application/json", **headers}.items()
            ],
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def healthy(store: Store, datacenter: str = "dc1") -> tuple[int, int]:
    """How many instances of api a datacenter has, as its target in dc1 counts them."""
    (resolver,) = (each for each in read_now(Engine(store)).json()["resolvers"] if each["service"] == "api")
    (target,) = (each for each in resolver["targets"] if each["id"] == f"api.default.{datacenter}")
    return target["healthy"], target["total"]


def test_consuls_http_handler_posts_what_it_watches(store: Store) -> None:
    door = Door(store)
    code, answer = door.post("/v1/consul/watch", entries(), WATCHED, {"X-Consul-Index": "48262"})
    assert (code, answer["changed"], answer["ignored"]) == (200, True, [])
    assert healthy(store) == (1, 2)
    code, answer = door.post(
        "/v1/consul/watch", checks(), WATCHED.replace("service&", "checks&", 1), {"X-Consul-Index": "48270"}
    )
    assert (code, answer["changed"]) == (200, True)
    assert healthy(store) == (0, 2)
    code, answer = door.post("/v1/consul/watch", entries(), WATCHED, {"X-Consul-Index": "48262"})
    assert (code, answer["changed"]) == (200, False)
    assert healthy(store) == (0, 2)
    assert [each["heard_from"]["index"] for each in answer["stale"]] == [48271], "its checks are older than those known"
    assert len(door.reported) == 1
    door.reported.clear()
    assert door.post("/v1/consul/watch", [], WATCHED + "&index=48280")[0] == 200
    assert healthy(store) == (0, 0)
    lost = "2 instances of dc1/service/default/api are not in the list that consul-dc1 sent"
    assert door.reported == [f"most of a catalog vanished at once: {lost}"]


def test_a_watch_that_cannot_be_meant_is_answered_400_and_changes_nothing(store: Store) -> None:
    door = Door(store)
    for query, body, reason in [
        (WATCHED, entries(), "Consul Watch: Index: is required: Consul gives it as the header X-Consul-Index"),
        (WATCHED + "&index=7&tag=v1", entries(), 'the URL: "tag": is no parameter; there are type, dc, service'),
        (WATCHED + "&index=7", {}, "Consul Watch: Result: must be a list"),
        (WATCHED + "&index=7", b"[", "event: line 1: is not JSON"),
        ("", [], "Consul Watch: "),
    ]:
        code, answer = door.post("/v1/consul/watch", body, query)
        assert code == 400
        assert answer["error"].startswith(reason)
    assert healthy(store) == (0, 0)
    assert len(door.reported) == 5


def test_tasks_come_over_http_too_and_what_is_nobodys_is_answered_with_the_reason(store: Store) -> None:
    door = Door(store)
    code, answer = door.post("/v1/events", sample("ecs-task-running"))
    assert (code, answer["changed"]) == (200, True)
    assert healthy(store, "dc2") == (1, 1)
    code, answer = door.post("/v1/events", sample("ecs-task-as-sent"))
    assert (code, answer["revision"], answer["changed"], answer["moved"]) == (200, None, False, [])
    assert "is not mapped to a service" in answer["ignored"][0]
    assert door.reported == [f"ignored: {answer['ignored'][0]}"]
    code, answer = door.post("/v1/events", sample("instances-at"))
    assert (code, answer["error"]) == (
        400,
        "event: InstancesAt: no objects are fetched here; send the Instances themselves",
    )


TASKS = {"datacenter": "dc2", "groups": {"service:api": {"port": 21000}}}


def test_whose_instances_tasks_are_is_an_option_of_up_and_emit(
    store: Store, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    door = Door(store, settings=SourceSettings(read_ecs_tasks(json.dumps(TASKS))))
    assert door.post("/v1/events", sample("ecs-task-as-sent"))[1]["changed"]
    assert healthy(store, "dc2") == (1, 1)
    settings = tmp_path / "tasks.json"
    settings.write_text(json.dumps(TASKS))
    emit = ["emit", "--store", str(path), str(SAMPLES / "ecs-task-as-sent.json"), "--ecs-tasks"]
    assert run([*emit, f"@{settings}"]) == 0
    assert "nothing new" in capsys.readouterr().out
    for wrong, reason in (
        ("{", "are not JSON"),
        ("@/nonexistent", "/nonexistent"),
    ):
        assert run([*emit, wrong]) == 1
        assert reason in capsys.readouterr().err


def test_a_watch_runs_emit(
    store: Store, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "stdin.json"
    given.write_text(json.dumps(entries()))
    emit = ["emit", "--store", str(path), "--watch", WATCHED, str(given)]
    assert run(emit) == 1
    assert "Consul Watch: Index: is required" in capsys.readouterr().err
    monkeypatch.setenv("CONSUL_INDEX", "48262")
    assert run(emit) == 0
    assert "took effect" in capsys.readouterr().out
    assert healthy(store) == (1, 2)


def test_emit_takes_every_shape_that_is_known(store: Store, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("consul-watch-service", "consul-watch-checks", "ecs-task-running"):
        assert run(["emit", "--store", str(path), str(SAMPLES / f"{name}.json")]) == 0
    assert (healthy(store), healthy(store, "dc2")) == ((0, 2), (1, 1))
    capsys.readouterr()
    assert run(["emit", "--store", str(path), str(SAMPLES / "ecs-task-as-sent.json")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ignored: task f8bec92bed774ee4b27711702a862de5: ")
    assert out.count("\n") == 1
