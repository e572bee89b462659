"""Ingest: an event is durable first, then every head that it touches covers it, then it is acknowledged."""

from collections.abc import Sequence

import orjson
import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pointsman.pipeline import settle as settling
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.moved import Moved
from pointsman.pipeline.reconcile import reconcile
from pointsman.store import keys
from pointsman.store.protocol import StoreUnavailable
from pointsman.xds.snapshot import Snapshot

from tests.pipeline.fresh import published, rebuilt
from tests.pipeline.memory import Crash, Fault
from tests.pipeline.meshes import (
    engine_on,
    event,
    gateway,
    gateway_instance,
    instance,
    namespace,
    proxy_defaults,
    resolver,
    sidecar,
)
from tests.pipeline.place import Place

HEAD = "dc1/sidecar/web.default.dc1"
CATALOG = "dc1/service/default/web"
WELL, ILL = event("web", 1, [instance("web")]), event("web", 2, [instance("web", status="critical")])
ILL_ONES = [instance("web", status="critical")]
WELL_AGAIN = event("web", 3, [instance("web")])
ELSEWHERE = event("web", 1, [instance("web", 2)], dc="dc2")


@pytest.fixture
def place() -> Place:
    """Sidecars of `api` in dc1 talk to `web`, which fails over to dc2; it is well in both."""
    place = Place()
    place.configure(
        proxy_defaults(mode="remote"),
        resolver("web", Failover={"*": {"Datacenters": ["dc2"]}}),
        sidecar("api", "web"),
    )
    for each in (WELL, ELSEWHERE, event(None, 1, [gateway_instance()], dc="dc2")):
        place.ingest(each)
    place.forget_the_past()
    return place


def test_the_catalog_is_written_before_anything_is_read_to_compute_with(place: Place) -> None:
    place.ingest(ILL)
    seen = [(step.action, step.key) for step in place.steps if step.moment == "after"]
    written = seen.index(("put", f"catalog/{CATALOG}"))
    assert ("get", f"snapshots/{HEAD}") not in seen[:written]
    for key in ("config/head", f"snapshots/{HEAD}", f"catalog/{CATALOG}", "catalog/dc2/service/default/web"):
        assert ("get", key) in seen[written:]
    assert seen.index(("put", f"snapshots/{HEAD}")) > max(i for i, step in enumerate(seen) if step[0] == "get")


def test_an_event_takes_four_round_trips_when_nobody_contends(place: Place) -> None:
    done = place.ingest(ILL)
    assert place.calls() == ["get_many", "put_many", "get_many", "put_many"]
    assert [moved.version for moved in done.moved] == [3] == [place.head(HEAD).version]
    assert place.head(HEAD).content.active == "web.default.dc2"
    assert place.told == [(HEAD, 3)]


def test_the_last_instance_going_from_unhealthy_to_gone_and_back_is_a_change(place: Place) -> None:
    place.ingest(event("web", 2, [], dc="dc2"))
    ill, gone, back = (
        (place.ingest(each), place.head(HEAD)) for each in (ILL, event("web", 3, []), event("web", 4, ILL_ONES))
    )
    for done, _ in (ill, gone, back):
        assert done.changed
        assert len(done.moved) == 1
    assert [(head.content.active, len(addresses(head))) for _, head in (ill, gone, back)] == [
        ("web.default.dc1", 1),
        ("web.default.dc1", 0),
        ("web.default.dc1", 1),
    ]


def addresses(head: Snapshot) -> list[str]:
    assignment = ClusterLoadAssignment.FromString(head.content.assignment)
    (group,) = assignment.endpoints
    return [each.endpoint.address.socket_address.address for each in group.lb_endpoints]


def test_and_six_when_it_loses_a_race(place: Place) -> None:
    other = place.another()
    place.once("put", f"snapshots/{HEAD}", "before", lambda: other.ingest(event("web", 5, [], dc="dc2")))
    place.ingest(ILL)
    assert place.calls() == ["get_many", "put_many", *["get_many", "put_many"], "get_many"]
    assert place.head(HEAD).provenance.catalog[CATALOG] == 2


def test_what_nothing_changed_of_is_not_computed_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.ingest(ILL)
    computed: list[str] = []
    real = settling.compute
    monkeypatch.setattr(settling, "compute", lambda plan, *more: (computed.append(plan.key), real(plan, *more))[1])
    assert [each.version for each in place.ingest(ILL).stood] == [3]
    assert computed == []
    place.configure(resolver("web", ConnectTimeout="9s", Failover={"*": {"Datacenters": ["dc2"]}}))
    assert computed == [HEAD], "of a plan that is another"
    place.ingest(event("web", 9, [], dc="dc2"))
    place.ingest(event("web", 9, [], dc="dc2"))
    assert computed == [HEAD] * 2, "of a catalog that is another"
    assert published(place.objects) == rebuilt(place.objects)


def test_an_event_that_comes_again_writes_nothing_and_tells_all_the_same(place: Place) -> None:
    place.ingest(ILL)
    place.forget_the_past()
    again = place.another().engine
    told: list[Moved] = []
    again.notify = told.extend
    done = ingest(again, ILL)
    assert (done.changed, done.moved, [each.version for each in done.stood]) == (False, [], [3])
    assert place.writes() == []
    assert [(each.plan_key, each.version) for each in told] == [(HEAD, 3)]
    assert told[0].data == place.objects.objects[f"snapshots/{HEAD}"].data


def test_what_no_envoy_could_see_makes_no_version_and_no_notice_but_is_stamped(place: Place) -> None:
    place.ingest(event("web", 2, [instance("web", output="took 3 ms")]))
    assert place.told == []
    assert (place.head(HEAD).version, place.head(HEAD).provenance.catalog[CATALOG]) == (2, 2)
    assert list(place.objects.under(f"history/{HEAD}/")) == [keys.history(HEAD, place.engine.era, 1)]


def test_an_event_whose_notice_fails_is_not_acknowledged_and_tells_when_it_comes_again(place: Place) -> None:
    def fail(moved: Sequence[Moved]) -> None:
        raise StoreUnavailable("the topic is away")

    tell, place.engine.notify = place.engine.notify, fail
    with pytest.raises(StoreUnavailable):
        place.ingest(ILL)
    # Meanwhile another event is in the catalog, whose settling is still to come: the head will only be stamped.
    other = place.another()
    other.at = Fault(16, "crash")
    with pytest.raises(Crash):
        other.ingest(event("web", 3, [instance("web", status="critical", output="still")]))
    assert orjson.loads(place.objects.objects[f"catalog/{CATALOG}"].data)["revision"] == 3
    assert place.head(HEAD).provenance.catalog[CATALOG] == 2
    place.engine.notify = tell
    place.ingest(ILL)
    assert place.told == [(HEAD, 3)]


def test_an_event_from_before_any_config_waits_in_the_catalog() -> None:
    place = Place()
    done = place.ingest(WELL)
    assert (done.revision, done.changed, done.moved, done.stood) == (1, True, [], [])
    assert list(place.objects.objects) == [f"catalog/{CATALOG}"]
    assert not place.ingest(WELL).changed
    place.configure(sidecar("api", "web"))
    assert place.head(HEAD).provenance.catalog == {CATALOG: 1}
    assert published(place.objects) == rebuilt(place.objects)


def test_an_event_for_a_namespace_that_is_created_later_takes_effect_then() -> None:
    place = Place()
    place.configure(gateway("dc1"), sidecar("api", "web"))
    place.ingest(event("web", 1, [instance("web")], namespace="team"))
    assert place.roster("dc1").clusters == ()
    created = place.configure(namespace("team")).generation
    assert place.roster("dc1").clusters == ("web.team.dc1",)
    assert place.head("dc1/gateway/web.team.dc1").provenance.generation == created
    assert b"10.1.0.1" in place.head("dc1/gateway/web.team.dc1").content.assignment
    place.forget_the_past()
    place.ingest(event("web", 2, [], namespace="team"))
    assert place.calls() == ["get_many", "put_many", "get_many", "put_many"], "the gateways know it already"


@pytest.mark.parametrize(
    ("action", "key", "moment"),
    [
        ("put", f"catalog/{CATALOG}", "before"),
        ("put", f"catalog/{CATALOG}", "after"),
        ("get", "config/head", "after"),
        ("get", f"snapshots/{HEAD}", "before"),
        ("put", f"snapshots/{HEAD}", "before"),
        ("put", f"snapshots/{HEAD}", "after"),
    ],
)
def test_a_config_written_in_the_middle_of_an_event_is_not_undone(
    place: Place, action: str, key: str, moment: str
) -> None:
    other = place.another()
    failing_over_to_dc3 = resolver("web", Failover={"*": {"Datacenters": ["dc3"]}})
    place.once(action, key, moment, lambda: other.configure(failing_over_to_dc3, sidecar("db", "web")))  # type: ignore[arg-type]
    place.ingest(ILL)
    head = place.head(HEAD)
    assert (head.provenance.generation, head.provenance.catalog[CATALOG]) == (2, 2)
    assert [each.id for each in head.content.targets] == ["web.default.dc1", "web.default.dc3"]
    assert published(place.objects) == rebuilt(place.objects)
    assert place.promises.broken == []


def test_a_slow_computation_that_comes_late_does_not_undo_a_newer_one(place: Place) -> None:
    other = place.another()
    place.once("put", f"snapshots/{HEAD}", "before", lambda: other.ingest(WELL_AGAIN))
    done = place.ingest(ILL)
    head = place.head(HEAD)
    assert head.content.active == "web.default.dc1"
    assert (head.version, head.provenance.catalog[CATALOG]) == (2, 3), "stamped: the very content that it had before"
    assert (done.moved, [each.version for each in done.stood]) == ([], [2])
    assert other.told == []


def test_two_events_that_each_know_what_the_other_does_not_end_in_what_both_know(place: Place) -> None:
    other = place.another()
    place.once(
        "put", f"catalog/{CATALOG}", "after", lambda: other.ingest(event("web", 2, [instance("web", 3)], dc="dc2"))
    )
    place.ingest(ILL)
    head = place.head(HEAD)
    assert (head.provenance.catalog[CATALOG], head.provenance.catalog["dc2/service/default/web"]) == (2, 2)
    assert published(place.objects) == rebuilt(place.objects)


def test_a_damaged_head_is_replaced_by_a_version_that_no_envoy_has_seen(place: Place) -> None:
    versions = place.head(HEAD).version
    for damage in (b"", b"\xff\xfe", b'{"version": 3}', b"[]", b"null"):
        # The history has expired, so that it tells nothing of how far the versions came.
        for key in place.objects.under("history/"):
            del place.objects.objects[key]
        place.objects.damage(f"snapshots/{HEAD}", damage)
        place.another().ingest(WELL)
        assert place.head(HEAD).version > versions
        versions = place.head(HEAD).version
        assert place.head(HEAD).content.active == "web.default.dc1"


def test_a_new_process_with_nothing_in_its_memory_publishes_no_emptiness(place: Place) -> None:
    before = published(place.objects)
    other = place.another()
    other.ingest(WELL)
    other.ingest(event("web", 2, [instance("web", 2)], dc="dc2"))
    assert set(other.told) == {(HEAD, 2)}, "the version that stands"
    assert published(place.objects) == before
    assert reconcile(place.another().engine).repaired == 0


@pytest.mark.parametrize(("count", "rounds"), [(200, 1), (300, 2)])
def test_a_catalog_that_hundreds_of_plans_read_settles_all_of_them(count: int, rounds: int) -> None:
    place = Place()
    place.configure(
        *[resolver(f"s{n}", Failover={"*": {"Service": "web"}}) for n in range(count)],
        sidecar("api", *[f"s{n}" for n in range(count)]),
    )
    place.ingest(event("web", 0, []))
    place.forget_the_past()
    done = place.ingest(WELL)
    assert len(done.moved) == count == len(place.told)
    assert all(
        stored.data.count(b'"dc1/service/default/web":1') for stored in place.objects.under("snapshots/").values()
    )
    assert place.calls() == ["get_many", "put_many", *["get_many", "put_many"] * rounds]


def test_an_event_is_never_too_large_to_be_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.pipeline.settle.BATCH", 1)
    place = Place()
    place.configure(sidecar("api", *[f"s{n}" for n in range(100)]), proxy_defaults(mode="local"))
    place.configure(*[resolver(f"s{n}", Failover={"*": {"Datacenters": ["dc2"]}}) for n in range(100)])
    assert len(place.ingest(event(None, 1, [gateway_instance()])).moved) == 0, "a primary in place has no gateways"
    for number in range(100):
        place.ingest(event(f"s{number}", 1, [instance(f"s{number}")], dc="dc2"))
    assert len(place.ingest(event(None, 2, [gateway_instance(2)])).moved) == 100


def test_only_the_plans_that_read_the_catalog_are_touched(place: Place) -> None:
    place.configure(*[sidecar(f"a{n}", f"b{n}") for n in range(50)])
    place.forget_the_past()
    place.ingest(ILL)
    assert sorted(place.writes()) == [
        f"catalog/{CATALOG}",
        keys.history(HEAD, place.engine.era, 2),
        f"snapshots/{HEAD}",
    ]


def test_gateways_know_a_service_from_its_first_event_and_another_datacenter_from_its_first_gateway() -> None:
    place = Place()
    place.configure(gateway("dc1"), gateway("dc2"))
    assert place.roster("dc1").clusters == place.roster("dc2").clusters == ()
    place.ingest(event("web", 1, [instance("web")]))
    assert place.roster("dc1").clusters == ("web.default.dc1",)
    assert place.roster("dc2").clusters == ()
    place.ingest(event(None, 1, [gateway_instance()], dc="dc3"))
    assert place.roster("dc1").clusters == ("dc3", "web.default.dc1")
    assert place.roster("dc2").clusters == place.roster("dc2").datacenters == ("dc3",)
    assert place.promises.broken == []
    assert sorted(place.told) == [("dc1/gateway/dc3", 1), ("dc1/gateway/web.default.dc1", 1), ("dc2/gateway/dc3", 1)]


def test_gateways_that_come_later_find_what_was_there_before_them() -> None:
    place = Place()
    place.configure(resolver("web", Subsets={"v1": {"Filter": "Service.Meta.version == v1"}}))
    place.ingest(event("web", 1, [instance("web")]))
    place.ingest(event(None, 1, [gateway_instance()], dc="dc2"))
    place.configure(gateway("dc1"))
    assert place.roster("dc1").clusters == ("dc2", "v1.web.default.dc1", "web.default.dc1")
    assert place.promises.broken == []
    assert published(place.objects) == rebuilt(place.objects)
    place.configure(gateway("dc1", "gw2"))
    assert place.roster("dc1").generation == 2, "a second gateway shares what the first one has"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_gateways_registered_in_the_middle_of_a_first_event_know_the_service(moment: str) -> None:
    place = Place()
    place.configure(sidecar("api", "db"))
    other = place.another()
    place.once("put", f"catalog/{CATALOG}", moment, lambda: other.configure(gateway("dc1")))  # type: ignore[arg-type]
    place.ingest(WELL)
    assert place.roster("dc1").clusters == ("web.default.dc1",)
    assert place.promises.broken == []


def test_a_store_that_is_away_for_a_while_loses_no_event(place: Place) -> None:
    failed = 0
    for at in range(1, 40):
        place.at = Fault(at, "away", lasting=3)
        number = event("web", 10 + at, [instance("web", 1 + at % 9)])
        try:
            place.ingest(number)
        except StoreUnavailable:
            failed += 1
            place.at = lambda step: None
            place.ingest(number)
        assert f"10.1.0.{1 + at % 9}".encode() in place.head(HEAD).content.assignment
    assert failed > 15, "it was away"
    assert place.promises.broken == []
    assert engine_on(place.connection).root.generation == 0
