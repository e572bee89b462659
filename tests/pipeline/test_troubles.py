"""What is wrong with a producer is answered, and stays to be seen: stale, far ahead, and two of them on one name."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pointsman.agent.statement import Host
from pointsman.agent.statement import alive as agent_alive
from pointsman.model.errors import InvalidInput
from pointsman.model.events import LONGEST_SENDER, HealthEvent, parse_event
from pointsman.model.findings import Finding, Severity
from pointsman.model.lease import MOST_SENDERS, lease_json, read_lease
from pointsman.model.stored import Damaged
from pointsman.model.trouble import (
    KEPT_SECONDS,
    LONGEST_TEXT,
    MOST_TROUBLED,
    NOTED_EVERY_SECONDS,
    Trouble,
    What,
    noted,
    read_trouble,
    trouble_json,
)
from pointsman.overview.now import MOST_FINDINGS, Now
from pointsman.overview.reading import read_now
from pointsman.pipeline.renewals import read_lease_object
from pointsman.pipeline.sources import find_source, forget, known_sources
from pointsman.pipeline.troubles import troubles
from pointsman.store import keys

from tests.pipeline.meshes import alive, event, instance, proxy_defaults, resolver, sidecar
from tests.pipeline.place import Place


class Mesh(Place):
    """A caller of web."""

    def __init__(self) -> None:
        super().__init__()
        self.configure(proxy_defaults(mode=""), resolver("web"), sidecar("client", "web"))

    def met(self) -> list[tuple[str, str]]:
        """The trouble: which, and with whom."""
        return [(each.what.value, each.source) for each in troubles(self.engine)]


def web(index: int, status_: str = "passing", source: str = "agent") -> HealthEvent:
    return event("web", index, one=instance("web", 1, status_), source=source)


def test_trouble_is_kept_with_its_source_and_shown_until_the_source_is_forgotten() -> None:
    mesh = Mesh()
    mesh.ingest(web(7))
    assert mesh.met() == []
    mesh.ingest(web(7))
    assert mesh.met() == [], "a redelivery is no trouble"
    mesh.ingest(web(6, "critical"))
    far = int((datetime.now(UTC) + timedelta(days=3)).timestamp() * 1000)
    mesh.ingest(web(far, source="fast"))
    mesh.ingest(alive(far, source="far"))
    assert mesh.met() == [("stale", "agent"), ("doubted", "far"), ("doubted", "fast")]
    found = read_now(mesh.engine).json()
    assert [each["source"] for each in found["troubles"]] == ["agent", "far", "fast"]
    assert {(each["what"], each["severity"]) for each in found["findings"]} >= {
        ("stale", "note"),
        ("doubted", "warning"),
    }
    (known,) = [each for each in known_sources(mesh.engine) if each.source == "fast"]
    assert "ahead of the clock here" in known.json()["troubles"][0]["words"]
    forget(mesh.engine, find_source(mesh.engine, "fast", ""))
    assert mesh.met() == [("stale", "agent"), ("doubted", "far")]
    assert mesh.promises.broken == []


def test_trouble_that_goes_on_is_written_once_a_minute_and_moves_nothing() -> None:
    mesh = Mesh()
    mesh.ingest(web(7))
    mesh.ingest(web(6, "critical"))
    before = {key: stored.etag for key, stored in mesh.objects.objects.items()}
    for _ in range(5):
        mesh.ingest(web(6, "critical"))
    assert {key: stored.etag for key, stored in mesh.objects.objects.items()} == before


def test_what_cannot_be_written_down_keeps_no_event_from_being_acknowledged() -> None:
    mesh = Mesh()
    mesh.ingest(web(7))
    head = mesh.objects.objects[keys.CONFIG_HEAD]
    mesh.objects.objects[keys.trouble("dc1")] = head._replace(key=keys.trouble("dc1"), data=b"{}", etag="damaged")
    assert mesh.ingest(web(6, "critical")).stale is not None
    assert mesh.met() == [("stale", "agent")], "a damaged one is written anew"


SAME: dict[str, tuple[list[HealthEvent], bool]] = {
    "two lists under one index": (
        [event("web", 7, [instance("web", 1)]), event("web", 7, [instance("web", 2)])],
        True,
    ),
    "a list that lacks what the other one had": ([event("web", 7, [instance("web", 1)]), event("web", 7, [])], True),
    "a list that has what the other one lacked": ([event("web", 7, []), event("web", 7, [instance("web", 1)])], True),
    "one instance in two states": ([web(7), web(7, "critical")], True),
    "and the other way round": ([web(7, "critical"), web(7)], True),
    "the same list again": ([event("web", 7, [instance("web", 1)])] * 2, False),
    "the same instance again": ([web(7), web(8, "critical"), web(7)], False),
    "an instance and the list of the same index": ([web(7, "critical"), event("web", 7, [instance("web", 1)])], False),
    "two sources": ([web(7), web(7, "critical", source="other")], False),
    "two services": ([web(7), event("db", 7, one=instance("db", 1), source="agent")], False),
    "another epoch": ([web(7), web(7, "critical")._replace(epoch=1)], False),
    "gone, and there, in one act": ([event("web", 7, removed=instance("web", 1), source="agent"), web(7)], False),
    "a list in which one was refused, and the list once it is corrected": (
        [
            parse_event(
                {
                    "Source": "consul",
                    "Index": 7,
                    "Datacenter": "dc1",
                    "Service": "web",
                    "Instances": [instance("web", 1), {**instance("web", 2), "Checks": [{"Status": "odd"}]}],
                }
            ),
            event("web", 7, [instance("web", 1), instance("web", 2)]),
        ],
        False,
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_two_statements_under_one_index_are_those_of_two_producers(name: str) -> None:
    events, shared = SAME[name]
    mesh = Mesh()
    done = [mesh.ingest(each) for each in events]
    assert [bool(each.shared) for each in done] == [False] * (len(done) - 1) + [shared]
    assert (
        ("shared", events[-1].source) in mesh.met()
        if shared
        else not [what for what, _ in mesh.met() if what == "shared"]
    )
    if shared:
        assert "do two producers use this name? Then give each its own Source" in done[-1].shared


def test_a_status_has_so_many_findings() -> None:
    each = Finding("shared", Severity.WARNING, "dc1 a", "says", "do")
    found = Now("", 0, 0, (), "", (), findings=(each,) * (MOST_FINDINGS + 1)).json()
    assert found["findings"] == [each.json()] * MOST_FINDINGS


def say(index: int, sender: str) -> HealthEvent:
    return alive(index, source="agent")._replace(sender=sender)


@pytest.mark.parametrize(
    ("said", "shared"),
    [
        ([(1, "a"), (2, "b"), (3, "a")], [3]),
        ([(1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "a")], [3, 4, 5]),
        ([(1, "a"), (2, "b"), (3, "c"), (4, "a")], [4]),
        ([(1, "a"), (2, "b"), (3, "c"), (4, "d")], []),
        ([(1, "a"), (3, "b"), (2, "a"), (1, "a"), (3, "b"), (4, "b")], []),
        ([(1, "a"), (2, ""), (3, "a"), (4, "b"), (5, "")], []),
        ([(1, "a")] * 3 + [(2, "a")], []),
    ],
    ids=["a b a", "for as long as both are there", "a third one", "restarts", "redeliveries", "nobody said who", "one"],
)
def test_a_sender_that_speaks_again_after_another_took_over_is_one_of_two(
    said: Sequence[tuple[int, str]], shared: Sequence[int]
) -> None:
    mesh = Mesh()
    found = [each for each, sender in said if mesh.ingest(say(each, sender)).shared]
    assert found == shared
    assert (("shared", "agent") in mesh.met()) is bool(shared)


def test_two_agents_with_one_name_are_found_out_and_one_that_restarts_is_not() -> None:
    mesh = Mesh()

    def speaks(index: int, process: str) -> str:
        host = Host("dc1", "h1", "127.0.0.1", 30_000_000_000, f"h1/{process}")
        return mesh.ingest(parse_event(agent_alive(host, index))).shared

    assert [speaks(index, "one") for index in (1, 2)] == ["", ""]
    assert [speaks(index, "restarted") for index in (3, 4)] == ["", ""]
    assert speaks(5, "copied") == ""
    assert speaks(6, "restarted") == (
        '"agent/h1" is the name of two producers: "h1/restarted" speaks again after "h1/copied" took over; give each '
        "its own Source, or end one of them"
    )


def test_so_many_senders_of_a_source_are_remembered() -> None:
    mesh = Mesh()
    for number in range(MOST_SENDERS + 2):
        mesh.ingest(say(number + 1, f"s{number}"))
    lease = read_lease_object(mesh.objects.objects[keys.lease("dc1", "agent")], "").lease
    assert lease is not None
    assert lease.replaced == tuple(f"s{number}" for number in range(MOST_SENDERS, 0, -1))
    assert read_lease(lease_json(lease)) == lease
    older = {name: value for name, value in lease_json(lease).items() if name not in ("sender", "replaced")}
    assert read_lease(older) == replace(lease, sender="", replaced=())


def test_a_sender_is_a_short_name() -> None:
    detail: dict[str, Any] = {"Source": "a", "Index": 1, "Datacenter": "dc1", "Lease": "30s"}
    read = parse_event({"detail-type": "Source Alive", "detail": detail | {"Sender": "x" * LONGEST_SENDER}})
    assert read.sender == "x" * LONGEST_SENDER
    for wrong in ("x" * (LONGEST_SENDER + 1), "a\n", 7):
        with pytest.raises(InvalidInput, match="Sender"):
            parse_event({"detail-type": "Source Alive", "detail": detail | {"Sender": wrong}})


def at(second: int) -> str:
    return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).isoformat()


def met(second: int, source: str = "a", words: str = "w") -> Trouble:
    return Trouble(source, "dc1", What.STALE, words, at(second), at(second))


def test_trouble_has_its_bounds() -> None:
    first = noted((), [met(0)], at(0))
    soon, later = NOTED_EVERY_SECONDS - 1, NOTED_EVERY_SECONDS
    assert noted(first, [met(soon)], at(soon)) == first
    (again,) = noted(first, [met(later)], at(later))
    assert (again.first, again.last) == (at(0), at(later))
    assert noted(first, [], at(KEPT_SECONDS - 1)) == first
    assert noted(first, [], at(KEPT_SECONDS)) == ()
    many: tuple[Trouble, ...] = ()
    for number in range(MOST_TROUBLED + 5):
        many = noted(many, [met(number, f"s{number}")], at(number))
    assert {each.source for each in many} == {f"s{number}" for number in range(5, MOST_TROUBLED + 5)}
    (cut,) = noted((), [met(0, words="x" * (LONGEST_TEXT + 1))], at(0))
    assert len(cut.words) == LONGEST_TEXT
    assert read_trouble(trouble_json(many)) == many
    for wrong in ({}, {"troubles": [{}]}, {"troubles": [met(0).json() | {"what": "odd"}]}):
        with pytest.raises(Damaged):
            read_trouble(trouble_json(()) | {"troubles": None} | wrong)
