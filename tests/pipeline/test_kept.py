"""What took time to make is kept, within a bound."""

import gc
import weakref

import pytest
from pointsman.chain.plan import GatewayServicePlan, PlanTarget
from pointsman.model.names import Target
from pointsman.pipeline import objects
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.kept import MOST_KEPT_BYTES, Kept
from pointsman.pipeline.load import readers_of
from pointsman.pipeline.objects import MOST_OBJECT_BYTES

from tests.pipeline.meshes import resolver, sidecar
from tests.pipeline.place import Place


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


def test_config_objects_in_memory_are_bounded_by_bytes_as_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    place, count = Place(), 600
    place.configure(*[resolver(f"s{n}") for n in range(count)], sidecar("x", *[f"s{n}" for n in range(count)]))
    sources = [f"dc1/service/default/s{n}" for n in range(count)]

    def reads(most_bytes: int) -> tuple[int, int]:
        """How often the index is read for all services in turn, and then for the last one once more."""
        monkeypatch.setattr(objects, "MOST_OBJECT_BYTES", most_bytes)
        other = place.another()
        other.engine.refresh()
        before = len(other.connection.calls)
        for _ in range(2):
            found = [readers_of(other.engine.objects, other.engine.root, source) for source in sources]
            assert all(list(each) == [f"dc1/sidecar/s{n}.default.dc1"] for n, each in enumerate(found))
        seen = len(other.connection.calls)
        readers_of(other.engine.objects, other.engine.root, sources[-1])
        return seen - before, len(other.connection.calls) - seen

    buckets = len(place.engine.root.maps["index"].buckets)
    assert reads(MOST_OBJECT_BYTES) == (buckets, 0)
    often, again = reads(20_000)
    assert often > 2 * buckets
    assert again == 0, "what was read last is there"


def test_of_two_generations_only_the_current_one_stays_in_memory() -> None:
    place = Place()
    place.configure(resolver("a"), sidecar("x", "a"))
    was = place.engine.config(place.engine.root)
    left = weakref.ref(was)
    place.configure(resolver("a", ConnectTimeout="7s"))
    assert place.engine.config(was.root) is was, "somebody uses it"
    del was
    gc.collect()
    assert left() is None
    now = place.engine.config(place.engine.root)
    assert now.root.generation == 2
    assert place.engine.config(now.root) is now


def test_equal_plans_are_one_object_for_as_long_as_somebody_has_one() -> None:
    plan = GatewayServicePlan(PlanTarget(Target("nobody-else-has-it", "", "default", "dc1")))
    body = PlanEntry(plan, 1).json()
    one, other = PlanEntry.of_json(body), PlanEntry.of_json({**body, "generation": 2})
    assert one.plan is other.plan
    assert one.plan == plan
    left = weakref.ref(one.plan)
    del one, other
    assert left() is None
