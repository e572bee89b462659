"""Orders as values: how they begin, change and end, and what is kept of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.model import orders as model
from pointsman.model.errors import InvalidInput
from pointsman.model.names import ServiceName
from pointsman.model.orders import (
    LONGEST_REASON,
    NO_ORDERS,
    Order,
    Orders,
    Subject,
    Verb,
    Wish,
    begun,
    checked_name,
    checked_reason,
    ended,
    orders_json,
    over,
    read_orders,
    service_of,
    short_time,
)
from pointsman.model.stored import Damaged

WEB = ServiceName("default", "web")
SUBJECTS = [
    Subject(Verb.DRAIN, "dc1"),
    Subject(Verb.DRAIN, "dc2"),
    Subject(Verb.DRAIN, "dc1", WEB),
    Subject(Verb.PIN, "dc2", WEB),
    Subject(Verb.PIN, "dc3", WEB),
    Subject(Verb.PIN, "dc3", WEB, "dc1"),
    Subject(Verb.FREEZE),
    Subject(Verb.FREEZE, service=WEB),
]
SCOPES = sorted({each.scope for each in SUBJECTS})


def at(second: int) -> str:
    return f"2026-11-27T14:{second // 60:02}:{second % 60:02}.000Z"


def wish(subject: Subject, until: int = 60, **more: str) -> Wish:
    return Wish(subject, at(until), "maintenance", "alice@laptop", **more)


def test_what_an_order_says_in_words() -> None:
    assert [str(each) for each in SUBJECTS] == [
        "drain dc1",
        "drain dc2",
        "drain web in dc1",
        "pin web to dc2",
        "pin web to dc3",
        "pin web to dc3 for callers in dc1",
        "freeze everything",
        "freeze web",
    ]
    assert str(Subject(Verb.PIN, "dc3", ServiceName("team", "web"))) == "pin team/web to dc3"
    _, order = begun(NO_ORDERS, wish(SUBJECTS[0], 3600 - 5), at(0))
    assert str(order) == "order d-1 until 2026-11-27 14:59:55 UTC (maintenance)"
    assert short_time(at(60)) == "2026-11-27 14:01 UTC"
    assert {service_of(each.scope) for each in SUBJECTS} == {None, WEB}
    assert all(service_of(each.scope) == each.service for each in SUBJECTS)


def test_an_order_about_the_same_changes_the_one_in_force_and_another_pin_takes_its_place() -> None:
    orders, first = begun(NO_ORDERS, wish(SUBJECTS[3]), at(0))
    orders, changed = begun(orders, replace(wish(SUBJECTS[3], 90), reason="longer", by="bob"), at(5))
    assert (changed.id, changed.at, changed.until, changed.reason, changed.by) == (
        (first.id, at(0), at(90), "longer", "bob")
    )
    assert orders.ended == ()
    orders, other = begun(orders, wish(SUBJECTS[4]), at(6))
    assert [each.id for each in orders] == [other.id] == ["p-3"]
    assert [(each.order, each.at, each.by) for each in orders.ended] == [(changed, at(6), "alice@laptop")]
    assert orders.named("p-3") == other
    assert orders.named("p-1") is None


def test_an_order_ends_when_it_is_due_and_no_sooner() -> None:
    orders, first = begun(NO_ORDERS, wish(SUBJECTS[0], 30), at(0))
    orders, second = begun(orders, wish(SUBJECTS[1], 40), at(0))
    assert orders.next_end == at(30)
    assert over(orders, at(29)) is orders
    later = over(orders, at(30))
    assert (list(later), later.revision) == ([second], 3)
    assert [(each.order, each.at, each.by) for each in later.ended] == [(first, at(30), "")]
    assert over(later, at(99)).next_end == ""
    assert ended(later, [first], at(31), "bob") is later, "it is over already"


DONE = st.tuples(st.sampled_from(SUBJECTS), st.sampled_from(["begin", "begin", "end", "due"]), st.integers(1, 99))


@given(st.lists(DONE, max_size=40), st.integers(2, 4), st.integers(1, 3))
def test_whatever_is_ordered_revisions_only_grow_and_the_same_ones_mean_the_same_orders(
    acts: list[tuple[Subject, str, int]], most_scopes: int, most_ended: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "MOST_SCOPES", most_scopes)
        patch.setattr(model, "MOST_ENDED", most_ended)
        orders, seen = NO_ORDERS, dict[tuple[tuple[str, int], ...], tuple[Order, ...]]()
        for second, (subject, what, until) in enumerate(acts):
            before = orders
            if what == "begin":
                orders, _ = begun(orders, wish(subject, second + until), at(second))
            elif what == "end":
                orders = ended(orders, orders.of([subject.scope]), at(second), "bob")
            else:
                orders = over(orders, at(second))
            assert orders.revision == before.revision + (orders is not before)
            assert len(orders.changed) <= most_scopes
            assert len(orders.ended) <= most_ended
            assert read_orders(orders_json(orders)) == orders
            for scopes in ([each] for each in SCOPES):
                was, now = before.revisions(scopes), orders.revisions(scopes)
                assert all(now.get(key, 0) >= each for key, each in was.items())
                found = seen.setdefault(tuple(sorted(now.items())), orders.of(scopes)) if now else orders.of(scopes)
                assert now or not found, "what is in force has a revision"
                same = before.of(scopes) == orders.of(scopes)
                assert same or was != now, "another order, another provenance"


def test_no_more_orders_are_in_force_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MOST_IN_FORCE", 2)
    orders = NO_ORDERS
    for subject in SUBJECTS[:2]:
        orders, _ = begun(orders, wish(subject), at(0))
    with pytest.raises(InvalidInput, match=r"drain web in dc1: 2 orders are in force, more cannot be; end one with"):
        begun(orders, wish(SUBJECTS[2]), at(1))
    begun(orders, wish(SUBJECTS[1]), at(1))


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("", "is required"),
        ("  ", "is required"),
        ("x" * (LONGEST_REASON + 1), "has 201 characters, 200 are the most"),
        ("two\nlines", "has a character that cannot be printed"),
    ],
)
def test_an_order_has_a_reason_of_one_line(reason: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        checked_reason(reason)
    assert checked_reason(" new kernel ") == "new kernel"


def test_who_gives_an_order_has_a_name_that_can_be_printed() -> None:
    assert checked_name("al\x1bice@laptop") == "al?ice@laptop"
    assert checked_name("") == "unknown"
    assert len(checked_name("x" * 999)) == LONGEST_REASON


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "silence"},
        {"revision": -1},
        {"in_force": {}},
        {"in_force": [7]},
        {"in_force": [{}]},
        {"ended": None},
        {"changed": {"drain/dc1": "1"}},
        {"floor": None},
    ],
    ids=str,
)
def test_what_is_no_list_of_orders_is_damaged(change: dict[str, object]) -> None:
    orders: Orders = NO_ORDERS
    for subject in SUBJECTS:
        orders, _ = begun(orders, wish(subject), at(0))
    with pytest.raises(Damaged):
        read_orders({**orders_json(orders), **change})


@pytest.mark.parametrize(
    "change", [{"verb": "burn"}, {"service": "web"}, {"service": None}, {"until": 7}, {"forced": 1}], ids=str
)
def test_an_order_that_is_none_is_damaged(change: dict[str, object]) -> None:
    orders, _ = begun(NO_ORDERS, wish(SUBJECTS[3]), at(0))
    body = orders_json(orders)
    with pytest.raises(Damaged):
        read_orders({**body, "in_force": [{**body["in_force"][0], **change}]})
