"""`pointsman up` tells of each switch, generation and refused event, in the log and in its metrics."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pointsman.adapter.report.metrics import Metrics
from pointsman.chain.plan import PlanTarget, SidecarPlan
from pointsman.machine.witness import MOST_TARGETS, EngineWitness
from pointsman.model.cause import Cause, CauseKind
from pointsman.model.few import MOST_SWITCH_LINES
from pointsman.model.names import Target
from pointsman.pipeline.reconcile import reconcile
from pointsman.serve.log import FewLines
from pointsman.xds.content import Content, TargetHealth
from pointsman.xds.snapshot import Provenance, Snapshot
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.fleet.control_plane import Pointsman
from tests.fleet.process import wait_until
from tests.ops.metrics_page import labels, on_the_page, told
from tests.pipeline.meshes import instance, proxy_defaults, resolver, sidecar
from tests.pipeline.test_orders import DRAIN, Mesh

CLUSTERS = 2_050
"""So many, with two targets each, that not all have metrics of their own."""

BY_EVENT = Cause(CauseKind.EVENT, "e-1", "consul told of it (index 7)")


def plan_of(service: str) -> SidecarPlan:
    """A service in dc1 that fails over to dc2."""
    targets = (PlanTarget(Target(service, "", "default", dc)) for dc in ("dc1", "dc2"))
    return SidecarPlan("dc1", "tcp", "", 5000, tuple(targets))


def head(service: str, active: int, version: int) -> Snapshot:
    """A snapshot in which the target of that number serves."""
    ids = [each.target.id for each in plan_of(service).targets]
    health = tuple(TargetHealth(each, "", int(index >= active), 1) for index, each in enumerate(ids))
    content = Content(b"", b"", ids[active], health, "because")
    return Snapshot(version, content, Provenance(1, 1, {}), "", "", cause=BY_EVENT, switch=BY_EVENT)


def samples(witness: EngineWitness) -> dict[tuple[str, ...], float]:
    """The metrics, by name and values of labels."""
    registry = CollectorRegistry()
    registry.register(witness)
    found = text_string_to_metric_families(generate_latest(registry).decode())
    return {(each.name, *each.labels.values()): each.value for family in found for each in family.samples}


@pytest.fixture
def printed(caplog: pytest.LogCaptureFixture) -> Any:
    """What the log prints."""
    caplog.handler.addFilter(few := FewLines())
    yield lambda: [each.getMessage() for each in caplog.records]
    caplog.handler.removeFilter(few)


def test_a_storm_of_switches_is_counted_whole_and_a_bounded_number_of_them_is_printed(printed: Any) -> None:
    witness = EngineWitness()
    storm = [(plan_of(each), head(each, 0, 1), head(each, 1, 2)) for each in (f"s{n}" for n in range(CLUSTERS))]
    for plan, first, _ in storm:
        witness.saw(plan, None, first)
    assert printed() == []
    for plan, first, second in storm:
        witness.saw(plan, first, second)
    lines = printed()
    assert len(lines) == MOST_SWITCH_LINES
    assert lines[0] == (
        "switched: default/s0 for callers in dc1 goes from s0.default.dc1 to s0.default.dc2: because; because of "
        "consul told of it (index 7)"
    )
    assert "more like this are left out" in lines[-1]
    found = samples(witness)
    assert found["pointsman_switches_total", "event"] == CLUSTERS
    assert found["pointsman_clusters", "dc1"] == CLUSTERS
    assert found["pointsman_clusters_unlisted",] == CLUSTERS - MOST_TARGETS / 2
    assert sum(key[0] == "pointsman_target_instances" for key in found) == MOST_TARGETS


def test_what_others_switch_is_told_once_when_it_is_seen_and_what_they_end_is_forgotten(printed: Any) -> None:
    mesh = Mesh()
    mesh.engine.witness = witness = EngineWitness()
    reconcile(mesh.engine)
    assert printed() == []
    mesh.give(DRAIN, writer=mesh.another())
    for _ in range(2):
        reconcile(mesh.engine)
    lines = printed()
    assert [line.partition(":")[0] for line in lines] == ["switched", "switched"]
    assert all(".default.dc1 to " in line for line in lines)
    assert all("because of order d-1: drain dc1, by alice@laptop (maintenance)" in line for line in lines)
    assert samples(witness)["pointsman_switches_total", "order"] == len(lines)
    witness.keep(())
    assert not [key for key in samples(witness) if key[0] == "pointsman_active_target"]


def test_an_up_tells_of_what_happens_as_json_and_in_its_metrics(tmp_path: Path) -> None:
    pointsman = Pointsman(tmp_path, "td", more=["--log-format", "json", "--keep", tmp_path / "kept"])
    path = tmp_path / "mesh.json"
    failover = resolver("web", Failover={"*": {"Datacenters": ["dc2"]}})
    path.write_text(json.dumps([proxy_defaults(), failover, sidecar("s1", "web")]))
    pointsman.apply([path])

    def say(index: int, dc: str, status: str) -> None:
        detail = {"Source": "test", "Index": index, "Datacenter": dc, "Service": "web"}
        detail |= {"Instances": [instance("web", status=status)]}
        pointsman.send({"detail-type": "Service Health Changed", "detail": detail})

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in pointsman.tail().splitlines() if line.startswith("{") and "level" in line]

    with pointsman:
        say(1, "dc1", "passing")
        say(1, "dc2", "passing")
        say(2, "dc1", "critical")
        wait_until(lambda: any(each.get("to") == "web.default.dc2" for each in lines()), "the line of the switch")
        (line,) = (each for each in lines() if "to" in each)
        assert (line["upstream"], line["datacenter"], line["from"]) == ("default/web", "dc1", "web.default.dc1")
        assert line["service"] == "up"
        assert (line["cause"], line["level"]) == ("event", "WARNING")
        assert "test told of web in dc1 (index 2)" in line["cause_text"]
        text = pointsman.page("/metrics").decode()
        found = {
            (each.name, *each.labels.values()): each.value
            for family in text_string_to_metric_families(text)
            for each in family.samples
        }
        there = ("web.default.dc1", "dc1", "default/web")
        assert found["pointsman_active_target", *there, "web.default.dc2"] == 1
        assert found["pointsman_failed_over", *there] == 1
        assert found["pointsman_target_healthy_instances", *there, "web.default.dc1"] == 0
        assert found["pointsman_target_healthy_instances", *there, "web.default.dc2"] == 1
        assert found["pointsman_switches_total", "event"] == 1
        assert found["pointsman_events_taken_total",] == found["pointsman_event_to_publish_seconds_count",] == 3
        assert found["pointsman_store_operation_seconds_count", "write"] > 3
        # A generation that somebody else wrote is told of when the next event has it read.
        path.write_text(json.dumps([resolver("web", ConnectTimeout="3s", Failover={"*": {"Datacenters": ["dc2"]}})]))
        pointsman.apply([path])
        say(3, "dc2", "passing")
        wait_until(lambda: any("note" in each for each in lines()), "the line of the generation")
        (line,) = (each for each in lines() if "note" in each)
        generation = line["generation"]
        assert generation == found["pointsman_config_generation",] + 1
        assert line["message"] == f"configured: generation {generation} by {line['by']}"
    with pointsman:
        # What was true before a restart is true at its start, and no switch.
        text = pointsman.page("/metrics").decode()
        assert 'target="web.default.dc2"} 1.0' in text
        assert f"pointsman_config_generation {generation}.0" in text
        assert "pointsman_switches_total{" not in text
        noticed = Metrics(lambda: 0.0, str)
        noticed.watch_notices(lambda: True)
        page = on_the_page()
        assert {name: each[:2] for name, each in page.items()} == told(noticed.text().decode()) | told(text)
        assert all(names <= page[name][2] for name, names in labels(text).items() if name in page)
        promtool = shutil.which("promtool")
        if promtool is None:
            pytest.skip("promtool is not here (Debian's package prometheus has it): the form of metrics is unchecked")
        done = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
