"""Races that chance seldom brings about, each played move by move."""

from collections.abc import Callable
from functools import partial

import pytest
from pointsman.pipeline.manifests import publish_manifests
from pointsman.pipeline.propagate import retire
from pointsman.pipeline.reconcile import reconcile

from tests.pipeline.fresh import catalogs_in, config_in, delivered, published, rebuilt, rendered
from tests.pipeline.memory import Crash, Step
from tests.pipeline.meshes import event, gateway, gateway_instance, instance, proxy_defaults, resolver, sidecar
from tests.pipeline.place import Place, Writer

HEAD = "dc1/sidecar/web.default.dc1"
SUBSET = resolver("web", Subsets={"v1": {"Filter": "Service.Meta.version == v1"}})


def crashed_after_the_head(writer: Writer, *documents: dict[str, object]) -> None:
    """Have `documents` accepted by a writer that crashes before it publishes anything of them."""
    writer.crash("put", "config/head", "after")
    with pytest.raises(Crash):
        writer.configure(*documents)


def test_a_reader_who_knows_what_a_head_does_not_and_the_other_way_round_reads_again() -> None:
    place = Place()
    place.configure(
        proxy_defaults(mode="remote"),
        resolver("web", Failover={"*": {"Datacenters": ["dc2"]}}),
        sidecar("shop", "web"),
    )
    other, crashing = place.another(), place.another()

    def meanwhile() -> None:
        other.ingest(event("web", 2, [instance("web", status="critical")]))
        crashing.crash("put", "catalog/dc2/service/default/web", "after")
        with pytest.raises(Crash):
            crashing.ingest(event("web", 2, [instance("web", 7)], dc="dc2"))

    # Reads dc1's catalog before `meanwhile`, dc2's and the head after it: older in one, newer in the other.
    place.once("get", "catalog/dc1/service/default/web", "after", meanwhile, time=2)
    place.ingest(event("web", 1, [instance("web")]))
    assert place.head(HEAD).provenance.catalog == {
        "dc1/service/default/web": 2,
        "dc2/service/default/web": 1,
        "dc2/gateways": 0,
        "dc1/service/default/gateway-paths": 0,
    }
    assert place.promises.broken == []
    assert published(place.objects) == rebuilt(place.objects)


def test_a_head_that_others_move_again_and_again_is_not_taken_for_a_store_that_went_back() -> None:
    place = Place()
    place.configure(sidecar("shop", "web"))
    place.ingest(event("web", 1, [instance("web")]))
    era, other = place.engine.refresh().era, place.another()
    indexes = [7, 6, 5]

    def overtake() -> None:
        index = indexes.pop()
        other.ingest(event("web", index, [instance("web", index)]))
        if indexes:
            place.once("get", f"snapshots/{HEAD}", "before", overtake)

    # The catalog was read before, the head after: newer than what was read, and another one each time.
    place.once("get", f"snapshots/{HEAD}", "before", overtake)
    done = place.ingest(event("web", 2, [instance("web", status="critical")]))
    assert (indexes, done.warnings, done.failed) == ([], (), {})
    assert place.engine.refresh().era == era
    assert published(place.objects) == rebuilt(place.objects)


def test_a_config_overtaken_before_its_heads_are_published_names_none_of_them() -> None:
    place = Place()
    place.configure(sidecar("shop", "web"))
    other = place.another()
    # Read to accept, read to publish; the third time to settle: there the next config is found.
    place.once("get", "config/head", "before", lambda: crashed_after_the_head(other, sidecar("shop", "db")), time=3)
    place.configure(sidecar("shop", "api"))
    assert place.promises.broken == []
    assert published(place.objects) == rebuilt(place.objects)


def test_the_gateways_of_a_datacenter_that_lost_them_meanwhile_name_nothing() -> None:
    place = Place()
    crashed_after_the_head(place.another(), gateway("dc1"))
    other = place.another()
    place.once("put", "manifests/dc1/gateways", "before", lambda: other.delete(registrations=("dc1/gateway/gw",)))
    place.ingest(event("web", 1, [instance("web")]))
    assert place.roster("dc1").retired
    assert place.promises.broken == []


def test_gateways_never_name_a_cluster_of_a_config_that_went_before_its_head_was_published() -> None:
    place = Place()
    place.configure(gateway("dc1"))
    crashed_after_the_head(place.another(), SUBSET)
    other = place.another()

    def take_it_away() -> None:
        other.crash("put", "config/head", "after")
        with pytest.raises(Crash):
            other.delete(("service-resolver", "default", "web"))

    place.ingest(event("api", 1, [instance("api")]))
    place.once("list", "catalog/", "after", take_it_away)
    place.configure()
    assert place.roster("dc1").clusters == ("api.default.dc1",)
    assert place.promises.broken == []


@pytest.mark.parametrize("time", [1, 2])
def test_gateways_that_are_registered_again_meanwhile_do_not_lose_what_they_share(time: int) -> None:
    place = Place()
    place.configure(gateway("dc1"))
    place.ingest(event("api", 1, [instance("api")]))
    other = place.another()
    place.once("get", "manifests/dc1/gateways", "before", lambda: other.configure(gateway("dc1")), time=time)
    place.delete(registrations=("dc1/gateway/gw",))
    assert place.roster("dc1").clusters == ("api.default.dc1",)
    assert place.promises.broken == []


def test_an_event_that_began_before_a_reconcile_is_not_taken_for_something_left_over() -> None:
    place = Place()
    place.configure(gateway("dc1"))
    place.configure(resolver("db"))
    other = place.another()
    # The service appears between the looks at what is there and at what should be.
    for key in ("snapshots/", "manifests/", "catalog/"):
        appears = event(key[:3], 1, [instance(key[:3])])
        other.once("list", key, "after", partial(place.ingest, appears))
        reconcile(other.engine)
    assert place.roster("dc1").clusters == ("cat.default.dc1", "man.default.dc1", "sna.default.dc1")
    assert place.promises.broken == []
    assert published(place.objects) == rebuilt(place.objects)


def test_a_manifest_that_a_slow_publisher_of_an_older_config_got_in_before_is_published_all_the_same() -> None:
    place = Place()
    place.configure(sidecar("shop", "web"))
    slow, key = place.another(), "dc1/sidecar/default/shop"
    slow.crash("put", f"manifests/{key}", "before")
    with pytest.raises(Crash):
        slow.configure(sidecar("shop", "api"))
    older = config_in(place.objects).manifests[key]
    place.once("put", f"manifests/{key}", "before", lambda: publish_manifests(slow.engine, {key: older}))
    place.configure(sidecar("shop", "db"))
    assert published(place.objects) == rebuilt(place.objects)
    assert place.promises.broken == []


def test_a_config_accepted_while_another_is_published_is_not_taken_for_published() -> None:
    place = Place()
    place.configure(sidecar("shop", "web"))
    other = place.another()
    # Read to accept, to publish, to settle, and to note that it is published.
    place.once("get", "config/head", "before", lambda: crashed_after_the_head(other, sidecar("shop", "db")), time=4)
    place.configure(sidecar("shop", "api"))
    place.another().configure()
    assert published(place.objects) == rebuilt(place.objects)


def test_a_reconcile_overtaken_by_a_config_names_nothing_that_is_not_published() -> None:
    place = Place()
    place.configure(sidecar("shop", "api"))
    for key in ("snapshots/dc1/sidecar/api.default.dc1", "manifests/dc1/sidecar/default/shop"):
        del place.objects.objects[key]
    writer, other = place.another(), place.another()
    writer.once("list", "catalog/", "after", lambda: crashed_after_the_head(other, sidecar("shop", "db")))
    reconcile(writer.engine)
    assert place.promises.broken == []
    assert published(place.objects) == rebuilt(place.objects)


def test_reconcile_ends_what_no_config_has_and_mends_what_is_damaged() -> None:
    place, elsewhere = Place(), Place()
    elsewhere.configure(SUBSET, sidecar("stray", "api"), gateway("dc3"))
    elsewhere.ingest(event(None, 1, [gateway_instance()]))
    place.configure(resolver("web"), sidecar("shop", "web"))
    place.configure(resolver("db"))
    for key, stored in elsewhere.objects.objects.items():
        if key.startswith(("snapshots/", "manifests/")):
            place.objects.damage(key, stored.data)
    place.objects.damage("manifests/dc1/sidecar/default/shop", b"{")
    place.objects.damage(f"snapshots/{HEAD}", b"\x00")
    done = reconcile(place.engine)
    strays = {"api.default.dc1", "dc1", "v1.web.default.dc3"}
    assert (done.moved, done.manifests, done.retired) == (1, 4, len(strays))
    assert published(place.objects) == rebuilt(place.objects)
    assert reconcile(place.another().engine).repaired == 0


def _overtake(place: Place, steps: int, then: Callable[[], object]) -> Callable[[], bool]:
    """Have `then` happen so many steps after `place` has its config accepted; tells whether it did."""
    left: list[int] = []

    def look(step: Step) -> None:
        if not left and step == Step("put", "config/head", "after"):
            left.append(steps)
        elif left and left[0] > 0:
            left[0] -= 1
            if left[0] == 0:
                then()

    place.at = look
    return lambda: left == [0]


@pytest.mark.parametrize("brings", ["all of it", "only the config"])
@pytest.mark.parametrize(
    ("before", "drop", "back"),
    [
        ([SUBSET, gateway("dc1")], "entry", SUBSET),
        ([sidecar("shop", "api"), gateway("dc1"), gateway("dc2")], "gateway", gateway("dc1")),
        ([resolver("web"), sidecar("shop", "api")], "sidecar", sidecar("shop", "api")),
    ],
    ids=["subsets", "gateways", "a sidecar"],
)
def test_nothing_is_retired_that_a_config_accepted_meanwhile_brings_back(
    before: list[dict[str, object]], drop: str, back: dict[str, object], brings: str
) -> None:
    steps, overtaken = 0, True
    while overtaken:
        steps += 1
        place = Place()
        place.configure(*before)
        place.ingest(event("web", 1, [instance("web")]))
        place.ingest(event(None, 1, [gateway_instance()], dc="dc2"))
        bring = place.another().configure if brings == "all of it" else partial(crashed_after_the_head, place.another())
        was_overtaken = _overtake(place, steps, partial(bring, back))
        if drop == "entry":
            place.delete(("service-resolver", "default", "web"))
        else:
            place.delete(registrations=("dc1/gateway/gw" if drop == "gateway" else "dc1/sidecar/default/shop",))
        overtaken = was_overtaken()
        place.another().configure()
        assert delivered(place.objects) == rendered(place.objects), "published without a reconcile"
        assert place.promises.broken == [], steps
        reconcile(place.engine)
        assert published(place.objects) == rebuilt(place.objects), steps
    assert steps > 20


def test_what_a_config_changed_is_published_though_another_was_accepted_meanwhile() -> None:
    steps, overtaken = 0, True
    while overtaken:
        steps += 1
        place = Place()
        place.configure(sidecar("shop", "api"), gateway("dc1"))
        accept = partial(crashed_after_the_head, place.another(), sidecar("other", "api"))
        was_overtaken = _overtake(place, steps, accept)
        place.configure(resolver("web", Redirect={"Service": "db"}), sidecar("shop", "web"))
        overtaken = was_overtaken()
        place.another().configure()
        assert delivered(place.objects) == rendered(place.objects), steps
        assert place.promises.broken == [], steps
    assert steps > 10


def test_a_reconcile_overtaken_by_a_config_retires_nothing_that_it_brings_back() -> None:
    steps, overtaken = 0, True
    while overtaken:
        steps += 1
        place = Place()
        place.configure(SUBSET, gateway("dc1"))
        place.ingest(event("web", 1, [instance("web")]))
        roster = place.objects.objects["manifests/dc1/gateways"].data
        head = place.objects.objects["snapshots/dc1/gateway/v1.web.default.dc1"].data
        place.delete(("service-resolver", "default", "web"))
        # Both are as they were: somebody restored a part of the store.
        place.objects.restore("manifests/dc1/gateways", roster)
        place.objects.restore("snapshots/dc1/gateway/v1.web.default.dc1", head)
        other, seen = place.another(), [0]

        def bring_back(step: Step, steps: int = steps, seen: list[int] = seen, other: Writer = other) -> None:
            seen[0] += 1
            if seen[0] == steps:
                crashed_after_the_head(other, SUBSET)

        place.at = bring_back
        reconcile(place.engine)
        overtaken = seen[0] >= steps
        assert [each for each in place.promises.broken if "retired while" in each] == [], steps
    assert steps > 20


def test_a_head_that_was_computed_for_a_newer_config_is_not_retired_for_an_older_one() -> None:
    place = Place()
    place.configure(sidecar("shop", "web"))
    place.delete(registrations=("dc1/sidecar/default/shop",))
    place.configure(sidecar("shop", "web"))
    before = place.head(HEAD)
    assert before.provenance.generation == 3
    ended = retire(place.engine, [HEAD], 2)
    assert (ended.marked, ended.failed, ended.raised) == (0, {}, ""), "nor did the store go back"
    assert place.head(HEAD) == before
    assert retire(place.engine, [HEAD], 4).marked == 1


def test_a_head_that_is_retired_while_an_event_is_taken_in_stays_retired() -> None:
    place = Place()
    place.configure(sidecar("shop", "web"))
    place.ingest(event("web", 1, [instance("web")]))
    other, key = place.another(), f"snapshots/{HEAD}"
    # The config was read before it was changed, the head after.
    place.once("get", key, "before", lambda: other.delete(registrations=("dc1/sidecar/default/shop",)))
    place.ingest(event("web", 2, [instance("web", status="critical")]))
    assert place.head(HEAD).retired
    assert published(place.objects) == rebuilt(place.objects)


@pytest.mark.parametrize("meanwhile", [["api"], ["api", "api", "api"]])
def test_a_catalog_write_that_was_lost_is_written_again(meanwhile: list[str]) -> None:
    """Another writer is in between reading and writing, once or several times."""
    place = Place()
    place.configure(sidecar("shop", "api"))
    left = list(range(len(meanwhile)))
    writer = place.another()

    def overtake(step: Step) -> None:
        if left and step == Step("put", "catalog/dc1/service/default/api", "before"):
            number = 2 + left.pop()
            writer.ingest(event("api", number, one=instance("api", number)))

    place.at = overtake
    done = place.ingest(event("api", 9, one=instance("api", 1)))
    assert (left, done.changed) == ([], True)
    numbers = [1, *(2 + each for each in range(len(meanwhile)))]
    catalog = catalogs_in(place.objects)["dc1/service/default/api"]
    assert sorted(each["Service"]["ID"] for each in catalog.visible()) == [f"api-{each}" for each in numbers]
    assert done.revision == catalog.revision
    assert place.head("dc1/sidecar/api.default.dc1").provenance.catalog["dc1/service/default/api"] == catalog.revision
    assert place.promises.broken == []
    assert published(place.objects) == rebuilt(place.objects)
