"""What took time to make is kept, within a bound."""

import weakref

from pointsman.chain.plan import GatewayServicePlan, PlanTarget
from pointsman.model.names import Target
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.kept import MOST_KEPT_BYTES, Kept


def test_what_is_kept_is_bounded_by_bytes_and_the_least_recently_used_goes_first() -> None:
    kept = Kept[str, int]()
    half = MOST_KEPT_BYTES // 2
    for number, name in enumerate(("a", "b")):
        kept.keep(name, number, half)
    assert kept.get("a") == 0
    kept.keep("c", 2, 1)
    assert [kept.get(name) for name in ("a", "b", "c")] == [0, None, 2]
    kept.keep("a", 3, 1)
    kept.keep("b", 4, half)
    assert [kept.get(name) for name in ("a", "b", "c")] == [3, 4, 2], "what takes less room than before leaves some"


def test_one_thing_that_is_larger_than_the_bound_is_kept_alone() -> None:
    kept = Kept[str, int]()
    kept.keep("small", 1, 1)
    kept.keep("large", 2, MOST_KEPT_BYTES + 1)
    assert [kept.get(name) for name in ("small", "large")] == [None, 2]
    kept.keep("small", 1, 1)
    assert [kept.get(name) for name in ("small", "large")] == [1, None]


def test_equal_plans_are_one_object_for_as_long_as_somebody_has_one() -> None:
    plan = GatewayServicePlan(PlanTarget(Target("nobody-else-has-it", "", "default", "dc1")))
    body = PlanEntry(plan, 1).json()
    one, other = PlanEntry.of_json(body), PlanEntry.of_json({**body, "generation": 2})
    assert one.plan is other.plan
    assert one.plan == plan
    left = weakref.ref(one.plan)
    del one, other
    assert left() is None
