"""Which target ranks first, place by place, and what is said of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.chain.plan import plan_json, read_plan
from pointsman.failover.rank import NO_FACTS, PLACES, Rank, deciding
from pointsman.failover.selection import select
from pointsman.failover.sentence import sentence
from pointsman.model.policy import NO_POLICY, Policy

from tests.failover.notation import DRAIN, PIN, known, plan_of

HALF = Policy(threshold=50, percent=True)
TWO = Policy(threshold=2)
LOCAL = "through the local gateways"


@pytest.mark.parametrize(
    ("policy", "cells", "says"),
    [
        (NO_POLICY, ["1/3", "3/3"], ["dc1: 1 of 3 healthy"]),
        (
            TWO,
            ["1/3", "2/2"],
            [
                "dc1: 1 of 3 healthy, but 2 are needed",
                "dc2: first with a healthy instance, and enough of them, " + LOCAL,
            ],
        ),
        (TWO, ["1/3", "1/1"], ["dc1: 1 of 3 healthy, but 2 are needed"]),
        (
            TWO,
            ["0/3", "1/1"],
            ["dc1: 0 of 3 healthy", f"dc2: first with a healthy instance, {LOCAL}, but 2 are needed"],
        ),
        (HALF, ["1/2", "2/2"], ["dc1: 1 of 2 healthy"]),
        (
            HALF,
            ["1/3", "1/2"],
            [
                "dc1: 1 of 3 healthy, but 2 are needed",
                "dc2: first with a healthy instance, and enough of them, " + LOCAL,
            ],
        ),
        (
            HALF,
            ["0/3", "0/0", "0/2"],
            [
                "dc1: 0 of 3 healthy",
                "dc2: no instances",
                "dc3: 0 of 2 healthy",
                "no target has a healthy instance, so the primary stays",
            ],
        ),
        (TWO, ["1/3", "2/2, silent"], ["dc1: 1 of 3 healthy, but 2 are needed"]),
        (
            NO_POLICY,
            ["2/2, drained", "1/1"],
            [
                "dc1: 2 of 2 healthy, but it is drained by " + str(DRAIN),
                "dc2: first with a healthy instance that is not drained, " + LOCAL,
            ],
        ),
        (NO_POLICY, ["2/2", "1/1, pinned"], ["dc1: 2 of 2 healthy", f"dc2: pinned by {PIN}, " + LOCAL]),
        (
            NO_POLICY,
            ["2/2", "1/1, pinned, silent"],
            ["dc1: 2 of 2 healthy", f"dc2: pinned by {PIN}, but nobody who tells of it is heard"],
        ),
        (
            NO_POLICY,
            ["2/2, restless", "1/1"],
            [
                "dc1: 2 of 2 healthy, but not for long enough",
                "dc2: first with a healthy instance for long enough, " + LOCAL,
            ],
        ),
        (
            NO_POLICY,
            ["2/2, drained", "1/1, silent", "1/1"],
            [
                "dc1: 2 of 2 healthy, but it is drained by " + str(DRAIN),
                "dc2: 1 of 1 healthy, but nobody who tells of it is heard",
                "dc3: first with a healthy instance, " + LOCAL,
            ],
        ),
        (
            NO_POLICY,
            ["0/2, drained", "0/1"],
            ["dc1: 0 of 2 healthy", "dc2: 0 of 1 healthy", "no target has a healthy instance, so dc2 ranks first"],
        ),
    ],
)
def test_what_serves_and_why(policy: Policy, cells: list[str], says: list[str]) -> None:
    plan = plan_of(len(cells), policy)

    assert sentence(plan, select(plan, *known(*cells))) == "; ".join(says)


@pytest.mark.parametrize(
    ("policy", "cells", "order", "active"),
    [
        (NO_POLICY, ["0/2", "1/1"], (0, 1), 1),
        (NO_POLICY, ["1/2, silent", "1/1"], (1, 0), 1),
        (TWO, ["1/2", "2/2"], (1, 0), 1),
        (TWO, ["1/2", "1/1"], (0, 1), 0),
        (NO_POLICY, ["1/2, drained", "1/1, restless", "1/1"], (2, 1, 0), 2),
        (NO_POLICY, ["1/2", "1/1, pinned"], (1, 0), 1),
    ],
)
def test_tiers_are_in_the_order_of_rank_without_health(
    policy: Policy, cells: list[str], order: tuple[int, ...], active: int
) -> None:
    found = select(plan_of(len(cells), policy, tiers=True), *known(*cells))

    assert (found.tiers, found.active) == (order, active)


_ranks = st.builds(Rank, *[st.booleans()] * len(PLACES), position=st.integers(0, 3))


@given(_ranks, _ranks)
def test_the_first_difference_decides(one: Rank, other: Rank) -> None:
    place = deciding(one, other)

    if place == "position":
        assert (one.order < other.order) == (one.position < other.position)
    else:
        assert (one.order < other.order) == getattr(one, place)
        assert all(getattr(one, each) == getattr(other, each) for each in PLACES[: PLACES.index(place)])


_cells = st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["", ", silent"])).map(
    lambda each: f"{min(each[:2])}/{max(each[:2])}{each[2]}"
)


@given(st.lists(_cells, min_size=1, max_size=4), st.booleans())
def test_without_a_policy_or_an_order_only_health_silence_and_position_count(cells: list[str], tiers: bool) -> None:
    plan = plan_of(len(cells), tiers=tiers)
    instances, facts = known(*cells)
    healthy = [not each.startswith("0") for each in cells]
    heard = [each and "silent" not in cell for each, cell in zip(healthy, cells, strict=True)]

    found = select(plan, instances)

    assert facts == NO_FACTS
    assert found.active == next((i for i in range(len(cells)) if heard[i]), [*healthy, True].index(True) % len(cells))
    assert {each for rank in found.ranks for each in PLACES if not getattr(rank, each)} <= {"healthy", "heard"}
    assert "policy" not in plan_json(plan)


def test_a_policy_is_read_back_with_its_plan() -> None:
    policy = Policy(threshold=50, percent=True, failback_after_ms=1500, gateways="require", on_switch="drain")
    plan = plan_of(2, policy)

    assert plan_json(plan)["policy"] == {
        "threshold": 50,
        "percent": True,
        "failback_after_ms": 1500,
        "gateways": "require",
        "on_switch": "drain",
    }
    assert read_plan(plan_json(plan)) == plan


@pytest.mark.parametrize(("policy", "needed"), [(NO_POLICY, [1, 1, 1]), (TWO, [2, 2, 2]), (HALF, [1, 1, 2])])
def test_a_percentage_is_rounded_up_and_is_never_nothing(policy: Policy, needed: list[int]) -> None:
    assert [policy.needed(total) for total in (0, 2, 3)] == needed
