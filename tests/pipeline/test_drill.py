"""What else switches during a drill is in its report."""

import pytest
from pointsman.pipeline import drill
from pointsman.pipeline.drill import Drill
from pointsman.pipeline.give import end

from tests.pipeline.test_orders import API, DRAIN, WEB, Mesh


def test_what_else_switches_during_a_drill_is_reported_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill, "MOST_SWITCHES", 1)
    mesh = Mesh()
    doing = Drill(mesh.engine, mesh.wish(DRAIN))
    report = doing.begin()
    assert {each.cluster for each in report.clusters} == {"web.default.dc1", "api.default.dc1"}
    assert doing.look()
    mesh.say("web", "dc2", "critical")
    assert doing.look()
    mesh.say("web", "dc2")
    assert doing.look()
    (switch,) = report.switches
    assert (switch.cluster, switch.before, switch.after) == ("web.default.dc1", "web.default.dc2", "web.default.dc3")
    assert report.more_switches == 1
    end(mesh.another().engine, report.order.id, "bob")
    assert not doing.look()
    assert doing.finish("alice").is_good
    assert report.why == "ended by bob"
    assert (mesh.serves(WEB), mesh.serves(API)) == ("dc1", "dc1")
    assert all(each.out_ms is not None and each.back_ms is not None for each in report.clusters)
