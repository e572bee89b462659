"""Followers are notified of every manifest and every head, after the heads that it names, despite crashes."""

from functools import partial

import pytest
from pointsman.pipeline import reconcile as reconciling
from pointsman.pipeline import settle as settling
from pointsman.pipeline import swaps as swapping
from pointsman.pipeline import untold
from pointsman.pipeline.reconcile import reconcile
from pointsman.store.protocol import StoreUnavailable

from tests.pipeline.memory import Crash, Fault
from tests.pipeline.meshes import event, gateway, gateway_instance, instance, resolver, sidecar
from tests.pipeline.place import Place, Writer

WELL = event("web", 1, [instance("web")])
CHANGE = (sidecar("shop", "web", "db"), sidecar("new", "db"), gateway("dc2"))


@pytest.fixture
def place() -> Place:
    """A service's sidecars that call web, those of another one, and a gateway; web is there."""
    place = Place()
    place.configure(resolver("web"), sidecar("shop", "web"), sidecar("old", "web"), gateway("dc1"))
    place.ingest(WELL)
    place.ingest(event(None, 1, [gateway_instance()], dc="dc3"))
    place.forget_the_past()
    return place


def manifests(place: Place) -> dict[str, int]:
    return {key: place.manifest(key).generation for key in (each[10:] for each in place.objects.under("manifests/"))}


def test_a_change_of_config_tells_of_the_manifests_that_it_moved_after_their_heads(place: Place) -> None:
    before = manifests(place)
    place.configure(*CHANGE)
    moved = {key: generation for key, generation in manifests(place).items() if before.get(key) != generation}
    assert moved.keys() == {"dc1/sidecar/default/shop", "dc1/sidecar/default/new", "dc2/gateway/gw", "dc2/gateways"}
    assert dict(place.named) == moved
    assert [key.split("/")[0] for key in place.order] == sorted(
        (key.split("/")[0] for key in place.order), key=["snapshots", "manifests"].index
    )
    assert "dc1/sidecar/db.default.dc1" in dict(place.told)


def test_the_end_of_a_manifest_is_told(place: Place) -> None:
    place.delete(registrations=("dc1/sidecar/default/old",))
    assert place.manifest("dc1/sidecar/default/old").retired
    assert ("dc1/sidecar/default/old", 2) in place.named


def test_gateways_are_told_once_of_a_service_that_appears_and_no_sooner_than_its_head(place: Place) -> None:
    first, again = event("db", 1, [instance("db")]), event("db", 2, [instance("db", 1, "critical")])
    place.ingest(first)
    assert place.order == ["snapshots/dc1/gateway/db.default.dc1", "manifests/dc1/gateways"]
    place.forget_the_past()
    place.ingest(again)
    assert place.order == ["snapshots/dc1/gateway/db.default.dc1"]


def _tells(place: Place, crashed: Writer, after: Writer) -> None:
    for key, generation in manifests(place).items():
        if generation > 1:
            assert (key, generation) in {*crashed.named, *after.named}, key
    told = {key for key, _ in (*crashed.told, *after.told)}
    for key in place.objects.under("snapshots/"):
        plan_key = key.removeprefix("snapshots/")
        assert place.head(plan_key).provenance.generation == 1 or plan_key in told, key


@pytest.mark.parametrize("next_verb", ["the same batch again", "reconcile"])
def test_whoever_finishes_what_a_crash_left_tells_of_it(next_verb: str) -> None:
    at = 0
    while True:
        at += 1
        place = Place()
        place.configure(resolver("web"), sidecar("shop", "web"), gateway("dc1"))
        place.ingest(WELL)
        place.at = Fault(at, "crash")
        try:
            place.configure(*CHANGE)
        except Crash:
            other = place.another()
            if next_verb == "reconcile":
                reconcile(other.engine)
            else:
                other.configure(*CHANGE)
            _tells(place, place, other)
        else:
            assert at > 20, "there were crashes"
            return


def test_the_redelivery_of_a_first_event_tells_the_gateways_what_a_crash_kept_from_them(place: Place) -> None:
    first = event("db", 1, [instance("db")])
    place.crash("put", "manifests/dc1/gateways", "after")
    with pytest.raises(Crash):
        place.ingest(first)
    assert place.named == []
    other = place.another()
    assert not other.ingest(first).changed
    assert [key for key, _ in other.named] == ["dc1/gateways"]


def test_a_reconcile_tells_of_what_it_mends_and_of_nothing_else(place: Place) -> None:
    place.objects.damage("manifests/dc1/sidecar/default/shop", b"damaged")
    place.objects.damage("manifests/dc1/gateways", b"damaged")
    other = place.another()
    assert reconcile(other.engine).manifests == 2
    assert {key for key, _ in other.named} == {"dc1/sidecar/default/shop", "dc1/gateways"}
    other.forget_the_past()
    assert reconcile(other.engine).repaired == 0
    assert other.order == []


HEADS = ("snapshots/dc1/sidecar/web.default.dc1", "snapshots/dc1/gateway/web.default.dc1")


def _damaged(place: Place) -> set[str]:
    damaged = {
        *HEADS,
        "manifests/dc1/sidecar/default/shop",
        "manifests/dc1/sidecar/default/old",
        "manifests/dc1/gateways",
    }
    for key in damaged:
        place.objects.damage(key, b"damaged")
    return damaged


def test_a_reconcile_tells_of_the_heads_that_it_mends_before_the_manifests_that_name_them(place: Place) -> None:
    damaged = _damaged(place)
    other = place.another()
    reconcile(other.engine)
    assert set(other.order) == damaged
    assert sorted(map(other.order.index, HEADS)) == [0, 1]


def test_a_reconcile_that_crashes_has_told_of_all_but_its_last_step(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (settling, swapping, reconciling):
        monkeypatch.setattr(module, "BATCH", 1)
    crashes = 0
    while True:
        damaged = _damaged(place)
        other = place.another()
        crashes += 1
        other.at = Fault(crashes, "crash")
        try:
            reconcile(other.engine)
        except Crash:
            mended = {key for key in damaged if place.objects.objects[key].data != b"damaged"}
            assert len(mended - set(other.order)) <= 1, crashes
        else:
            assert set(other.order) == damaged
            assert crashes > 20, "there were crashes"
            return


def test_notices_that_nobody_takes_hold_up_no_repair_and_are_given_by_the_next_reconcile(place: Place) -> None:
    damaged = _damaged(place)
    other = place.another()
    other.unheard = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            reconcile(other.engine)
        assert all(place.objects.objects[key].data != b"damaged" for key in damaged)
    other.unheard = False
    assert reconcile(other.engine).repaired == 0
    assert set(other.order) == damaged
    assert sorted(map(other.order.index, HEADS)) == [0, 1]
    other.forget_the_past()
    reconcile(other.engine)
    assert other.order == []


def test_no_more_notices_are_kept_than_a_bound(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(untold, "MOST_UNTOLD", 3)
    _damaged(place)
    other = place.another()
    other.unheard = True
    with pytest.raises(StoreUnavailable):
        reconcile(other.engine)
    other.unheard = False
    reconcile(other.engine)
    assert len(other.order) == 3
    assert "notices are lost" in caplog.text


@pytest.mark.parametrize("verb", ["configure", "ingest"])
def test_what_gateways_newly_name_is_told_again_where_its_notice_was_not_taken(verb: str) -> None:
    # Gateways come to dc1 after api has appeared there: they name it because of the catalog alone.
    place = Place()
    place.configure(resolver("web"))
    api = event("api", 1, [instance("api")])
    place.ingest(api)
    place.ingest(event(None, 1, [gateway_instance()], dc="dc2"))
    if verb == "ingest":
        accepting = place.another()
        accepting.crash("put", "config/head", "after")
        with pytest.raises(Crash):
            accepting.configure(gateway("dc1"))
    place.unheard = True
    act = partial(place.ingest, WELL) if verb == "ingest" else partial(place.configure, gateway("dc1"))
    with pytest.raises(StoreUnavailable):
        act()
    assert "api.default.dc1" in place.roster("dc1").clusters
    other = place.another()
    if verb == "ingest":
        other.ingest(WELL)
    other.configure(gateway("dc1"))
    assert {key for key, _ in other.told} >= {"dc1/gateway/api.default.dc1", "dc1/gateway/dc2"}
    assert ("dc1/gateways", place.roster("dc1").generation) in other.named
