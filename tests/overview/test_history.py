"""What happened and who caused it, and who served at a time."""

import json
import time
from datetime import datetime
from pathlib import Path

import pytest
from pointsman.cli.main import run
from pointsman.model.cause import NO_CAUSE, CauseKind
from pointsman.model.errors import InvalidInput
from pointsman.model.names import ServiceName
from pointsman.model.note import Note
from pointsman.model.orders import Subject, Verb, Wish
from pointsman.overview import history as histories
from pointsman.overview import past
from pointsman.overview.history import MOST_HAPPENINGS, SWITCH, Happening, history
from pointsman.overview.past import SLACK_SECONDS, read_history, read_moment, read_moment_of, read_span
from pointsman.pipeline.configure import Batch, configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.give import give
from pointsman.pipeline.ingest import ingest
from pointsman.store import keys
from pointsman.store.protocol import Write
from pointsman.store.sqlite import SQLiteStore

from tests.pipeline.memory import Connection, MemoryStore
from tests.pipeline.meshes import event, gateway, instance, proxy_defaults, resolver, sidecar

WEB = ServiceName("default", "web")


class Clock:
    """A clock that stands until it is set, of a writer and of its store."""

    def __init__(self, moment: str) -> None:
        self.objects = MemoryStore()
        self.set(moment)

    def set(self, moment: str) -> None:
        """Make it this moment."""
        self.now = datetime.fromisoformat(moment)
        self.objects.now = self.now.timestamp()

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Noon of a day."""
    return Clock("2026-11-27T12:00:00Z")


@pytest.fixture
def engine(clock: Clock) -> Engine:
    """A writer: web and api serve dc1's callers there, and fail over to dc2, then dc3."""
    made = Engine(Connection(clock.objects, lambda step: None), clock=clock)
    begin(made)
    return made


def begin(made: Engine) -> None:
    """The beginning of that mesh."""
    failover = {"*": {"Datacenters": ["dc2", "dc3"]}}
    documents = [proxy_defaults(mode="remote"), *(resolver(name, Failover=failover) for name in ("web", "api"))]
    configure(
        made, parse_documents([*documents, sidecar("shop", "web", "api"), gateway("dc1")]), note=Note("alice@laptop")
    )
    for name in ("web", "api"):
        for dc in ("dc1", "dc2", "dc3"):
            ingest(made, event(name, 1, [instance(name)], dc=dc))


def test_what_happened_at_three_past_twelve_and_who_caused_it(engine: Engine, clock: Clock) -> None:
    def at(minute: str) -> None:
        clock.set(f"2026-11-27T12:{minute}:00Z")

    at("03")
    died = event("web", 2, [instance("web", status="critical")])._replace(id="evt-7")
    ingest(engine, died)
    at("10")
    drain = Wish(Subject(Verb.DRAIN, "dc2"), "2026-11-27T13:00:00.000Z", "new kernel", "bob@laptop")
    give(engine, drain)
    at("20")
    note = Note("carol@laptop", "web goes back to dc1 later")
    configure(engine, parse_documents([resolver("web", Failover={"*": {"Datacenters": ["dc3", "dc2"]}})]), note=note)
    at("30")
    ingest(engine, event("web", 3, [instance("web")]))
    at("40")
    told = read_history(engine, read_span("38m", engine.now()))
    assert [
        (each.at[11:16], each.kind, each.service, each.before[-3:], each.after[-3:]) for each in told.happenings
    ] == [
        ("12:03", SWITCH, "web", "dc1", "dc2"),
        ("12:10", "order", "", "", ""),
        ("12:10", SWITCH, "web", "dc2", "dc3"),
        ("12:20", "config", "", "", ""),
        ("12:30", SWITCH, "web", "dc3", "dc1"),
    ]
    assert told.happenings[0].cause.text == "consul told of web in dc1 (index 2, event evt-7)"
    assert (told.happenings[0].cause.kind, told.happenings[0].cause.id) == (CauseKind.EVENT, "evt-7")
    assert told.happenings[2].cause.text == "order d-1: drain dc2, by bob@laptop (new kernel)"
    assert told.happenings[3].text == "generation 2 by carol@laptop: web goes back to dc1 later"
    # Of a shorter span less, also where what was there before is not read.
    assert [each.at[11:16] for each in read_history(engine, read_span("15m", engine.now())).happenings] == ["12:30"]
    assert [
        each.kind
        for each in read_history(engine, read_span("38m", engine.now()), ServiceName("default", "api")).happenings
    ] == ["order"]

    def served(moment: str) -> list[tuple[str, str, str]]:
        found = read_moment_of(engine, read_moment(moment, engine.now()), WEB)
        assert found.unknown == () or not found.served
        return [(each.active[-3:], each.since[11:16], each.switch.id) for each in found.served]

    assert served("12:02") == [("dc1", "12:00", "1")]
    assert served("12:03") == served("12:09:59") == [("dc2", "12:03", "evt-7")]
    assert served("2026-11-27T13:15:00+01:00") == [("dc3", "12:10", "d-1")]
    assert served("12:40") == [("dc1", "12:30", "")]
    assert served("2026-11-27T11:00:00Z") == []
    assert read_moment("23:00", engine.now()) == "2026-11-26T23:00:00.000Z"
    # What has ended served until then.
    at("41")
    configure(engine, Batch(delete_registrations=["dc1/sidecar/default/shop"]))
    at("42")
    assert served("12:40") == [("dc1", "12:30", "")]
    assert served("12:42") == []
    # Nothing damaged stops it.
    key = keys.snapshot("dc1/sidecar/api.default.dc1")
    damaged = engine.store.get(key)
    assert damaged is not None
    engine.store.put(Write(key, b"{", damaged.etag))
    assert len(read_history(engine, read_span("40m", engine.now())).happenings) == 6


def test_a_span_and_a_moment_are_read_or_refused() -> None:
    now = "2026-11-27T12:00:00.000Z"
    assert read_span("90m", now) == "2026-11-27T10:30:00.000Z"
    assert read_moment("2026-11-27T11:30:00+01:00", now) == "2026-11-27T10:30:00.000Z"
    for wrong in ("soon", "", "1", "99999999999h"):
        with pytest.raises(InvalidInput, match="history: since"):
            read_span(wrong, now)
    for wrong in ("25:00", "noon", "2026-11-27T11:30:00", "2026-11-27T12:30:00Z", "12:00:61"):
        with pytest.raises(InvalidInput, match="history: at"):
            read_moment(wrong, now)


def test_so_much_is_told_and_so_many_versions_are_read(
    engine: Engine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Happening(f"{number:05}", SWITCH, "", NO_CAUSE) for number in range(MOST_HAPPENINGS + 1)]
    told = history("", "", found)
    assert (len(told.happenings), told.happenings[0].at, told.more) == (MOST_HAPPENINGS, "00001", True)
    monkeypatch.setattr(past, "MOST_VERSIONS", 3)
    for index in range(2, 12):
        clock.set(f"2026-11-27T12:{index:02}:00Z")
        ingest(engine, event("web", index, [instance("web", status="passing" if index % 2 else "critical")]))
    clock.set("2026-11-27T12:12:00Z")
    shown = read_history(engine, read_span("10m", engine.now()), WEB)
    assert [each.at[11:16] for each in shown.happenings] == ["12:08", "12:09", "12:10", "12:11"]
    assert shown.more
    assert SLACK_SECONDS < 120
    # The older ones are there all the same.
    assert read_moment_of(engine, read_moment("12:04", engine.now()), WEB).served[0].active == "web.default.dc2"


def test_an_operator_reads_it_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = SQLiteStore(str(tmp_path / "pointsman.db"), create=True)
    engine = Engine(store)
    begin(engine)
    before = engine.now()
    time.sleep(0.002)  # moments have milliseconds
    ingest(engine, event("web", 2, [instance("web", status="critical")]))
    store.close()

    def pointsman(*words: str) -> str:
        assert run(["history", "--store", str(tmp_path / "pointsman.db"), *words]) == 0
        return capsys.readouterr().out

    shown = pointsman("web", "--since", "1h").splitlines()
    assert [line[26:] for line in shown if line[:1] == "2"] == [
        "web as dc1 sees it: to web.default.dc1",
        "web as dc1 sees it: web.default.dc1 to web.default.dc2",
    ]
    assert shown[-2].startswith("    dc1: 0 of 1 healthy; dc2: first with a healthy instance")
    assert shown[-1] == "    because of: consul told of web in dc1 (index 2)"
    shown = pointsman("web", "--at", before).splitlines()
    assert shown[2].startswith("dc1  web.default.dc1  version ")
    assert "  * web.default.dc1  1/1 healthy" in shown
    assert json.loads(pointsman("--json"))["schema"] == histories.SCHEMA
