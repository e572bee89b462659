"""The catalog: the same statements lead to the same catalog in any order and any number of times, and a change is a
change."""

from collections.abc import Iterable, Sequence
from functools import reduce
from timeit import repeat
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.model.catalog import (
    EMPTY,
    MOST_GONE,
    NO_SOURCE,
    Catalog,
    catalog_json,
    counting,
    merge,
    read_catalog,
    vanished,
)
from pointsman.model.events import HealthEvent, Statement
from pointsman.model.listed import Refused
from pointsman.model.stale import stale

from tests.pipeline.fresh import unmarked
from tests.pipeline.meshes import event, instance
from tests.share import share_of

_SETTINGS = settings(max_examples=share_of(300), deadline=None, derandomize=True, database=None)

_stamps = st.tuples(st.integers(0, 1), st.integers(1, 4))
_checks = st.sampled_from([[], [{"Status": "passing"}], [{"Status": "critical"}]])
_descriptions = st.sampled_from([{"Service": {"Port": 1}}, {"Service": {"Port": 2}}])
_ids = st.sampled_from(["a", "b", "c"])


@st.composite
def _events(draw: st.DrawFn) -> HealthEvent:
    """Any event that a translator can make, including events about checks alone, or without checks. Lists may lack
    instances that were refused alone, and one that could not be identified. One source counts by instance: it sends no
    lists."""
    source = draw(st.sampled_from(["consul", "consul", "ecs"]))
    kind = draw(st.sampled_from(["list", "one", "removed", "checks"] if source == "consul" else ["one", "removed"]))
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
    refused = draw(st.lists(st.sampled_from(["a", "b", "c", ""]), unique=True, max_size=2)) if kind == "list" else []
    epoch, index = draw(_stamps)
    return HealthEvent(
        id="",
        time="",
        source=source,
        epoch=epoch,
        index=index,
        datacenter="dc1",
        service=None,
        full=kind == "list",
        statements=statements,
        checks_only=kind == "checks",
        refused=tuple(Refused(0, "node", id_, "", "") for id_ in refused if id_ not in ids),
        moment=draw(st.integers(1, 9)) if source == "ecs" else None,
        at=1000 * epoch + 10 * index + (kind != "list"),
    )


def merged(events: Iterable[HealthEvent], start: Catalog = EMPTY) -> Catalog:
    """The catalog after `events`, stored and read back after each one as in production."""
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
    assert unmarked(one) == unmarked(two)
    assert list(one.visible()) == list(two.visible())
    assert merged(events, one) == one, "what was heard before says nothing new"
    assert merged(data.draw(st.permutations(events)), one) == one


@_SETTINGS
@given(st.lists(_events(), min_size=1, max_size=7))
def test_the_revision_grows_by_one_with_what_is_seen_and_only_then(events: list[HealthEvent]) -> None:
    catalog = EMPTY
    for each in events:
        after = merge(catalog, each)
        seen = list(after.seen()) != list(catalog.seen())
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
        if each.states_absence:
            differs |= seen.keys() - {id_ for _, id_ in each.left_out} - {one.id for one in each.statements}
        assert (sorted(id_ for _, id_ in found.instances) if found else []) == sorted(differs)
        if found and found.known and found.heard_from:
            assert found.known >= (each.epoch, each.index), "nothing older outranks it"
            heard = each._replace(epoch=found.heard_from[0], index=found.heard_from[1])
            assert stale(merge(catalog, heard), heard) is None


def _agrees(statement: Statement, seen: dict[str, Any] | None) -> bool:
    if statement.description is None or seen is None:
        return statement.description is None and seen is None
    return seen["Service"] == statement.description["Service"] and statement.checks in (None, seen["Checks"])


def _by_the_rules(events: Sequence[HealthEvent]) -> Iterable[dict[str, Any]]:
    """The rules of the design once more, over all that was ever said at once."""
    for source in sorted({each.source for each in events}):
        mine = [each for each in events if each.source == source]
        for id_ in "abc":
            lists = [each for each in mine if each.states_absence and ("node", id_) not in each.left_out]
            said: dict[str, list[Any]] = {"description": [], "checks": []}
            for each in mine:
                stamp = (each.epoch, each.index, 0 if each.full else 1)
                about = [statement for statement in each.statements if statement.id == id_]
                if each in lists and not about:
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


@_SETTINGS
@given(
    st.lists(
        _events().filter(lambda each: not each.checks_only),
        max_size=9,
        unique_by=lambda each: (each.source, *_place(each)),
    ),
    st.data(),
)
def test_since_when_an_instance_is_healthy_is_what_the_rules_say_of_all_that_was_said(
    events: list[HealthEvent], data: st.DataObject
) -> None:
    """Good statements may come in any order. A bad one that comes after a newer good one has no effect, so then it is
    healthy for longer than the rules say, never for less long."""
    other = data.draw(st.permutations([*events, *events]))
    exact, in_order = list(_healthy_since(events)), sorted(events, key=_place)
    assert [since for _, since in merged(in_order).seen()] == exact
    assert [since for _, since in merged(in_order + other).seen()] == exact
    for since, expected in zip((since for _, since in merged(other).seen()), exact, strict=True):
        assert min(expected, 10) <= since <= expected


def _place(event: HealthEvent) -> tuple[int, int, bool]:
    return event.epoch, event.index, not event.full


def _healthy_since(events: Sequence[HealthEvent]) -> Iterable[int]:
    """Of each instance in order of what is seen: when it was first good after it was last bad; 0 if it is critical."""
    for source in sorted({each.source for each in events}):
        mine = [each for each in events if each.source == source]
        for raw in _by_the_rules(mine):
            said = []
            for each in mine:
                about = [one for one in each.statements if one.id == raw["id"]]
                for one in about:
                    is_bad = one.description is None and one.checks is None
                    is_bad |= any(check["Status"] == "critical" for check in one.checks or ())
                    said.append((_place(each), is_bad, each.at))
                if each.states_absence and not about and ("node", raw["id"]) not in each.left_out:
                    said.append((_place(each), True, each.at))
            bad = max((place for place, is_bad, _ in said if is_bad), default=(-1, 0, False))
            good = [(place, at) for place, is_bad, at in said if not is_bad and place >= bad]
            is_critical = any(check["Status"] == "critical" for check in raw["Checks"])
            yield 0 if is_critical or not good else min(good)[1]


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
    after = merge(catalog, one)
    assert after.revision == 2
    known = counting(catalog, "web")
    found = counting(after, "web", known)
    assert found.instances == after.instances("web")
    assert len({id(each) for each in found.instances} - {id(each) for each in known.instances}) == 1, "one is read"
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


def _tasks(count: int, start: int = 0) -> list[HealthEvent]:
    """Tasks that came and went one after the other, as ECS tells: each counts its own versions."""
    out = []
    for number in range(start, start + count):
        for version, there in ((3, True), (7, False)):
            statement = Statement(f"t{number}", f"t{number}", {"Service": {"Port": 1}} if there else None, None)
            out.append(_of_task(statement, version, 1000 * number + version))
    return out


def _of_task(statement: Statement, version: int, moment: int) -> HealthEvent:
    return HealthEvent("", "", "ecs", 0, version, "dc1", None, full=False, statements=(statement,), moment=moment)


def test_what_is_stored_of_tasks_that_are_gone_is_bounded() -> None:
    catalog = reduce(merge, _tasks(MOST_GONE), EMPTY)
    at_the_bound = len(stored(catalog))
    late = _tasks(1)[0]
    assert stale(merge(catalog, late), late) is not None
    catalog = reduce(merge, _tasks(MOST_GONE, start=MOST_GONE), catalog)
    assert len(catalog.sources["ecs"]["instances"]) == MOST_GONE
    assert len(stored(catalog)) < at_the_bound * 1.1
    assert list(catalog.visible()) == []
    # Whatever comes late of one that is forgotten brings it back as little, and is told of.
    for each in _tasks(2 * MOST_GONE)[::2]:
        assert merge(catalog, each) is catalog
        found = stale(catalog, each)
        assert found is not None
        assert (found.heard_from is None) == (found.known is None) == (found.forgotten is not None)
    for each in _tasks(2 * MOST_GONE)[1::2]:
        assert merge(catalog, each) is catalog
        assert stale(catalog, each) is None, "that they are gone is what is known"
    # A new one is heard though its version is smaller than that of any that went; so is one that is known all along.
    new = _of_task(Statement("new", "new", {"Service": {"Port": 1}}, None), 1, 2000 * MOST_GONE)
    assert len(list(merge(catalog, new).visible())) == 1


def test_the_bound_holds_for_checks_that_nobody_said_the_place_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.model.catalog.MOST_ORPHANS", 3)
    catalog = EMPTY
    for number in range(10):
        statement = Statement("node", f"i{number}", None, [{"Status": "critical"}])
        one = HealthEvent("", "", "s", 0, number, "dc1", None, full=False, statements=(statement,), checks_only=True)
        catalog = merge(catalog, one)
    assert sorted(catalog.sources["s"]["instances"]["node"]) == ["i7", "i8", "i9"]


@pytest.mark.parametrize("bound", [0, 1, 2])
@_SETTINGS
@given(events=st.lists(_events(), max_size=9), data=st.data())
def test_with_the_bound_nothing_that_is_gone_comes_back_and_nothing_is_refused_in_silence(
    bound: int, events: list[HealthEvent], data: st.DataObject
) -> None:
    """Compared with a catalog that forgets nothing: the two state the same, or a refusal was reported. Without a
    refusal because of something forgotten they state the same, in any order and any number of deliveries."""
    other = data.draw(st.permutations([*events, *events]))
    # What the source of these says of one instance comes with moments in the order of its versions, as from ECS.
    events = [each._replace(moment=each.epoch * 10 + each.index) if each.source == "ecs" else each for each in other]
    whole = merged(events)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pointsman.model.catalog.MOST_GONE", bound)
        patch.setattr("pointsman.model.catalog.MOST_ORPHANS", bound)
        catalog = EMPTY
        for each in events:
            catalog = merged([each], catalog)
            assert merge(catalog, each) is catalog, "what was heard says nothing new"
    for source in whole.sources:
        kept = catalog.sources.get(source, NO_SOURCE)["instances"].get("node", {})
        gone = [id_ for id_ in kept if not any(name == "d" and value[3] for name, value in kept[id_].items())]
        assert sum("d" in kept[id_] for id_ in gone) <= bound
        for id_ in "abc":
            expected, seen = _seen(whole, source, id_), _seen(catalog, source, id_)
            assert seen == expected or any(_told(catalog, each, id_) for each in events if each.source == source)
            assert expected is not None or seen is None, "gone is gone"


def _told(catalog: Catalog, event: HealthEvent, id_: str) -> bool:
    """Whether the event states the instance there, and is answered that this has no effect."""
    found = stale(catalog, event)
    stated = any(each.id == id_ and (each.description or each.checks) for each in event.statements)
    return stated and found is not None and ("node", id_) in found.instances


def _seen(catalog: Catalog, source: str, id_: str) -> Any:
    registers = catalog.sources.get(source, NO_SOURCE)["instances"].get("node", {}).get(id_, {})
    return (
        registers["d"][3] and (registers["d"][3], registers.get("c", [None] * 4)[3] or []) if "d" in registers else None
    )
