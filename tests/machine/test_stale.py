"""Truth is never refused in silence: what has no effect is answered as that, with the index from which it will have."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pointsman.adapter.report.metrics import Metrics
from pointsman.cli.main import run
from pointsman.model.catalog import EMPTY
from pointsman.model.events import parse_event
from pointsman.model.index_doubt import index_doubt
from pointsman.store.protocol import Store

from tests.machine.test_sources_sent import Door, healthy
from tests.model.reported import changed, sample

NOW = datetime.now(UTC)
MILLIS = int(NOW.timestamp() * 1000)
NANOS = MILLIS * 10**6
ID, NODE = "api-1-sidecar-proxy", "api-1.dc1"


def one(index: int, status: str, epoch: int = 0) -> Any:
    """A statement about one instance of api in dc1."""
    raw: Any = changed(sample("instance-health-changed"), detail__Index=index, detail__Epoch=epoch)
    for check in raw["detail"]["Instance"]["Checks"]:
        check["Status"] = status
    return raw


def listed(index: int, *instances: Any) -> Any:
    """A full list of api in dc1."""
    return changed(sample("service-health-changed"), detail__Index=index, detail__Instances=list(instances))


def removed(index: int) -> Any:
    """The removal of that one instance."""
    return changed(sample("instance-removed"), detail__Index=index)


THERE = one(1, "passing")["detail"]["Instance"]

SITUATIONS: dict[str, tuple[list[Any], Any, tuple[int, int] | None]] = {
    "the true word after a slip of the index": ([one(NANOS, "passing")], one(MILLIS, "critical"), (0, NANOS + 1)),
    "the same word at an older index": ([one(7, "passing")], one(5, "passing"), None),
    "the same event again": ([one(7, "passing")], one(7, "passing"), None),
    "another word at the same index": ([one(7, "passing")], one(7, "critical"), (0, 8)),
    "and the other way round": ([one(7, "critical")], one(7, "passing"), None),
    "an old word about what a list left out": ([listed(9)], one(5, "passing"), (0, 10)),
    "a removal that comes late": ([one(7, "passing")], removed(6), (0, 8)),
    "a removal of what is gone": ([listed(9)], removed(6), None),
    "a list that lacks what was told of since": ([one(7, "passing")], listed(6), (0, 8)),
    "a list that lacks what came and went since": ([one(7, "passing"), removed(8)], listed(6), None),
    "an epoch that the source has left": ([one(3, "passing", epoch=2)], one(900, "critical"), (2, 4)),
    "the greatest index there is": ([one(2**63 - 1, "passing")], one(8, "critical"), (1, 0)),
    "a list in which one is outranked": ([one(7, "critical")], listed(6, THERE), (0, 8)),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_outranked_is_answered_as_stale_with_the_index_that_will_be_heard(name: str, store: Store) -> None:
    before, then, heard_from = SITUATIONS[name]
    door = Door(store)
    for each in before:
        assert door.post("/v1/events", each)[1]["stale"] == []
    code, answer = door.post("/v1/events", then)
    assert code == 200
    if heard_from is None:
        assert answer["stale"] == []
        return
    (stale,) = answer["stale"]
    epoch, index = heard_from
    assert stale["source"] == "consul-dc1"
    assert stale["instances"] == [{"node": NODE, "id": ID}]
    assert stale["heard_from"] == {"epoch": epoch, "index": index}
    assert any(f"send epoch {epoch}, index {index} or greater" in line for line in door.reported)
    then["detail"] |= {"Epoch": epoch, "Index": index}
    code, answer = door.post("/v1/events", then)
    assert (code, answer["stale"], answer["new"]) == (200, [], True)
    then["detail"] |= {"Epoch": epoch, "Index": index}
    code, answer = door.post("/v1/events", then)
    assert (answer["stale"], answer["new"]) == ([], False), "a duplicate is no stale one"


def test_they_are_counted(store: Store) -> None:
    metrics = Metrics(lambda: 0.0, list, dict)
    door = Door(store, metrics)
    for each in (one(7, "passing"), one(6, "critical"), one(6, "passing"), one(5, "critical")):
        door.post("/v1/events", each)
    door.post("/v1/events", one(NANOS + 10**9 * 10**6, "passing"))
    assert b"pointsman_events_stale_total 2.0" in metrics.text()
    assert b"pointsman_events_doubted_total 1.0" in metrics.text()
    assert b"pointsman_sources_shared_total 0.0" in metrics.text()
    door.post("/v1/events", one(NANOS + 10**9 * 10**6, "critical"))
    assert b"pointsman_sources_shared_total 1.0" in metrics.text()


def test_a_slip_of_the_index_is_told_of_at_once_and_everything_after_it_too(store: Store) -> None:
    door = Door(store)
    door.post("/v1/events", one(MILLIS, "passing"))
    assert door.reported == []
    code, slip = door.post("/v1/events", one(NANOS, "passing"))
    assert code == 200
    (warning,) = slip["warnings"]
    assert f"sent the index {NANOS}, which reads as nanoseconds since 1970, but it counted in milliseconds" in warning
    assert door.reported == [warning]
    _, truth = door.post("/v1/events", one(MILLIS + 1, "critical"))
    assert (truth["new"], truth["changed"], len(truth["stale"])) == (False, False, 1)
    assert healthy(store) == (1, 1)
    _, raised = door.post("/v1/events", one(MILLIS + 2, "critical", epoch=1))
    assert (raised["changed"], raised["stale"], raised["warnings"]) == (True, [], [])
    assert healthy(store) == (0, 1)


@pytest.mark.parametrize("per_second", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize(
    ("ahead", "told"), [(timedelta(hours=23), False), (timedelta(hours=25), True), (timedelta(days=3650), True)]
)
def test_an_index_that_reads_as_a_time_more_than_a_day_ahead_is_doubted(
    per_second: int, ahead: timedelta, *, told: bool
) -> None:
    event = parse_event(one(int((NOW + ahead).timestamp()) * per_second, "passing"))
    assert ("ahead of the clock here" in index_doubt(EMPTY, event, NOW)) is told


@pytest.mark.parametrize("index", [0, 7, 48_213, 10**8, 10**11, 2**62])
def test_an_index_that_reads_as_no_time_is_never_doubted(index: int) -> None:
    event = parse_event(one(index, "passing"))
    assert ("ahead" in index_doubt(EMPTY, event, NOW)) is (index == 2**62), "2^62 is a nanosecond of the year 2116"


def test_emit_says_what_became_of_each_event_and_ends_with_a_code_of_its_own(
    store: Store, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def emit(*events: Any) -> tuple[int, str, str]:
        file = tmp_path / "events.json"
        file.write_text(json.dumps(events))
        code = run(["emit", "--store", str(path), str(file)])
        told = capsys.readouterr()
        return code, told.out, told.err

    assert emit(listed(1)) == (0, "revision 0: recorded, and changes nothing; 0 snapshots moved\n", "")
    assert emit(listed(1)) == (0, "revision 0: said nothing new; 0 snapshots moved\n", "")
    code, out, err = emit(one(NANOS, "passing"))
    assert (code, err) == (0, "")
    assert out.startswith("revision 1: took effect; ")
    code, out, err = emit(one(MILLIS, "critical"), one(NANOS, "passing"))
    assert code == 3
    assert out.splitlines() == [
        "revision 1: is stale, and changes nothing; 0 snapshots moved",
        "revision 1: said nothing new; 0 snapshots moved",
    ]
    assert err.startswith(
        f'stale: what "consul-dc1" states of "{ID}" on node "{NODE}" at epoch 0, index {MILLIS} has no'
    )
    assert f"To take effect, send epoch 0, index {NANOS + 1} or greater" in err
