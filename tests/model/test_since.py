"""When an event counts, and since when what it states is healthy."""

import pytest
from pointsman.model.catalog import EMPTY, merge
from pointsman.model.events import HealthEvent, parse_event
from pointsman.model.since import timed

from tests.pipeline.meshes import BEGINNING, event, instance
from tests.pipeline.place import Place

NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


def _at(time: str) -> HealthEvent:
    detail = {"Source": "me", "Index": 1, "Datacenter": "dc1", "Service": "web", "Instances": []}
    return parse_event({"detail": detail, "time": time})


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ("", NOW_MS),
        ("2025-12-31T23:59:58.5Z", NOW_MS - 1500),
        ("2026-01-01T00:59:58+01:00", NOW_MS - 2000),
        ("2026-01-01T00:00:05Z", NOW_MS),
        ("yesterday", NOW_MS),
        ("2025-12-31T23:59:58", NOW_MS),
    ],
    ids=["none", "its own", "with an offset", "ahead of the taker", "no time", "without an offset"],
)
def test_an_event_counts_from_its_own_time_or_from_when_it_was_taken_in(time: str, at: int) -> None:
    taken = timed(_at(time), NOW_MS)
    assert taken.at == at
    assert timed(taken, NOW_MS + 60_000) == taken, "who takes it on keeps its time"
    assert timed(_at(time)._replace(moment=NOW_MS - 7), NOW_MS).at == NOW_MS - 7, (
        "a source that counts by task says when"
    )


def test_a_time_that_nobody_can_read_is_told_of() -> None:
    place = Place()
    assert place.ingest(_at("2026-01-01T00:00:05Z")).doubt == ""
    assert place.ingest(_at("yesterday")).doubt == (
        'its time "yesterday" is not RFC 3339 with an offset, so it counts from when it was taken in'
    )


def test_since_changes_with_what_is_seen_and_a_repetition_changes_nothing() -> None:
    def since(*events: HealthEvent) -> list[int]:
        catalog = EMPTY
        for each in events:
            catalog = merge(catalog, each)
        return [each.since // 1000 - BEGINNING for each in catalog.instances("web")]

    well, ill = instance("web"), instance("web", status="critical")
    first, again = event("web", 1, [well], at=10), event("web", 2, [well], at=20)
    assert since(first, again) == [10], "it was healthy before"
    assert since(again, first) == [10], "in whatever order"
    assert since(first, event("web", 2, one=ill, at=20), event("web", 3, [well], at=30)) == [30]
    assert since(first, event("web", 2, [], at=20), event("web", 3, [well], at=30)) == [30], "it was gone"
    assert since(first, event("web", 2, removed=well, at=20), event("web", 3, one=well, at=30)) == [30]
    assert since(first, event("web", 3, [well], at=30), event("web", 2, one=ill, at=20)) == [10], (
        "it was never seen ill"
    )
    assert since(event("web", 1, [ill], at=50), event("web", 2, [well], at=40)) == [50], "the later of the two"
    assert since(first, event("web", 2, [instance("web", status="warning")], at=20)) == [10], "a warning is not bad"


def test_a_redelivery_that_gets_a_later_time_says_nothing_new() -> None:
    catalog = merge(EMPTY, event("web", 1, [instance("web")], at=10))
    assert merge(catalog, event("web", 1, [instance("web")], at=600)) is catalog
