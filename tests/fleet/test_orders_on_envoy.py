"""Orders in a whole mesh of real Envoys: a datacenter is drained, stopped, started and taken again, and no request
fails."""

import json
import time
from pathlib import Path

import pytest

from tests.fleet.client import Asker
from tests.fleet.judge import Switch, wrong_names, wrong_steady, wrong_switching
from tests.fleet.mesh import Mesh
from tests.fleet.talk import Talk
from tests.fleet.ways import Tongue, Way

pytestmark = pytest.mark.envoy

STEADY_S = 0.5


def test_a_drained_datacenter_can_be_stopped_and_no_request_fails_until_it_is_back(tmp_path: Path) -> None:
    with Mesh("remote", tmp_path, Way(Tongue.DELTA), protocol="http", patient=True) as mesh:
        with Talk(*mesh.upstream) as talk:
            askers: list[Asker] = [mesh.client, talk]
            talk.wait_for_answer("dc1", after=0.0)
            wrong = moved(mesh, askers, "dc1", "dc2", "drain", "dc1", "--for", "10m", "--reason", "maintenance")
            assert "drained by order d-1" in mesh.pointsman.active("s2", "dc1").why
            mesh.kill_service("dc1")
            mesh.report("dc1", "critical")
            wrong += steady(askers, "dc2")
            mesh.start_service("dc1")
            mesh.report("dc1", "passing")
            wrong += steady(askers, "dc2")
            wrong += moved(mesh, askers, "dc2", "dc1", "end", "d-1")
            wrong += moved(mesh, askers, "dc1", "dc3", "pin", "s2", "--to", "dc3", "--for", "10m", "--reason", "a try")
            wrong += moved(mesh, askers, "dc3", "dc1", "end", "p-3")
            wrong += steady(askers, "dc1")

            report = json.loads(mesh.pointsman.command("drill", "dc1", "--for", "3s", "--json"))
            began = time.perf_counter()
            talk.wait_for_answer("dc1", after=began)
            assert report["good"]
            (cluster,) = [each for each in report["clusters"] if each["service"] == "s2"]
            print(f"a drill: out after {cluster['out_ms']} ms, back after {cluster['back_ms']} ms")
        assert wrong == [], mesh.trouble()
        assert [each for asker in askers for each in asker.attempts(0.0) if each.failure] == []
    assert wrong_names(mesh.seen(), mesh.sni) == []


def moved(mesh: Mesh, askers: list[Asker], old: str, new: str, *command: str) -> list[str]:
    """Run a command that moves the traffic: what is wrong with the answers until all come from `new`."""
    began = time.perf_counter()
    mesh.pointsman.command(*command)
    answered = time.perf_counter()
    switched = min(asker.wait_for_answer(new, after=began).done for asker in askers)
    for asker in askers:
        asker.wait_for_answer(new, after=answered)
    settled = time.perf_counter()
    wrong = []
    for asker in askers:
        asker.wait_past(settled)
        wrong += wrong_switching(asker.attempts(began, settled), Switch(old, new, None, began, switched))
    return wrong


def steady(askers: list[Asker], serving: str) -> list[str]:
    """What is wrong with the answers of a while in which nothing moves."""
    began = time.perf_counter()
    ended = began + STEADY_S
    for asker in askers:
        asker.wait_past(ended)
    return [each for asker in askers for each in wrong_steady(asker.attempts(began, ended), serving)]
