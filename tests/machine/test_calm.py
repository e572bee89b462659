"""`pointsman up` returns traffic at the moment at which what waits has waited for long enough, also after a restart."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import run
from pointsman.machine.looking import LOOK_SECONDS
from pointsman.machine.waiting import Waiting
from pointsman.pipeline.wait_watch import WaitWatch

from tests.fleet.control_plane import Pointsman
from tests.fleet.process import FleetError, wait_until
from tests.machine.test_up import endpoint_port
from tests.pipeline.meshes import instance, policy, proxy_defaults, resolver, sidecar
from tests.pipeline.test_calm import Mesh


def test_what_another_process_noted_is_found_by_the_next_look() -> None:
    mesh = Mesh(failback_after="20s")
    told: list[str] = []
    waiting = Waiting(WaitWatch(mesh.another().engine), told.append)
    waiting.look()
    assert (waiting.pause_s, waiting.waiting) == (LOOK_SECONDS, 0)
    mesh.hear("critical")
    mesh.hear("passing")
    waiting.look()
    assert (waiting.pause_s, waiting.waiting) == (LOOK_SECONDS, 1)
    mesh.second += 18
    assert waiting.pause_s == pytest.approx(2)
    waiting.look()
    assert told == []
    mesh.second += 2
    waiting.look()
    assert told == ["1 cluster moved: a target has been healthy for as long as its policy wants"]
    assert (mesh.serves, waiting.waiting) == ("dc1", 0)


def test_traffic_returns_by_itself_and_a_restart_does_not_forget_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pointsman = Pointsman(tmp_path, "td")
    indexes = iter(range(1, 100))

    def apply(failback_after: str) -> None:
        path = tmp_path / "mesh.json"
        failover = resolver("web", Failover={"*": {"Datacenters": ["dc2"]}})  # in tiers
        documents = [proxy_defaults(), policy(FailbackAfter=failback_after), failover, sidecar("s1", "web")]
        path.write_text(json.dumps(documents))
        pointsman.apply([path])

    def say(dc: str, status: str) -> None:
        one: dict[str, Any] = instance("web", status=status)
        one["Service"] |= {"Address": "127.0.0.1", "Port": 2001 if dc == "dc1" else 2002}
        detail = {"Source": "test", "Index": next(indexes), "Datacenter": dc, "Service": "web", "Instances": [one]}
        pointsman.send({"detail-type": "Service Health Changed", "detail": detail})

    def returns() -> None:
        wait_until(lambda: endpoint_port(pointsman, "web") == 2001, "dc1 to be the first tier")

    def waits() -> None:
        wait_until(lambda: b"pointsman_waiting_clusters 1.0" in pointsman.page("/metrics"), "a cluster to wait")
        wait_until(lambda: endpoint_port(pointsman, "web") == 2002, "dc2 to be the first tier")

    apply("1h")
    with pointsman:
        for dc in ("dc2", "dc1"):
            say(dc, "passing")
        waits()
        assert run(["explain", "web", "--store", str(pointsman.store), "--dc", "dc1"]) == 0
        assert ", calm in " in capsys.readouterr().out
        pointsman.kill()
    with pointsman:
        waits()
        apply("3s")
        returns()
        # On a machine that is so busy that it takes three seconds for an event, there is nothing to wait for.
        line = "a target has been healthy for as long as its policy wants"
        for _ in range(4):
            say("dc1", "critical")
            say("dc1", "passing")
            with contextlib.suppress(FleetError):
                wait_until(lambda: line in pointsman.tail(), "a wait to be over", timeout=15)
                break
        assert line in pointsman.tail()
        returns()
