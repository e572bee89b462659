"""`pointsman up` ends orders when their time is up, and says of each when it begins and ends."""

import json
from pathlib import Path

import pytest
from pointsman.cli.main import run
from pointsman.machine.looking import LOOK_SECONDS
from pointsman.machine.ordering import Ordering
from pointsman.model.names import ServiceName
from pointsman.model.orders import Subject, Verb, short_time
from pointsman.pipeline.order_watch import OrderWatch
from pointsman.store import keys

from tests.fleet.control_plane import Pointsman
from tests.fleet.process import wait_until
from tests.machine.test_up import endpoint_port
from tests.pipeline.memory import Crash
from tests.pipeline.meshes import instance, proxy_defaults, resolver, sidecar
from tests.pipeline.test_orders import DRAIN, Mesh


def test_orders_are_looked_at_when_the_next_one_ends_and_every_few_seconds() -> None:
    mesh = Mesh()
    watch = OrderWatch(mesh.engine)
    ordering = Ordering(watch, print)
    assert (watch.look(), ordering.pause_s, ordering.in_force) == (None, LOOK_SECONDS, 0)
    mesh.give(DRAIN, hours=2)
    watch.look()
    assert (ordering.pause_s, ordering.in_force) == (LOOK_SECONDS, 1)
    mesh.give(DRAIN, hours=0.05)
    watch.look()
    while (pause := ordering.pause_s) == LOOK_SECONDS:
        pass
    assert 0 < pause < LOOK_SECONDS


def test_each_order_is_told_when_it_begins_changes_and_ends_also_if_others_did_that() -> None:
    mesh = Mesh()
    told: list[str] = []
    watch = OrderWatch(mesh.another().engine)
    ordering = Ordering(watch, told.append)

    def look() -> list[str]:
        told.clear()
        ordering.look()
        return list(told)

    assert look() == []
    order = mesh.give(DRAIN, hours=0.05).order
    (line,) = look()
    assert line.startswith("order in force: d-1: drain dc1 until")
    assert line.endswith(f"(maintenance), given by alice@laptop at {short_time(order.at)}; 0 clusters moved")
    assert look() == []
    while mesh.in_force:
        lines = look()
    assert lines == ["order ended: d-1: drain dc1 (maintenance), its time is up; 2 clusters moved"]
    assert mesh.serves() == "dc1"


def test_what_somebody_who_died_has_not_settled_the_next_look_does() -> None:
    mesh = Mesh()
    watch = OrderWatch(mesh.another().engine)
    watch.look()
    writer = mesh.another()
    writer.crash("put", keys.ORDERS, "after")
    with pytest.raises(Crash):
        mesh.give(Subject(Verb.PIN, "dc3", ServiceName("default", "web")), writer=writer)
    assert mesh.serves() == "dc1"
    watch.look()
    assert mesh.serves() == "dc3"


def is_due(pointsman: Pointsman) -> bool:
    """Whether the end of an order has come, which nobody has written."""
    return "its end has come, and nobody has written that yet" in pointsman.command("orders")


def test_an_order_on_a_running_control_plane_moves_its_envoys_and_ends_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pointsman = Pointsman(tmp_path, "td")
    path = tmp_path / "mesh.json"
    failover = resolver("web", Failover={"*": {"Datacenters": ["dc2"]}})
    path.write_text(json.dumps([proxy_defaults(), failover, sidecar("s1", "web")]))
    pointsman.apply([path])
    with pointsman:
        for index, dc in enumerate(("dc1", "dc2"), 1):
            one = instance("web")
            one["Service"] |= {"Address": "127.0.0.1", "Port": 2000 + index}
            detail = {"Source": "test", "Index": index, "Datacenter": dc, "Service": "web", "Instances": [one]}
            pointsman.send({"detail-type": "Service Health Changed", "detail": detail})
        wait_until(lambda: endpoint_port(pointsman, "web") == 2001, "dc1 to serve")
        arguments = ["drain", "dc1", "--store", str(pointsman.store), "--reason", "a try"]
        assert run([*arguments, "--for", "10m"]) == 0
        wait_until(lambda: endpoint_port(pointsman, "web") == 2002, "dc2 to serve")
        assert run([*arguments, "--for", "1s"]) == 0
        wait_until(lambda: endpoint_port(pointsman, "web") == 2001, "dc1 to serve again")
        wait_until(lambda: "order ended: d-1: drain dc1 (a try), its time is up" in pointsman.tail(), "the log")
        assert b"pointsman_orders 0.0" in pointsman.page("/metrics")
    assert run([*arguments, "--for", "1s"]) == 0
    wait_until(lambda: is_due(pointsman), "the end of an order while nobody runs")
    with pointsman:
        wait_until(lambda: endpoint_port(pointsman, "web") == 2001, "dc1 to serve")
        wait_until(lambda: pointsman.tail().count("order ended: d-") == 2, "the log")
    capsys.readouterr()
