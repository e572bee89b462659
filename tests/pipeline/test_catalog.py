"""The catalog: what sources say comes to the same in any order and any number of times, and a change is a change."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from timeit import repeat
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.model.catalog import EMPTY, Catalog, catalog_json, merge, read_catalog, vanished
from pointsman.model.events import HealthEvent, Statement
from pointsman.model.stale import stale

from tests.pipeline.meshes import event, instance

_SETTINGS = settings(max_examples=300, deadline=None, derandomize=True, database=None)

_stamps = st.tuples(st.integers(0, 1), st.integers(1, 4))
_checks = st.sampled_from([[], [{"Status": "passing"}], [{"Status": "critical"}]])
_descriptions = st.sampled_from([{"Service": {"Port": 1}}, {"Service": {"Port": 2}}])
_ids = st.sampled_from(["a", "b", "c"])


@st.composite
def _events(draw: st.DrawFn) -> HealthEvent:
    """Any event that a translator can make, also one that speaks of checks alone, or of no checks at all."""
    kind = draw(st.sampled_from(["list", "one", "removed", "checks"]))
    ids = draw(st.lists(_ids, unique=True, max_size=3)) if kind == "list" else [draw(_ids)]
    statements = tuple(
        Statement(
            "node",
            id_,
            draw(_descriptions) if kind in ("list", "one") else None,
            draw(_checks) if kind == "checks" else draw(st.none() | _checks) if kind != "removed" else None,
        )
        for id_ in ids
    )
    epoch, index = draw(_stamps)
    source = draw(st.sampled_from(["consul", "consul", "ecs"]))
    return HealthEvent("", "", source, epoch, index, "dc1", None, kind == "list", statements, kind == "checks")


def merged(events: Iterable[HealthEvent], start: Catalog = EMPTY) -> Catalog:
    """The catalog that has heard of `events`, stored and read back after each as in real life."""
    return reduce(lambda catalog, each: read_catalog(orjson.loads(stored(merge(catalog, each)))), events, start)


def stored(catalog: Catalog) -> bytes:
    """The catalog's bytes."""
    return orjson.dumps(catalog_json(catalog), option=orjson.OPT_SORT_KEYS)


@_SETTINGS
@given(st.lists(_events(), max_size=7), st.data())
def test_neither_the_order_nor_the_number_of_deliveries_matters(events: list[HealthEvent], data: st.DataObject) -> None:
    duplicates = data.draw(st.lists(st.sampled_from(events), max_size=4)) if events else []
    other = data.draw(st.permutations([*events, *duplicates]))
    one, two = merged(events), merged(other)
    assert one.sources == two.sources
    assert list(one.visible()) == list(two.visible())
    assert merged(events, one) == one, "what was heard before says nothing new"


@_SETTINGS
@given(st.lists(_events(), min_size=1, max_size=7))
def test_the_revision_grows_by_one_with_what_is_seen_and_only_then(events: list[HealthEvent]) -> None:
    catalog = EMPTY
    for each in events:
        after = merge(catalog, each)
        seen = list(after.visible()) != list(catalog.visible())
        assert after.revision == catalog.revision + seen
        assert (after is catalog) == (after.sources == catalog.sources), "nothing new is the same object"
        catalog = after


@_SETTINGS
@given(st.lists(_events(), max_size=7))
def test_what_is_seen_is_what_the_rules_say_of_each_instance(events: list[HealthEvent]) -> None:
    expected = [{name: value for name, value in each.items() if name != "id"} for each in _by_the_rules(events)]
    assert list(merged(events).visible()) == expected


@_SETTINGS
@given(st.lists(_events(), min_size=1, max_size=7))
def test_an_event_is_stale_exactly_where_the_catalog_says_something_else(events: list[HealthEvent]) -> None:
    catalog = merged(events)
    for each in events:
        seen = {raw["id"]: raw for raw in _by_the_rules([one for one in events if one.source == each.source])}
        found = stale(catalog, each)
        if each.checks_only:
            continue
        differs = {one.id for one in each.statements if not _agrees(one, seen.get(one.id))}
        if each.full:
            differs |= seen.keys() - {one.id for one in each.statements}
        assert (sorted(id_ for _, id_ in found.instances) if found else []) == sorted(differs)
        if found:
            assert found.known >= (each.epoch, each.index), "nothing older outranks it"
            heard = replace(each, epoch=found.heard_from[0], index=found.heard_from[1])
            assert stale(merge(catalog, heard), heard) is None


def _agrees(statement: Statement, seen: dict[str, Any] | None) -> bool:
    if statement.description is None or seen is None:
        return statement.description is None and seen is None
    return seen["Service"] == statement.description["Service"] and statement.checks in (None, seen["Checks"])


def _by_the_rules(events: Sequence[HealthEvent]) -> Iterable[dict[str, Any]]:
    """The rules of the design once more, over all that was ever said at once."""
    for source in sorted({each.source for each in events}):
        mine = [each for each in events if each.source == source]
        lists = [each for each in mine if each.full]
        for id_ in "abc":
            said: dict[str, list[Any]] = {"description": [], "checks": []}
            for each in mine:
                stamp = (each.epoch, each.index, 0 if each.full else 1)
                about = [statement for statement in each.statements if statement.id == id_]
                if each.full and not about:
                    said["description"].append((*stamp, False, b"", None))
                    said["checks"].append((*stamp, False, b"", None))
                for statement in about:
                    gone = statement.description is None and not each.checks_only
                    if not each.checks_only:
                        said["description"].append(_ranked(stamp, statement.description))
                    if gone or statement.checks is not None:
                        said["checks"].append(_ranked(stamp, statement.checks))
            # A newer list outranks older checks even where it lists the instance and says nothing of its checks.
            if lists:
                newest = max((each.epoch, each.index) for each in lists)
                said["checks"].append((*newest, 0, False, b"", None))
            description = max(said["description"], default=None)
            checks = max(said["checks"], default=None)
            if description is not None and description[-1] is not None:
                yield {"id": id_, **description[-1], "Checks": checks[-1] if checks and checks[-1] is not None else []}


def _ranked(stamp: tuple[int, int, int], value: Any) -> tuple[Any, ...]:
    there = value is not None
    return (*stamp, there, orjson.dumps(value, option=orjson.OPT_SORT_KEYS) if there else b"", value)


WELL, ILL = instance("web", 1), instance("web", 1, "critical")
OTHER = instance("web", 2)
CHECKS_ONLY = HealthEvent(
    "",
    "",
    "consul",
    0,
    9,
    "dc1",
    None,
    full=False,
    statements=(Statement("node1", "web-1", None, [{"CheckID": "alive", "Status": "critical"}]),),
    checks_only=True,
)

SITUATIONS: dict[str, tuple[list[HealthEvent], list[tuple[str, str]], int]] = {
    "an instance that goes from healthy to unhealthy is a change": (
        [event("web", 1, [WELL]), event("web", 2, [ILL])],
        [("10.1.0.1", "critical")],
        2,
    ),
    "a list at a newer index that says the same is none": (
        [event("web", 1, [WELL]), event("web", 2, [WELL])],
        [("10.1.0.1", "passing")],
        1,
    ),
    "an empty list of a service never heard of is none": ([event("web", 5, [])], [], 0),
    "a list at an old index that arrives late brings nobody back": (
        [event("web", 5, []), event("web", 3, [WELL])],
        [],
        0,
    ),
    "nor does a single statement from before the list": (
        [event("web", 5, []), event("web", 5, one=WELL), event("web", 4, one=OTHER)],
        [("10.1.0.1", "passing")],
        1,
    ),
    "a source that starts over raises its epoch and is heard, however small its index": (
        [event("web", 900, [WELL]), event("web", 1, [ILL], epoch=1), event("web", 901, [WELL])],
        [("10.1.0.1", "critical")],
        2,
    ),
    "a removal wins over the list at its index": (
        [event("web", 4, removed=WELL), event("web", 4, [WELL, OTHER])],
        [("10.1.0.2", "passing")],
        1,
    ),
    "but not over a list after it": (
        [event("web", 4, removed=WELL), event("web", 5, [WELL])],
        [("10.1.0.1", "passing")],
        1,
    ),
    "two lists at one index: whoever is in one of them is there": (
        [event("web", 4, [WELL]), event("web", 4, [OTHER])],
        [("10.1.0.1", "passing"), ("10.1.0.2", "passing")],
        2,
    ),
    "a statement about checks alone moves no address": (
        [event("web", 1, [WELL]), CHECKS_ONLY, event("web", 10, one=instance("web", 1, address="10.1.0.77"))],
        [("10.1.0.77", "passing")],
        3,
    ),
    "nor does it bring anybody there": ([CHECKS_ONLY], [], 0),
    "but counts as soon as the instance is there": (
        [CHECKS_ONLY, event("web", 3, one=WELL)],
        [("10.1.0.1", "critical")],
        1,
    ),
    "one source does not speak for another's instances": (
        [event("web", 1, [WELL], source="consul"), event("web", 9, [], source="ecs")],
        [("10.1.0.1", "passing")],
        1,
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_situations(name: str) -> None:
    events, seen, revision = SITUATIONS[name]
    catalog = merged(events)
    assert [(raw["Service"]["Address"], raw["Checks"][0]["Status"]) for raw in catalog.visible()] == seen
    assert catalog.revision == revision


def test_a_statement_about_one_of_ten_thousand_instances_costs_no_more_than_it_should() -> None:
    many = [instance("web", number % 250) for number in range(10_000)]
    for number, each in enumerate(many):
        each["Node"]["Node"], each["Service"]["ID"] = f"node{number}", f"web-{number}"
    catalog = merged([event("web", 1, many)])
    ill = instance("web", 5, "critical")
    ill["Node"]["Node"], ill["Service"]["ID"] = "node5", "web-5"
    one = event("web", 2, one=ill)
    assert merge(catalog, one).revision == 2
    assert min(repeat(lambda: merge(catalog, one), number=1, repeat=20)) < 0.005


def _fleet(count: int) -> list[Any]:
    return [instance("web", number) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("before", "then", "gone"),
    [
        ([event("web", 1, _fleet(5))], event("web", 2, []), 5),
        ([event("web", 1, _fleet(5))], event("web", 2, _fleet(2)), 3),
        ([event("web", 1, _fleet(4))], event("web", 2, _fleet(2)), 0),
        ([event("web", 1, _fleet(5))], event("web", 2, _fleet(9)), 0),
        ([event("web", 1, [instance("web", 1, "critical")])], event("web", 2, []), 1),
        ([event("web", 2, _fleet(5))], event("web", 1, []), 0),
        ([event("web", 1, _fleet(5), source="ecs")], event("web", 2, []), 0),
        ([event("web", 1, _fleet(5)), event("web", 2, [])], event("web", 3, []), 0),
    ],
    ids=[
        "all of them",
        "most of them",
        "half of them",
        "none, there are more",
        "the last one",
        "none, the list is an old one",
        "none, they are another source's",
        "none, they were gone",
    ],
)
def test_most_of_a_catalog_vanishing_at_once_is_counted(
    before: list[HealthEvent], then: HealthEvent, gone: int
) -> None:
    catalog = merged(before)
    assert vanished(catalog, merge(catalog, then), then.source) == gone
