"""Configure: a batch is accepted as a whole and published, or refused as a whole and nothing is changed."""

from typing import Any

import orjson
import pytest
from pointsman.model.errors import InvalidInput
from pointsman.pipeline import rosters
from pointsman.pipeline.configure import Batch, Configured, configure, parse_documents, rollback
from pointsman.pipeline.reconcile import reconcile
from pointsman.store import keys

from tests.pipeline.fresh import config_in, published, rebuilt
from tests.pipeline.meshes import (
    Document,
    defaults,
    event,
    gateway,
    gateway_instance,
    instance,
    namespace,
    proxy_defaults,
    resolver,
    router,
    sidecar,
    splitter,
)
from tests.pipeline.place import Place

SUBSETS = {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"Filter": "Service.Meta.version == v2"}}
RESOLVER = ("service-resolver", "default", "web")

EVERYTHING: list[Document] = [
    proxy_defaults("http", "remote"),
    namespace("team"),
    defaults("web", Protocol="http", MeshGateway={"Mode": "local"}, Meta={"owner": "me"}),
    resolver(
        "web",
        Subsets={"v1": {"Filter": "Service.Meta.version == v1", "OnlyPassing": True}, "v2": {}},
        DefaultSubset="v1",
        ConnectTimeout="1m30s",
        RequestTimeout="250ms",
        Failover={"v1": {"ServiceSubset": "v2"}, "*": {"Service": "api", "Datacenters": ["dc2", "dc3"]}},
        LoadBalancer={
            "Policy": "ring_hash",
            "RingHashConfig": {"MinimumRingSize": 2048},
            "HashPolicies": [{"Field": "cookie", "FieldValue": "c", "CookieConfig": {"TTL": "5s", "Path": "/"}}],
        },
    ),
    resolver("api", Failover={"*": {"Targets": [{"Datacenter": "dc2"}, {"Service": "db", "Namespace": "team"}]}}),
    resolver("old", Redirect={"Service": "web", "ServiceSubset": "v2", "Datacenter": "dc2"}),
    resolver("db", namespace="team", Partition="default"),
    splitter("api", {"Weight": 33.33, "Service": "web"}, {"Weight": 66.67, "Service": "api"}),
    router(
        "web",
        {
            "Match": {
                "HTTP": {
                    "PathPrefix": "/a",
                    "Header": [{"Name": "x-a", "Regex": "a+", "Invert": True}],
                    "QueryParam": [{"Name": "q", "Present": True}],
                    "Methods": ["get", "PUT"],
                }
            },
            "Destination": {
                "Service": "api",
                "PrefixRewrite": "/",
                "RequestTimeout": "3s",
                "NumRetries": 3,
                "RetryOnConnectFailure": True,
                "RetryOnStatusCodes": [503],
            },
        },
    ),
    sidecar(
        "shop",
        {
            "DestinationName": "web",
            "Datacenter": "dc2",
            "MeshGateway": {"Mode": "none"},
            "Config": {"protocol": "http2", "connect_timeout_ms": 700},
            "LocalBindAddress": "127.0.0.2",
        },
        {"DestinationName": "db", "DestinationNamespace": "team"},
        mode="local",
        namespace="team",
    ),
    gateway("dc1"),
    gateway("dc2")
    | {
        "Service": {
            "Kind": "mesh-gateway",
            "ID": "gw:2",
            "Address": "10.9.0.2",
            "Port": 8443,
            "TaggedAddresses": {"wan": {"Address": "203.0.113.2", "Port": 443}},
            "Meta": {"rack": "7"},
            "Proxy": {"Config": {"connect_timeout_ms": 900, "access_log_path": "/var/log/gw"}},
        }
    },
]


def state(place: Place) -> tuple[Any, ...]:
    """All that a batch may change."""
    return {key: stored.data for key, stored in place.objects.objects.items() if "objects" not in key}, len(place.told)


def test_a_batch_is_judged_as_the_state_that_it_ends_in() -> None:
    together = [
        resolver("web", Redirect={"Service": "api", "ServiceSubset": "v1"}),
        resolver("api", namespace="default", Subsets=SUBSETS),
        resolver("db", namespace="team"),
        sidecar("shop", "web", namespace="team"),
        namespace("team"),
    ]
    for alone in (together[0], together[2], together[3]):
        place = Place()
        with pytest.raises(InvalidInput):
            place.configure(alone)
        assert place.objects.under("config/head") == {}
    for order in (together, together[::-1]):
        place = Place()
        assert place.configure(*order).generation == 1
        assert place.manifest("dc1/sidecar/team/shop").clusters == ("web.team.dc1",)  # type: ignore[union-attr]


def test_a_batch_with_problems_is_refused_with_all_of_them_and_changes_nothing() -> None:
    place = Place()
    place.configure(resolver("web", Subsets=SUBSETS), sidecar("shop", "web"))
    before = state(place)
    documents = [
        resolver("ok"),
        resolver("one", DefaultSubset="none"),
        resolver("two", Failover={"*": {"Service": "web", "ServiceSubset": "v1"}}, Redirect={"Service": "web"}),
        {"Kind": "service-resolver", "Name": "Three"},
        sidecar("four", {"DestinationName": "web", "LocalBindPort": 0}),
        resolver("ok"),
    ]
    with pytest.raises(InvalidInput) as refused:
        place.configure(*documents)
    told = str(refused.value)
    assert all(name in told for name in ('"one"', '"two"', '"Three"', "four", 'resolver "ok": occurs twice'))
    batch = parse_documents([resolver("a", Redirect={"Service": "web", "ServiceSubset": "v9"}), resolver("b")])
    with pytest.raises(InvalidInput) as refused:
        configure(
            place.engine,
            Batch(
                batch.entries,
                parse_documents([sidecar("x", "web", namespace="nowhere")]).registrations,
                [("service-resolver", "default", "gone"), ("service-resolver", "default", "b")],
                ["dc9/sidecar/default/gone"],
            ),
        )
    assert len(refused.value.problems) == 5, refused.value.problems
    assert state(place) == before


def test_of_two_writers_who_are_each_right_and_jointly_wrong_only_one_wins() -> None:
    place = Place()
    place.configure(resolver("web", Subsets=SUBSETS), sidecar("shop", "api"))
    other = place.another()
    takes_away = resolver("web", Subsets={"v2": SUBSETS["v2"]})
    needs = resolver("api", Redirect={"Service": "web", "ServiceSubset": "v1"})
    place.once("put", "config/head", "before", lambda: other.configure(needs))
    with pytest.raises(InvalidInput, match="v1"):
        place.configure(takes_away)
    config = config_in(place.objects)
    assert config.root.generation == 2
    assert [entry.name for entry in config.entries] == ["api", "web"]
    assert config.plans["dc1/sidecar/v1.web.default.dc1"].generation == 2


def test_two_writers_of_different_things_both_win() -> None:
    place = Place()
    other = place.another()
    place.once("put", "config/head", "before", lambda: other.configure(resolver("api"), sidecar("db", "api")))
    assert place.configure(resolver("web"), sidecar("shop", "web")).generation == 2
    assert list(config_in(place.objects).manifests) == ["dc1/sidecar/default/db", "dc1/sidecar/default/shop"]
    assert place.promises.broken == []
    assert published(place.objects) == rebuilt(place.objects)


def test_everything_that_can_be_written_can_be_read_back_and_is_then_unchanged() -> None:
    place = Place()
    assert place.configure(*EVERYTHING, trust_domain="mesh.example").changed
    before = state(place)
    for writer in (place, place.another()):
        done = writer.configure(*EVERYTHING)
        assert (done.generation, done.changed) == (1, False)
    assert state(place) == before
    for document in EVERYTHING:
        assert not place.another().configure(document).changed, document
    assert published(place.objects) == rebuilt(place.objects)
    assert reconcile(place.another().engine).repaired == 0
    with pytest.raises(InvalidInput, match="belongs to"):
        place.another().configure(resolver("web"), trust_domain="other.example")


def test_what_did_not_change_keeps_its_generation_and_its_versions() -> None:
    place = Place()
    place.configure(resolver("web", Subsets=SUBSETS), sidecar("shop", "web", "api"), gateway("dc1"))
    place.ingest(event("web", 1, [instance("web")]))
    kept = {key: stored.data for key, stored in place.objects.under("snapshots/").items()}
    manifest = place.manifest("dc1/sidecar/default/shop")
    assert place.configure(resolver("api", ConnectTimeout="1s")).generation == 2
    now = {key: stored.data for key, stored in place.objects.under("snapshots/").items()}
    assert {key for key in now if now[key] != kept[key]} == {"snapshots/dc1/sidecar/api.default.dc1"}
    assert place.manifest("dc1/sidecar/default/shop") == manifest
    for reader in (place, place.another()):
        reader.engine.refresh()
        plans = reader.engine.config(reader.engine.root).plans
        assert {key: entry.generation for key, entry in plans.items() if entry.generation != 1} == {
            "dc1/sidecar/api.default.dc1": 2
        }


def test_only_what_changed_is_written_however_much_there_is() -> None:
    place = Place()
    count = 300
    place.configure(
        *[resolver(f"s{n}", Failover={"*": {"Datacenters": ["dc2"]}}) for n in range(count)],
        *[sidecar(f"app{n}", f"s{n}") for n in range(count)],
    )
    place.forget_the_past()
    place.configure(resolver("s7", Failover={"*": {"Datacenters": ["dc2", "dc3"]}}))
    writes = [key.split("/")[0] for key in place.writes()]
    # One bucket of entries and one of plans, the index buckets of at most three catalogs, the root; the head twice.
    assert writes.count("config") <= 1 + 1 + 3 + 1 + 2
    assert [key for key in place.writes() if not key.startswith("config/")] == [
        "snapshots/dc1/sidecar/s7.default.dc1",
        keys.history("dc1/sidecar/s7.default.dc1", place.engine.era, 1),
    ]
    assert len(place.calls()) <= 12, place.calls()


def test_a_change_of_everything_is_published_many_at_a_time() -> None:
    place = Place()
    count = 300
    place.configure(
        *[resolver(f"s{n}", Failover={"*": {"Datacenters": ["dc2"]}}) for n in range(count)],
        *[sidecar(f"app{n}", f"s{n}") for n in range(count)],
    )
    place.forget_the_past()
    place.configure(proxy_defaults("http", "local"))
    assert sum(key.startswith("snapshots/") for key in place.writes()) == count
    assert sum(key.startswith("manifests/") for key in place.writes()) == count
    assert len(place.calls()) <= 16, place.calls()
    place.forget_the_past()
    reconcile(place.engine)
    assert len(place.calls()) <= 16, place.calls()
    assert place.writes() == []
    place.delete(registrations=tuple(f"dc1/sidecar/default/app{n}" for n in range(count)))
    assert published(place.objects) == {}


def test_gateways_pass_on_no_more_services_than_a_bound_and_it_is_told_which_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rosters, "MOST_PASSED_ON", 2)
    place = Place()
    place.configure(gateway("dc1"))
    failed = {name: place.ingest(event(name, 1, [instance(name)])).failed for name in ("web", "api", "db")}
    assert [list(each) for each in failed.values()] == [[], [], ["dc1/gateway/db.default.dc1"]]
    assert "do not forward to db.default.dc1: they already forward to 2" in str(
        failed["db"]["dc1/gateway/db.default.dc1"]
    )
    assert place.roster("dc1").clusters == ("api.default.dc1", "web.default.dc1"), "first come, first served"
    assert [each.partition(":")[0] for each in reconcile(place.engine).failed] == ["dc1/gateway/db.default.dc1"]
    for number in (2, 3, 4):
        place.ingest(event(None, 1, [gateway_instance()], dc=f"dc{number}"))
    assert place.roster("dc1").datacenters == ("dc2", "dc3")
    monkeypatch.setattr(rosters, "MOST_PASSED_ON", 3)
    assert reconcile(place.engine).failed == ()
    assert place.roster("dc1").services == ("default/api", "default/db", "default/web")
    assert place.promises.broken == []


def test_a_dry_run_says_what_would_be_and_does_nothing() -> None:
    place = Place()
    place.configure(resolver("web"), sidecar("shop", "web"))
    before = dict(place.objects.objects)
    assert place.configure(resolver("web", ConnectTimeout="2s"), dry_run=True).changed
    assert not place.configure(resolver("web"), dry_run=True).changed
    with pytest.raises(InvalidInput):
        place.configure(resolver("web", DefaultSubset="v9"), dry_run=True)
    assert place.objects.objects == before


def test_whoever_has_a_name_changes_and_deletes_only_what_is_new_or_its_own() -> None:
    place = Place()

    def write(owner: str, *documents: Document, **more: Any) -> Configured:
        return configure(place.engine, parse_documents(documents, owner=owner), **more)

    def owners() -> dict[str, str]:
        config = config_in(place.objects)
        return {each.name: each.owner for each in config.entries} | {
            key: each.owner for key, each in config.registrations.items()
        }

    shop, web = sidecar("shop", "web"), resolver("web")
    assert write("agent", shop, gateway("dc1")).generation == 1
    assert write("", web).generation == 2
    held = {"web": "", "dc1/sidecar/default/shop": "agent", "dc1/gateway/gw": "agent"}
    assert owners() == held
    # What says nothing new changes nothing, whoever says it.
    assert not write("agent", shop, web).changed
    assert not write("team-a", shop).changed
    # A name does not change what is another's, nor what has none: the whole batch is refused.
    other = sidecar("shop", "web", "db")
    for owner, document, whose in (
        ("agent", resolver("web", ConnectTimeout="1s"), "was written without an owner"),
        ("team-a", other, 'belongs to "agent"'),
        ("team-a", shop | {"Owner": "agent"}, 'is "agent", and the batch is written as "team-a"'),
        ("Team A", shop, "is not a lower-case DNS label"),
        ("", shop | {"Owner": "Team A"}, "is not a lower-case DNS label"),
    ):
        with pytest.raises(InvalidInput, match=whose):
            write(owner, resolver("new"), document)
    with pytest.raises(InvalidInput, match='belongs to "agent", so "team-a" does not change it'):
        configure(place.engine, Batch(delete_registrations=["dc1/gateway/gw"], owner="team-a"))
    assert owners() == held
    # Its own it changes and deletes.
    assert write("agent", other).generation == 3
    configure(place.engine, Batch(delete_registrations=["dc1/gateway/gw"], owner="agent"))
    # Without a name everything can be written: it is taken over once, no snapshot moves, and it stays taken over.
    taken = write("", other)
    assert (taken.generation, taken.settled.moved) == (5, [])
    assert not write("agent", other).changed
    with pytest.raises(InvalidInput, match="without an owner"):
        write("agent", shop)
    assert owners() == {"web": "", "dc1/sidecar/default/shop": ""}
    # A document that names its owner keeps it: so what `list --json` prints is restored as it was.
    write("", shop | {"Owner": "agent"}, web | {"Owner": "team-a"})
    assert owners() == {"web": "team-a", "dc1/sidecar/default/shop": "agent"}
    assert rollback(place.engine, 5).generation == 7
    assert owners() == {"web": "", "dc1/sidecar/default/shop": ""}


def test_a_rollback_is_a_new_generation_that_says_what_the_old_one_said() -> None:
    place = Place()
    place.configure(resolver("web", ConnectTimeout="1s"), sidecar("shop", "web"), gateway("dc1"))
    first = published(place.objects)
    place.configure(resolver("web", ConnectTimeout="2s"), resolver("api"), sidecar("db", "api"))
    place.delete(RESOLVER, registrations=("dc1/gateway/gw",))
    versions = place.head("dc1/sidecar/web.default.dc1").version
    writer = place.another()
    # Somebody else writes while the rollback is computed: it still ends in the old generation and nothing else.
    writer.once("put", "config/head", "before", lambda: place.configure(resolver("late"), sidecar("late", "db")))
    assert rollback(writer.engine, 1).generation == 5
    assert published(place.objects) == first == rebuilt(place.objects)
    assert place.head("dc1/sidecar/web.default.dc1").version == versions + 1
    assert not rollback(place.engine, 5).changed
    with pytest.raises(InvalidInput, match="history"):
        rollback(place.engine, 9)
    assert place.promises.broken == []


DELETIONS: dict[str, tuple[list[Document], tuple[str, str, str], str]] = {
    "the resolver whose subset another one redirects to": (
        [resolver("web", Subsets=SUBSETS), resolver("api", Redirect={"Service": "web", "ServiceSubset": "v1"})],
        RESOLVER,
        "v1",
    ),
    "the protocol that a splitter needs": (
        [defaults("web", Protocol="http"), splitter("web", {"Weight": 100})],
        ("service-defaults", "default", "web"),
        "http",
    ),
    "the mesh's protocol that a splitter needs": (
        [proxy_defaults("http"), splitter("web", {"Weight": 100})],
        ("proxy-defaults", "default", "global"),
        "http",
    ),
    "a namespace with an entry in it": (
        [namespace("team"), resolver("web", namespace="team")],
        ("namespace", "default", "team"),
        "team",
    ),
    "a namespace that an entry elsewhere refers to": (
        [namespace("team"), resolver("web", Failover={"*": {"Namespace": "team"}})],
        ("namespace", "default", "team"),
        "team",
    ),
    "a namespace with a sidecar in it": (
        [namespace("team"), sidecar("shop", namespace="team")],
        ("namespace", "default", "team"),
        "team",
    ),
    "a namespace that an upstream names": (
        [namespace("team"), sidecar("shop", {"DestinationName": "web", "DestinationNamespace": "team"})],
        ("namespace", "default", "team"),
        "team",
    ),
}


@pytest.mark.parametrize("name", DELETIONS)
def test_what_others_need_is_not_deleted(name: str) -> None:
    documents, key, told = DELETIONS[name]
    place = Place()
    place.configure(*documents)
    with pytest.raises(InvalidInput, match=told):
        place.delete(key)
    assert config_in(place.objects).root.generation == 1


def test_what_nobody_needs_any_more_is_retired_and_comes_back_above_its_old_version() -> None:
    place = Place()
    documents = [resolver("web", Subsets=SUBSETS), sidecar("shop", "web"), gateway("dc1")]
    place.configure(*documents)
    place.ingest(event("web", 1, [instance("web")]))
    place.delete(RESOLVER, registrations=("dc1/sidecar/default/shop", "dc1/gateway/gw"))
    assert published(place.objects).keys() == {"snapshots/dc1/gateway/web.default.dc1"}
    reconcile(place.engine)
    assert published(place.objects) == {}
    assert place.manifest("dc1/sidecar/default/shop").retired
    assert place.manifest("dc1/gateway/gw").retired
    assert place.roster("dc1").retired
    before = {key: orjson.loads(each.data)["version"] for key, each in place.objects.under("snapshots/").items()}
    place.configure(*documents)
    after = {key: orjson.loads(each.data)["version"] for key, each in place.objects.under("snapshots/").items()}
    assert after == {key: version + 1 for key, version in before.items()}
    assert published(place.objects) == rebuilt(place.objects)
    assert place.promises.broken == []
