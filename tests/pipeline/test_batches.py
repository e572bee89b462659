"""A batch is one pass: it ends where its events end one after another, and each is acknowledged for itself."""

import time
from random import Random

import orjson
import pytest
from pointsman.model.errors import InvalidInput
from pointsman.model.events import HealthEvent
from pointsman.pipeline import recording, settle
from pointsman.pipeline.engine import Contended
from pointsman.pipeline.ingest import Ingested, _together, ingest, ingest_all
from pointsman.pipeline.moved import Moved
from pointsman.store import keys
from pointsman.store.protocol import StoreError, StoreUnavailable

from tests.pipeline.fresh import catalogs_in, delivered, published, rebuilt, rendered
from tests.pipeline.meshes import (
    event,
    gateway,
    gateway_instance,
    instance,
    proxy_defaults,
    resolver,
    sidecar,
)
from tests.pipeline.place import Place
from tests.share import share_of

SERVICES = ("web", "api", "db")
DATACENTERS = ("dc1", "dc2")


def configured() -> Place:
    """In dc1 and dc2 each service has an upstream of each, with failover through gateways."""
    place = Place()
    place.configure(
        proxy_defaults(mode="remote"),
        *(resolver(name, Failover={"*": {"Datacenters": ["dc2"]}}) for name in SERVICES),
        *(sidecar("client", *SERVICES, dc=dc) for dc in DATACENTERS),
        *(gateway(dc) for dc in DATACENTERS),
    )
    return place


def drawn(random: Random) -> HealthEvent:
    """Something that a producer may say, now and then again, or too late."""
    dc, service, index = random.choice(DATACENTERS), random.choice((*SERVICES, None)), random.randint(1, 6)
    if service is None:
        return event(None, index, [gateway_instance(each) for each in range(random.randint(0, 2))], dc=dc)
    some = [instance(service, each, random.choice(["passing", "critical"])) for each in range(random.randint(0, 3))]
    if some and random.random() < 0.5:
        return event(service, index, one=some[0], dc=dc)
    return event(service, index, some, dc=dc)


@pytest.mark.parametrize("seed", range(share_of(40)))
def test_a_batch_ends_where_its_events_end_one_after_another(seed: int) -> None:
    random = Random(seed)
    together, apart = configured(), configured()
    together.promises.most_events = 12
    for _ in range(4):
        batch = [drawn(random) for _ in range(random.randint(1, 12))]
        done = ingest_all(together.engine, batch)
        for one, each in zip(done, [apart.ingest(each) for each in batch], strict=True):
            assert isinstance(one, Ingested)
            assert (one.revision, one.new, one.changed, one.stale, one.vanished) == (
                (each.revision, each.new, each.changed, each.stale, each.vanished)
            )
            assert one.failed == each.failed == {}
        assert catalogs_in(together.objects) == catalogs_in(apart.objects)
        assert published(together.objects) == published(apart.objects) == rebuilt(together.objects)
        assert delivered(together.objects) == rendered(together.objects)
    assert together.promises.broken == []


def test_a_batch_takes_as_many_round_trips_as_one_event_and_computes_each_head_once() -> None:
    place = configured()
    everything = [event(name, 1, [instance(name)], dc=dc) for name in SERVICES for dc in DATACENTERS]
    for each in (*everything, *(event(None, 1, [gateway_instance()], dc=dc) for dc in DATACENTERS)):
        place.ingest(each)
    place.forget_the_past()
    batch = [
        event("web", index, [instance("web", status="critical" if index % 2 else "passing")]) for index in range(2, 102)
    ]
    done = ingest_all(place.engine, [*batch, *(event(name, 2, []) for name in ("api", "db"))])
    assert place.calls() == ["get_many", "put_many", "get_many", "put_many"]
    assert all(isinstance(each, Ingested) for each in done)
    assert len(place.told) == len(set(place.told)) == len({key for key, _ in place.told}), "one version for each head"
    assert place.head("dc1/sidecar/web.default.dc1").content.active == "web.default.dc2"


def test_what_is_wrong_with_one_event_is_no_other_ones_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    place = configured()
    place.ingest(event("db", 1, [instance("db")]))
    place.objects.damage(keys.catalog("dc1/service/default/db"), b"{")
    large = [instance("api", number, output="x" * 500) for number in range(20)]
    monkeypatch.setattr(recording, "MOST_CATALOG_BYTES", 5000)
    good, damaged, before, too_large, after = ingest_all(
        place.engine,
        [
            event("web", 1, [instance("web")]),
            event("db", 2, [instance("db", status="critical")]),
            event("api", 1, [instance("api")]),
            event("api", 2, large),
            event("api", 1, [instance("api", 2)], source="nomad"),
        ],
    )
    assert isinstance(damaged, StoreError)
    assert isinstance(too_large, InvalidInput)
    assert "larger than 5000 bytes" in str(too_large)
    assert all(isinstance(each, Ingested) and each.changed for each in (good, before, after))
    monkeypatch.undo()
    assert shown(place)["dc1/service/default/api"] == ["api-1", "api-2"]


def shown(place: Place) -> dict[str, list[str]]:
    """The ids of what each catalog shows, but for those that are damaged."""
    for key in list(place.objects.damaged):
        place.objects.objects.pop(key)
    return {
        key: [each["Service"]["ID"] for each in catalog.visible()]
        for key, catalog in catalogs_in(place.objects).items()
    }


def test_a_lost_race_costs_only_the_catalog_that_lost_it() -> None:
    place = configured()
    for name in SERVICES:
        place.ingest(event(name, 1, [instance(name)]))
    rival = Place(place.objects)
    catalog = keys.catalog("dc1/service/default/web")
    place.once("put", catalog, "before", lambda: rival.ingest(event("web", 1, [instance("web", 2)], source="nomad")))
    place.forget_the_past()
    done = ingest_all(place.engine, [event(name, 2, [instance(name, status="critical")]) for name in SERVICES])
    assert all(isinstance(each, Ingested) and each.changed for each in done)
    tried = [key for key in place.writes() if key.startswith(keys.CATALOG)]
    assert sorted(tried) == sorted([*(keys.catalog(f"dc1/service/default/{name}") for name in SERVICES), catalog])
    assert published(place.objects) == rebuilt(place.objects)


def test_a_redelivery_beside_a_new_event_still_tells_what_is_owed() -> None:
    place = configured()
    place.ingest(event("web", 1, [instance("web")]))
    place.unheard = True
    (failed,) = ingest_all(place.engine, [event("web", 2, [instance("web", status="critical")])])
    assert isinstance(failed, StoreUnavailable)
    place.unheard = False
    place.forget_the_past()
    # The new one changes the catalog, and no version: without the redelivery nobody would be told of it.
    done = ingest_all(
        place.engine,
        [
            event("web", 2, [instance("web", status="critical")]),
            event("web", 3, [instance("web", status="critical", output="still")]),
        ],
    )
    assert all(isinstance(each, Ingested) for each in done)
    told = {key for key, _ in place.told}
    assert {"dc1/sidecar/web.default.dc1", "dc1/gateway/web.default.dc1"} <= told


def test_an_event_counts_only_when_what_it_moved_was_told() -> None:
    place = configured()
    place.ingest(event("web", 1, [instance("web")]))
    place.unheard = True
    moved, elsewhere = ingest_all(
        place.engine, [event("web", 2, [instance("web", status="critical")]), event("nobody", 1, [], dc="dc3")]
    )
    assert isinstance(moved, StoreUnavailable)
    assert isinstance(elsewhere, Ingested), "nothing has to be told of it"
    place.unheard = False
    place.forget_the_past()
    again = ingest(place.engine, event("web", 2, [instance("web", status="critical")]))
    assert not again.new
    assert place.told, "the notices that failed are sent now"


def test_what_is_left_when_the_time_is_over_comes_again_and_the_rest_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "BATCH", 2)
    place = configured()
    for name in SERVICES:
        place.ingest(event(name, 1, [instance(name)]))
    place.forget_the_past()
    batch = [event(name, 2, [instance(name, status="critical")]) for name in SERVICES]
    done = ingest_all(place.engine, batch, in_time=lambda: False)
    late = [each for each in done if isinstance(each, Contended)]
    assert late
    assert len(late) < len(done), "what was settled in time is done"
    assert "in time" in str(late[0])
    assert place.told, "and told of"
    place.forget_the_past()
    again = ingest_all(place.engine, batch)
    assert all(isinstance(each, Ingested) and not each.new for each in again)
    assert published(place.objects) == rebuilt(place.objects)


def test_a_config_that_moves_meanwhile_counts_for_what_is_open() -> None:
    place = configured()
    for name in SERVICES:
        place.ingest(event(name, 1, [instance(name)]))
    other = Place(place.objects)
    place.once(
        "put",
        keys.catalog("dc1/service/default/web"),
        "after",
        lambda: other.configure(resolver("web", ConnectTimeout="9s"), sidecar("new", "web")),
    )
    done = ingest_all(place.engine, [event(name, 2, []) for name in SERVICES])
    assert all(isinstance(each, Ingested) for each in done)
    assert published(place.objects) == rebuilt(place.objects)


def test_no_event_no_round_trip() -> None:
    place = configured()
    place.forget_the_past()
    assert ingest_all(place.engine, []) == []
    assert place.calls() == []


def test_a_store_that_is_away_fails_all_and_loses_none() -> None:
    place = configured()
    place.connection.closed = True
    done = ingest_all(place.engine, [event(name, 1, [instance(name)]) for name in SERVICES])
    assert all(isinstance(each, Exception) for each in done)
    assert orjson.loads(place.objects.objects[keys.CONFIG_HEAD].data)


def test_an_event_that_touches_many_clusters_looks_at_each_once() -> None:
    def took(clusters: int) -> float:
        parts = [settle.Settled(stood=[Moved(str(number), "dc1", 1, b"")]) for number in range(clusters)]
        began = time.process_time()
        assert len(_together([*parts, *parts]).stood) == clusters
        return time.process_time() - began

    assert min(took(10_000) for _ in range(3)) < 30 * min(took(1_000) for _ in range(3))
