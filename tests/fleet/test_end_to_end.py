"""The main promise, on real Envoys: a health event moves real traffic to the right datacenter, and back."""

import time
from pathlib import Path
from typing import get_args

import pytest

from tests.fleet.envoy import ENVOY_1_39
from tests.fleet.judge import Mode
from tests.fleet.mesh import Mesh
from tests.fleet.process import wait_until
from tests.fleet.scenario import dark, run
from tests.fleet.seaweedfs import SeaweedFS
from tests.fleet.ways import Tongue, Way


@pytest.mark.envoy
@pytest.mark.parametrize("mode", get_args(Mode))
def test_traffic_follows_health_and_nothing_else(tmp_path: Path, mode: Mode) -> None:
    # As in the demo, an agent in each datacenter notices what happens there.
    with Mesh(mode, tmp_path, patient=True, lease_s=30) as mesh:
        report = run(mesh)
    assert report.problems == []
    assert [step.serving for step in report.steps] == ["dc1", "dc2", "dc3", "dc1"]


@pytest.mark.envoy
def test_it_leaves_a_datacenter_that_burns_though_nobody_is_left_to_say_so(tmp_path: Path) -> None:
    with Mesh("local", tmp_path, patient=True, lease_s=3) as mesh:
        # How late it may be on an idle machine is what the demo tells.
        report = dark(mesh, lease_s=3, spare_s=30.0)
    assert report.problems == []
    assert [step.serving for step in report.steps] == ["dc1", "dc2", "dc3", "dc2"]
    assert "nobody who tells of it is heard" in report.steps[2].active.why


@pytest.mark.envoy
@pytest.mark.parametrize("mode", [pytest.param(each, marks=pytest.mark.soak) for each in ("local", "remote")])
def test_where_a_way_is_required_it_leaves_a_datacenter_whose_gateway_is_dead(tmp_path: Path, mode: Mode) -> None:
    with Mesh(mode, tmp_path, patient=True) as mesh:
        mesh.apply({"Kind": "failover-policy", "Name": "s2", "Gateways": "require"})
        mesh.report("dc1", "critical")
        mesh.client.wait_for_answer("dc2", after=0.0)
        mesh.lose_gateway("dc2")
        after = mesh.client.wait_for_answer("dc3", after=0.0).done
        begin = time.perf_counter()
        wait_until(lambda: len(mesh.client.attempts(begin)) > 100, "a hundred answers")
        assert "no way through well gateways leads to it" in mesh.pointsman.active("s2", "dc1").why
    assert {each.datacenter for each in mesh.client.attempts(begin) if each.sent > after} == {"dc3"}


@pytest.mark.envoy
@pytest.mark.parametrize("mode", [pytest.param(each, marks=pytest.mark.soak) for each in ("local", "remote")])
def test_where_a_path_is_cut_traffic_leaves_the_datacenter_behind_it_and_comes_back(tmp_path: Path, mode: Mode) -> None:
    with Mesh(mode, tmp_path, patient=True, probed=True) as mesh:
        mesh.apply({"Kind": "failover-policy", "Name": "s2", "Gateways": "require"})
        mesh.report("dc1", "critical")
        mesh.client.wait_for_answer("dc2", after=0.0)
        cut = time.perf_counter()
        mesh.paths["dc2"].cut()
        after = mesh.client.wait_for_answer("dc3", after=cut).done
        wait_until(lambda: len(mesh.client.attempts(after)) > 100, "a hundred answers")
        assert "no way through well gateways leads to it" in mesh.pointsman.active("s2", "dc1").why
        mended = time.perf_counter()
        mesh.paths["dc2"].mend()
        mesh.client.wait_for_answer("dc2", after=mended)
        wait_until(lambda: len(mesh.client.attempts(mended)) > 100, "a hundred answers")
    assert {each.datacenter for each in mesh.client.attempts(after, mended) if each.sent > after} == {"dc3"}
    assert {each.datacenter for each in mesh.client.attempts(mended)} == {"dc2", "dc3"}


@pytest.mark.envoy
def test_so_it_does_on_the_older_envoy(tmp_path: Path) -> None:
    with Mesh("local", tmp_path, Way(Tongue.FILES, ENVOY_1_39), patient=True) as mesh:
        assert run(mesh).problems == []


@pytest.mark.envoy
def test_so_it_does_with_the_store_in_a_bucket(tmp_path: Path, seaweedfs: SeaweedFS) -> None:
    with Mesh("local", tmp_path, Way(Tongue.DELTA), patient=True, bucket=seaweedfs.bucket("traffic")) as mesh:
        assert run(mesh).problems == []
