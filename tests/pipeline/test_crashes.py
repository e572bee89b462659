"""Crashes: what a crash leaves between accepting a config and publishing it is finished by the next writer."""

from typing import Any

import pytest
from pointsman.pipeline.configure import Batch, configure
from pointsman.pipeline.propagate import propagate
from pointsman.pipeline.reconcile import reconcile
from pointsman.pipeline.settle import BATCH

from tests.pipeline.fresh import config_in, delivered, published, rebuilt, rendered
from tests.pipeline.memory import Crash, Fault
from tests.pipeline.meshes import (
    Document,
    event,
    gateway,
    gateway_instance,
    instance,
    proxy_defaults,
    resolver,
    sidecar,
)
from tests.pipeline.place import Place

SUBSETS = {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"Filter": "Service.Meta.version == v2"}}
RESOLVER = ("service-resolver", "default", "web")


def _changed() -> list[Document]:
    return [
        resolver("web", Failover={"*": {"Datacenters": ["dc3"]}}),
        sidecar("shop", "web", "db"),
        sidecar("new", "api"),
        gateway("dc3"),
    ]


def _begun() -> Place:
    place = Place()
    place.configure(
        proxy_defaults(mode="local"),
        resolver("web", Failover={"*": {"Datacenters": ["dc2"]}}, Subsets=SUBSETS),
        resolver("api", Subsets=SUBSETS, DefaultSubset="v1"),
        sidecar("shop", "web", "api"),
        sidecar("old", "api"),
        gateway("dc1"),
    )
    place.ingest(event("web", 1, [instance("web")]))
    place.ingest(event("web", 1, [instance("web", 2)], dc="dc3"))
    place.ingest(event(None, 1, [gateway_instance()]))
    return place


def _named(found: dict[str, Any]) -> dict[str, Any]:
    """`found` without the heads that gateways named once and that reconcile will retire."""
    names = {
        f"snapshots/{key.split('/')[1]}/gateway/{cluster}"
        for key, body in found.items()
        if key.startswith("manifests/")
        for cluster in body.get("clusters", ())
    }
    return {key: body for key, body in found.items() if "/gateway/" not in key or key in names}


def _steps_of_a_change() -> int:
    place = _begun()
    place.forget_the_past()
    place.configure(*_changed())
    return len(place.steps)


NEXT_VERBS = ["the same batch again", "another batch", "what undoes it", "reconcile"]


@pytest.mark.parametrize("next_verb", NEXT_VERBS)
def test_what_a_crash_leaves_is_finished_by_the_next_verb_wherever_it_fell(next_verb: str) -> None:
    for at in range(1 + NEXT_VERBS.index(next_verb), _steps_of_a_change() + 1, 7):
        place = _begun()
        place.at = Fault(at, "crash")
        with pytest.raises(Crash):
            place.configure(*_changed())
        other = place.another()
        if next_verb == "the same batch again":
            other.configure(*_changed())
        elif next_verb == "another batch":
            other.configure(resolver("cache"), sidecar("late", "cache"))
        elif next_verb == "what undoes it":
            new = [
                key
                for key in ("dc1/sidecar/default/new", "dc3/gateway/gw")
                if key in config_in(place.objects).registrations
            ]
            other.configure(sidecar("shop", "web", "api"))
            other.delete(registrations=tuple(new))
        else:
            reconcile(other.engine)
        assert _named(published(place.objects)) == _named(rebuilt(place.objects)), at
        assert delivered(place.objects) == rendered(place.objects), at
        assert place.promises.broken == [], at


def test_whoever_publishes_an_old_config_too_late_brings_nothing_back() -> None:
    place = _begun()
    other = place.another()

    def overtake() -> None:
        other.delete(RESOLVER, registrations=("dc1/sidecar/default/new",))
        other.configure(sidecar("shop", "api"))

    for key in ("manifests/dc1/sidecar/default/new", "manifests/dc1/sidecar/default/shop", "manifests/dc3/gateways"):
        place = _begun()
        other = place.another()
        place.once("put", key, "before", overtake)
        place.configure(*_changed())
        reconcile(place.engine)
        assert published(place.objects) == rebuilt(place.objects)
        assert place.promises.broken == []


def test_an_empty_batch_finishes_what_is_left_and_is_no_generation() -> None:
    place = Place()
    assert place.configure().generation == 1
    assert (place.configure().generation, place.configure().changed) == (1, False)
    place.crash("put", "config/head", "after")
    with pytest.raises(Crash):
        place.configure(*_changed())
    other = place.another()
    assert (other.configure().generation, other.configure().changed) == (2, False)
    assert published(place.objects) == rebuilt(place.objects)
    assert propagate(other.engine).notices() == []


@pytest.mark.parametrize("verb", ["configure", "reconcile", "a start"])
def test_a_change_of_everything_that_a_crash_interrupts_goes_on_where_it_was(verb: str) -> None:
    place, count = Place(), 2 * BATCH + 50
    names = [f"s{number:03}" for number in range(count)]
    place.configure(*map(resolver, names), *[sidecar(f"app{name}", name) for name in names])
    last = f"snapshots/dc1/sidecar/{names[-1]}.default.dc1"
    place.crash("put", last, "before")
    with pytest.raises(Crash):
        place.configure(proxy_defaults("http"))
    done = {key: stored.etag for key, stored in place.objects.under("snapshots/").items() if key != last}
    other = place.another()
    if verb == "configure":
        other.configure(resolver("another"))
    elif verb == "reconcile":
        reconcile(other.engine)
    else:
        configure(other.engine, Batch())
    written = [key for key in other.writes() if key.startswith("snapshots/")]
    assert last in written
    assert len(written) <= BATCH, "what was published before the crash is not written again"
    assert sum(place.objects.objects[key].etag == etag for key, etag in done.items()) >= 2 * BATCH
    assert published(place.objects) == rebuilt(place.objects)


def test_an_event_gets_its_turn_while_a_change_of_everything_is_published() -> None:
    place, count = Place(), 2 * BATCH + 50
    names = [f"s{number:03}" for number in range(count)]
    place.configure(*map(resolver, names), *[sidecar(f"app{name}", name) for name in names])
    other, taken = place.another(), []

    def takes_one_in() -> None:
        other.forget_the_past()
        other.ingest(event("s007", 1, [instance("s007")]))
        taken.append(len(other.calls()))

    place.once("put", f"snapshots/dc1/sidecar/{names[-1]}.default.dc1", "before", takes_one_in)
    place.configure(proxy_defaults("http"))
    assert taken[0] <= 6, "as many round trips as at any other time"
    head = place.head("dc1/sidecar/s007.default.dc1")
    assert (head.provenance.catalog, head.content.targets[0].total) == ({"dc1/service/default/s007": 1}, 1)
    assert max(_heads_written_at_once(place)) <= BATCH
    assert published(place.objects) == rebuilt(place.objects)


def _heads_written_at_once(place: Place) -> list[int]:
    calls = [keys for name, keys in place.connection.calls if name == "put_many"]
    return [sum(key.startswith("snapshots/") for key in keys) for keys in calls]
