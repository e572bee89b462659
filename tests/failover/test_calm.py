"""A target that has just recovered waits behind one that has been healthy for longer, and nobody else waits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.failover.explain import ExplainedTarget
from pointsman.failover.explain_text import health_of
from pointsman.failover.measured import Instances
from pointsman.failover.rank import NO_FACTS, Facts, Rank
from pointsman.failover.selection import Selection, choose, select
from pointsman.failover.sentence import sentence
from pointsman.model.keys import service_key
from pointsman.model.names import ServiceName, Target
from pointsman.model.policy import NO_POLICY, Policy

from tests.failover.notation import DRAIN, known, plan_of

TEN = Policy(failback_after_ms=10_000)
TWO = Policy(threshold=2, failback_after_ms=10_000)


def healthy(*since: list[int]) -> Instances:
    """Of each datacenter the seconds since which its instances are healthy, -1 where one is not."""
    instances, _ = known(*(f"{len(each)}/{len(each)}" for each in since))
    return {
        service_key(f"dc{i}", ServiceName("default", "web")): [
            replace(one, critical=second < 0, since=max(second, 0) * 1000)
            for one, second in zip(instances[service_key(f"dc{i}", ServiceName("default", "web"))], each, strict=True)
        ]
        for i, each in enumerate(since, 1)
    }


def at(second: int) -> Facts:
    """Nothing is known but the time."""
    return Facts(moment=second * 1000)


@pytest.mark.parametrize(
    ("policy", "since", "now", "serves", "due"),
    [
        # One that recovered waits behind a lower one that was healthy all the time, and then serves.
        (TEN, [[100], [0]], 100, 2, 110),
        (TEN, [[100], [0]], 109, 2, 110),
        (TEN, [[100], [0]], 110, 1, None),
        # Without the policy it serves at once.
        (NO_POLICY, [[100], [0]], 100, 1, None),
        # It does not wait behind one that recovered later, and so it is not left for that one either.
        (TEN, [[100], [105]], 106, 1, None),
        # After an outage of all: the first to recover serves, and the primary comes back ten seconds after it did.
        (TEN, [[-1], [105]], 106, 2, None),
        (TEN, [[107], [105]], 107, 2, 117),
        # What is needed is used at once.
        (TEN, [[100], [-1]], 100, 1, None),
        (TEN, [[-1], [100]], 100, 2, None),
        # Of several the one that is calm serves; each waits only behind those after it.
        (TEN, [[100], [95], [0]], 101, 3, 105),
        (TEN, [[100], [95], [0]], 105, 2, 110),
        (TEN, [[100], [95], [0]], 110, 1, None),
        (TEN, [[100], [95], [-1]], 101, 2, 110),
        # One instance that is healthy all the time is enough, whatever the others do.
        (TEN, [[0, 100], [0]], 100, 1, None),
        (TEN, [[50, 100], [60]], 100, 1, None),
        # Two are needed: the second oldest decides.
        (TWO, [[0, 100], [0, 0]], 105, 2, 110),
        (TWO, [[0, 100, 3], [5, 5]], 105, 1, None),
        # One below the threshold is nobody to wait behind, and neither does it wait.
        (TWO, [[100, 100], [0]], 100, 1, None),
        (TWO, [[0, -1], [100, 100]], 100, 2, None),
        # Equal since: position decides.
        (TEN, [[100], [100]], 100, 1, None),
    ],
)
@pytest.mark.parametrize("tiers", [False, True])
def test_situations(
    policy: Policy, since: list[list[int]], now: int, serves: int, due: int | None, tiers: bool
) -> None:
    plan, instances = plan_of(len(since), policy, tiers=tiers), healthy(*since)

    choice = choose(plan, instances, NO_FACTS, 0, now * 1000)
    found = select(plan, instances, choice.facts)

    assert found.active == serves - 1
    # Tiers are in order whatever Envoy needs of them, so one more moment can change them.
    if not tiers:
        assert choice.due == (due and due * 1000)
        assert found.chooses_as(select(plan, instances, at(now)))


def test_what_ranks_before_is_not_waited_for() -> None:
    plan, instances = plan_of(3, TEN), healthy([100], [0], [90])
    drained = Facts(drained={1: DRAIN}, moment=100_000)
    assert select(plan, instances, drained).active == 2, "behind dc3 it waits, and behind what is drained it does not"
    silent = {
        key: [replace(each, silent=key.startswith("dc2")) for each in some]
        for key, some in healthy([100], [0], [105]).items()
    }
    assert select(plan, silent, at(106)).active == 0


def test_tiers_put_what_waits_behind_what_it_waits_for() -> None:
    plan, instances = plan_of(3, TEN, tiers=True), healthy([100], [0], [0])
    assert select(plan, instances, at(101)).tiers == (1, 2, 0)
    assert select(plan, instances, at(110)).tiers == (0, 1, 2)
    assert select(plan, healthy([-1], [0], [0]), at(101)).tiers == (0, 1, 2), "one that is ill keeps its place"


def test_people_hear_how_long_it_takes() -> None:
    plan, instances = plan_of(2, TEN), healthy([100, 100], [0])
    found = select(plan, instances, at(103))
    assert sentence(plan, found) == (
        "dc1: 2 of 2 healthy, but not for long enough until 00:01:50Z; "
        "dc2: first with a healthy instance for long enough, through the local gateways"
    )
    target = Target("web", "", "default", "dc1")
    row = ExplainedTarget(
        target, "", False, "", "", None, 0, 0, 2, 2, 1, False, False, found.ranks[0], "", "", found.waits[0] - 103_000
    )
    assert health_of(row) == "2 of 2 healthy, calm in 7 s"


_seconds = st.lists(st.integers(-1, 40), min_size=1, max_size=3)
_policies = st.builds(Policy, st.integers(1, 2), st.just(False), st.sampled_from([0, 1_000, 10_000]))


@given(_policies, st.lists(_seconds, min_size=2, max_size=4), st.booleans(), st.integers(0, 60), st.integers(0, 60))
def test_a_choice_is_a_function_of_the_facts_and_its_moment(
    policy: Policy, since: list[list[int]], tiers: bool, one: int, other: int
) -> None:
    plan, instances = plan_of(len(since), policy, tiers=tiers), healthy(*since)
    first, then = sorted((one * 1000, other * 1000))

    def chosen(facts: Facts) -> Selection:
        return select(plan, instances, facts)

    early = choose(plan, instances, NO_FACTS, 0, first)
    late = choose(plan, instances, NO_FACTS, 0, then)
    moment = early.facts.moment or 0
    # Whoever chooses again from there, with a clock that is behind or ahead, comes to the same.
    again = choose(plan, instances, NO_FACTS, moment, max(moment, first))
    assert again == early
    assert choose(plan, instances, NO_FACTS, moment, then) == late
    assert chosen(early.facts).chooses_as(chosen(at(first // 1000)))
    if early.due is not None:
        assert first < early.due
        before, after = (chosen(Facts(moment=each)) for each in (early.due - 1, early.due))
        assert before.chooses_as(chosen(early.facts))
        assert not after.chooses_as(before)
    # When all have been healthy for long enough, or nobody asks for it, time plays no part.
    calm = chosen(Facts(moment=10**9))
    assert calm.chooses_as(select(plan, instances))
    # Calm never outranks what comes before it.
    found = chosen(early.facts)
    if not tiers:
        best = min(_before(each) for each in found.ranks)
        assert _before(found.ranks[found.active]) == best


def _before(rank: Rank) -> tuple[int, ...]:
    return rank.order[:6]
