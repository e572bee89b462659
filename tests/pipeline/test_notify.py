"""Whoever follows is told of every manifest as of every head, after the heads that it names, whatever crashed."""

import pytest
from pointsman.pipeline.reconcile import reconcile

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
    assert moved.keys() == {"dc1/default/shop", "dc1/default/new", "dc2/gateways/gw", "dc2/gateways"}
    assert dict(place.named) == moved
    assert [key.split("/")[0] for key in place.order] == sorted(
        (key.split("/")[0] for key in place.order), key=["snapshots", "manifests"].index
    )
    assert "dc1/sidecar/db.default.dc1" in dict(place.told)


def test_the_end_of_a_manifest_is_told(place: Place) -> None:
    place.delete(registrations=("dc1/default/old",))
    assert place.manifest("dc1/default/old").retired
    assert ("dc1/default/old", 2) in place.named


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
    place.objects.damage("manifests/dc1/default/shop", b"damaged")
    place.objects.damage("manifests/dc1/gateways", b"damaged")
    other = place.another()
    assert reconcile(other.engine).manifests == 2
    assert {key for key, _ in other.named} == {"dc1/default/shop", "dc1/gateways"}
    other.forget_the_past()
    assert reconcile(other.engine).repaired == 0
    assert other.order == []
