"""Now: who serves whose callers, since when and because of what; what is wrong; the worst first."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import run
from pointsman.cli.status import LOOK_SECONDS, NOBODY
from pointsman.model.cause import LONGEST_CAUSE, Cause, CauseKind, by_event
from pointsman.model.names import ServiceName
from pointsman.model.note import Note
from pointsman.model.orders import Subject, Verb, Wish
from pointsman.overview.now import ResolverNow
from pointsman.overview.reading import read_now
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.give import end, end_orders_due, give
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.lapses import lapse
from pointsman.pipeline.reconcile import reconcile
from pointsman.pipeline.wait_watch import WaitWatch
from pointsman.store import keys
from pointsman.store.sqlite import SQLiteStore

from tests.pipeline.memory import Crash
from tests.pipeline.meshes import (
    BEGINNING,
    Document,
    alive,
    engine_on,
    event,
    gateway,
    gateway_instance,
    instance,
    policy,
    proxy_defaults,
    resolver,
    sidecar,
)
from tests.pipeline.place import Place, Writer

DATACENTERS = ("dc1", "dc2", "dc3")
WEB = ServiceName("default", "web")


def documents(*datacenters: str) -> list[Document]:
    """The sidecars of dc1 use web, which serves there and fails over to these, through the gateways there."""
    return [
        proxy_defaults(mode="remote"),
        resolver("web", Failover={"*": {"Datacenters": list(datacenters)}}),
        sidecar("shop", "web"),
        gateway("dc1"),
    ]


class Mesh(Place):
    """All is well in three datacenters, each with a source of its own that has a lease."""

    def __init__(self) -> None:
        super().__init__()
        self.index = 1
        self.configure(*documents("dc2", "dc3"))
        for dc in DATACENTERS:
            self.say(dc)
            self.ingest(event(None, 1, [gateway_instance(1), gateway_instance(2)], dc=dc, source=f"agent/{dc}"))

    def say(self, dc: str, status: str = "passing", writer: Writer | None = None, at: int | None = None) -> None:
        """The agent of a datacenter says how web is there."""
        self.index += 1
        said = event(
            "web", self.index, [instance("web", status=status)], dc=dc, source=f"agent/{dc}", lease="30s", at=at
        )
        (writer or self).ingest(said._replace(id=f"event-{self.index}"))

    @property
    def web(self) -> ResolverNow:
        """Web, as dc1 sees it."""
        (found,) = read_now(self.engine, WEB).resolvers
        return found


def test_every_switch_names_its_cause() -> None:
    mesh = Mesh()
    seen: list[tuple[str, Cause]] = []

    def note(expected: str) -> Cause:
        found = mesh.web
        assert found.active == f"web.default.{expected}"
        assert found.since == mesh.head("dc1/sidecar/web.default.dc1").since
        seen.append((expected, found.switch))
        return found.switch

    assert note("dc1") == Cause(CauseKind.CONFIG, "1", "generation 1")
    mesh.say("dc1", "critical")
    assert note("dc2") == Cause(CauseKind.EVENT, "event-5", "agent/dc1 told of web in dc1 (index 5, event event-5)")
    # What moves endpoints alone is no switch: its cause is that of the version.
    switched = mesh.web.since
    mesh.ingest(event(None, 2, [gateway_instance(1)], dc="dc2", source="agent/dc2"))
    assert note("dc2").id == "event-5"
    assert mesh.web.since == switched
    assert mesh.head("dc1/sidecar/web.default.dc1").cause.text == "agent/dc2 told of its mesh gateways in dc2 (index 2)"
    # An order that begins, that is ended, and whose time is up.
    drain = Wish(Subject(Verb.DRAIN, "dc2"), "2099-01-01T00:00:00Z", "new kernel", "alice@laptop")
    order = give(mesh.engine, drain).order
    assert note("dc3") == Cause(CauseKind.ORDER, order.id, f"order {order.id}: drain dc2, by alice@laptop (new kernel)")
    end(mesh.engine, order.id, "bob@laptop")
    assert note("dc2").text == f"the end of order {order.id}: drain dc2, ended by bob@laptop"
    short = give(mesh.engine, replace(drain, until="2000-01-01T00:00:00Z")).order
    assert note("dc3").id == short.id
    end_orders_due(mesh.engine)
    assert note("dc2").text == f"the end of order {short.id}: drain dc2, over at 2000-01-01T00:00:00Z"
    # A source that is silent, and heard again.
    lapse(mesh.engine, {keys.lease("dc2", "agent/dc2"): (0, 3)})
    assert (note("dc3").kind, seen[-1][1].id) == (CauseKind.LAPSE, "agent/dc2")
    mesh.index += 1
    mesh.ingest(alive(mesh.index, dc="dc2", source="agent/dc2"))
    assert note("dc2") == Cause(CauseKind.HEARD, "agent/dc2", "heard again: agent/dc2 of dc2")
    # A change of config, by whom and what for; whoever publishes it.
    writer = mesh.another()
    writer.once("put", "config/head", "after", lambda: mesh.say("dc3"))
    writer.configure(*documents("dc3", "dc2"), note=Note("carol@laptop", "dc3 is nearer"))
    assert note("dc3") == Cause(CauseKind.CONFIG, "2", "generation 2 by carol@laptop: dc3 is nearer")
    # What a crash kept from being published.
    writer = mesh.another()
    writer.crash("put", "snapshots/dc1/sidecar/web.default.dc1", "before")
    with pytest.raises(Crash):
        mesh.say("dc3", "critical", writer)
    assert "behind: dc3/service/default/web has revision" in mesh.web.trouble
    reconcile(mesh.engine)
    assert note("dc2").kind is CauseKind.RECONCILE
    assert mesh.web.trouble == ""
    # A target that was healthy for long enough.
    mesh.configure(policy(FailbackAfter="20s"))
    mesh.say("dc1", at=mesh.engine.now_ms() // 1000 - BEGINNING)
    assert note("dc2").kind is CauseKind.RECONCILE
    watch = WaitWatch(mesh.engine)
    for _ in range(60):  # each looks at the clock, which takes a second
        watch.look()
    assert note("dc1").kind is CauseKind.WAIT
    assert mesh.promises.broken == []
    long = by_event(event("web", 1, [], source="s" * 250)._replace(id="i" * 500))
    assert (len(long.id), len(long.text)) == (LONGEST_CAUSE, LONGEST_CAUSE)


def test_gateways_on_the_way_are_counted_and_what_is_wrong_is_told() -> None:
    mesh = Mesh()
    mesh.ingest(event(None, 2, [gateway_instance(1, "critical"), gateway_instance(2)], dc="dc2", source="agent/dc2"))
    ways = [[(each.datacenter, each.usable, each.known) for each in target.gateways] for target in mesh.web.targets]
    assert ways == [[], [("dc2", 1, 2)], [("dc3", 2, 2)]]
    key = "snapshots/dc1/sidecar/web.default.dc1"
    stored = mesh.objects.objects[key]
    mesh.objects.objects[key] = stored._replace(data=b"{", etag="torn")
    assert mesh.web.trouble.startswith("its snapshot is damaged: run `pointsman reconcile`")
    del mesh.objects.objects[key]
    assert mesh.web.trouble.startswith("its snapshot is gone from the store")
    assert (mesh.web.served, mesh.web.version) == (False, 0)
    mesh.objects.objects[key] = stored
    assert mesh.web.trouble == ""
    head = json.loads(stored.data)
    mesh.objects.objects[key] = stored._replace(data=json.dumps(head | {"generation": 9}).encode(), etag="ahead")
    assert mesh.web.trouble.startswith("ahead: it was published in generation 9")


def test_status_shows_the_worst_first_and_ends_with_a_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pointsman.db"
    store = SQLiteStore(str(path), create=True)
    engine: Engine = engine_on(store)
    failover = {"*": {"Datacenters": ["dc2"]}}
    names = ("api", "db", "web")
    configure(
        engine,
        parse_documents([proxy_defaults(mode="remote"), *(resolver(name, Failover=failover) for name in names)]),
        note=Note("alice@laptop", "to begin with"),
    )
    configure(engine, parse_documents([sidecar("shop", *names), gateway("dc1")]))

    def say(index: int, name: str, dc: str, status: str = "passing") -> None:
        ingest(engine, event(name, index, [instance(name, status=status)], dc=dc))

    for name in names:
        say(1, name, "dc1")
        say(1, name, "dc2")
    say(2, "db", "dc1", "critical")

    def pointsman(*words: str, code: int = 0) -> str:
        assert run(["status", "--store", str(path), *words]) == code
        return capsys.readouterr().out

    shown = pointsman()
    lines = shown.splitlines()
    assert lines[1] == "3 clusters, 1 failed over"
    assert [line.split()[1] for line in lines if " version " in line] == [
        f"{name}.default.dc1" for name in names[1:2]
    ] + [
        "api.default.dc1",
        "web.default.dc1",
    ]
    assert "  * db.default.dc2  1/1 healthy  through remote gateways (0/0 usable in dc2)" in lines
    say(2, "web", "dc1", "critical")
    say(2, "web", "dc2", "critical")
    told = json.loads(pointsman("--json", code=NOBODY))
    assert [each["service"] for each in told["resolvers"]] == ["web", "db", "api"]
    assert [(each["served"], each["failed_over"]) for each in told["resolvers"]] == [
        (False, False),
        (True, True),
        (True, False),
    ]
    assert told["schema"] == 1
    assert told["resolvers"][1]["switch"]["text"] == "consul told of db in dc1 (index 2)"
    assert pointsman(code=NOBODY).splitlines()[1] == "3 clusters, 1 without a healthy target, 1 failed over"
    assert "because of: consul told of db in dc1 (index 2)" in pointsman("db")
    assert "api" not in pointsman("--failed-over", code=NOBODY)
    assert pointsman("api", "--failed-over").splitlines()[1:] == ["nothing failed over"]
    assert run(["status", "--store", str(path), "wbe"]) == 1
    assert "known are: api, db, shop, web" in capsys.readouterr().err

    # It looks again, and shows what changed.
    later: list[Callable[[], Any]] = [lambda: None, lambda: say(3, "web", "dc2"), lambda: None]

    def sleep(seconds: float) -> None:
        assert seconds == LOOK_SECONDS
        if not later:
            raise KeyboardInterrupt
        later.pop(0)()

    monkeypatch.setattr(time, "sleep", sleep)
    shown = pointsman("web", "--watch")
    assert [line for line in shown.splitlines() if line.startswith("1 cluster")] == [
        "1 cluster, 1 without a healthy target",
        "1 cluster, 1 failed over",
    ]
    store.close()
