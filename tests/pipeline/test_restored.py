"""Stores that go back: whatever was restored from a copy, what is published becomes what the store says now."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.model.events import HealthEvent
from pointsman.overview.reading import read_now
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.reconcile import Reconciled, reconcile
from pointsman.store import keys
from pointsman.store.protocol import StoreError, Write, Written

from tests.pipeline.fresh import delivered, published, rebuilt, rendered
from tests.pipeline.interleaving import Interleaving
from tests.pipeline.memory import Connection, MemoryStore, copied
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

SIDECARS, GATEWAYS = "dc1/sidecar/api.default.dc1", "dc1/gateway/api.default.dc1"
CATALOG = "catalog/dc1/service/default/api"
Past = dict[str, list[bytes]]


def api(index: int, status: str, dc: str = "dc1") -> HealthEvent:
    """The statement about the one instance of api."""
    return event("api", index, [instance("api", 1, status)], dc=dc)


@cache
def _lived() -> tuple[MemoryStore, Past]:
    """A mesh that has lived, and by key every version of every object that is ever written over."""
    place, past = Place(), Past()
    place.objects.watchers.append(lambda old, new: past.setdefault(new.key, []).append(new.data))
    failover = {"*": {"Datacenters": ["dc2"]}}
    place.configure(proxy_defaults(mode="local"), resolver("api"), sidecar("web", "api"), gateway("dc1"))
    for dc in ("dc1", "dc2"):
        place.ingest(api(1, "passing", dc))
        place.ingest(event(None, 1, [gateway_instance()], dc=dc))
    place.configure(resolver("api", Failover=failover), sidecar("old", "db"), namespace("team"))
    place.ingest(event("db", 1, [instance("db")]))
    for index, said in enumerate(("critical", "passing", "critical", "passing"), start=2):
        place.ingest(api(index, said))
    place.delete(registrations=("dc1/sidecar/default/old",))
    place.configure(resolver("api", Failover=failover, ConnectTimeout="1s"), sidecar("web", "api", "db"))
    place.configure(sidecar("shop", "db", namespace="team"), gateway("dc1", "gw2"))
    place.ingest(event("cache", 1, [instance("cache")]))
    place.ingest(event(None, 2, [gateway_instance(1), gateway_instance(2)]))
    reconcile(place.engine)
    assert place.promises.broken == []
    mutable = {key: versions for key, versions in past.items() if not key.startswith(("history/", "config/objects/"))}
    return place.objects, mutable


def _earlier() -> list[tuple[str, int | None]]:
    """Every object with every version that it had before; None: it was not there yet. The config head always was."""
    _, past = _lived()
    return [
        (key, version)
        for key, versions in sorted(past.items())
        for version in [
            *([] if key == keys.CONFIG_HEAD else [None]),
            *range(len(versions) - 1),
        ]
    ]


def _restored(choice: Sequence[tuple[str, int | None]]) -> MemoryStore:
    store, past = _lived()
    restored = copied(Connection(store))
    restored.sequence = store.sequence
    for key, version in choice:
        if version is None:
            restored.objects.pop(key, None)
        else:
            restored.restore(key, past[key][version])
    return restored


def _as_the_store_says(store: MemoryStore, engine: Engine) -> Reconciled:
    """Reconcile, and look whether all is as a fresh computation has it, and stays so."""
    done = reconcile(engine)
    assert done.failed == ()
    assert published(store) == rebuilt(store)
    assert delivered(store) == rendered(store)
    again = reconcile(engine_on(Connection(store)))
    assert (again.repaired, again.failed, again.warnings) == (0, (), ())
    return done


def _ids(choice: tuple[str, int | None]) -> str:
    return f"{choice[0]} {'not there' if choice[1] is None else choice[1]}"


@pytest.mark.parametrize("one", _earlier(), ids=_ids)
def test_one_object_back_at_an_earlier_revision_holds_up_nothing(one: tuple[str, int | None]) -> None:
    store = _restored([one])
    _as_the_store_says(store, engine_on(Connection(store)))
    store = _restored([one])
    done = Place(store).ingest(api(9, "critical"))
    assert done.failed == {}
    _as_the_store_says(store, engine_on(Connection(store)))


@settings(deadline=None)
@given(st.data())
def test_whatever_is_restored_all_becomes_what_the_store_says_now(data: st.DataObject) -> None:
    choice = data.draw(st.lists(st.sampled_from(_earlier()), max_size=8, unique_by=lambda each: each[0]))
    store = _restored(choice)
    place = Place(store)
    if data.draw(st.booleans()):  # a process that knew the store before
        known, _ = _lived()
        place.connection.objects = known
        place.engine.refresh()
        place.connection.objects = store
    events = [api(9, "critical"), api(10, "passing"), event("db", 2, []), event(None, 3, [], dc="dc2")]
    for each in data.draw(st.lists(st.sampled_from(events), max_size=3)):
        done = place.ingest(each)
        assert done.failed == {}
        for head in (*done.moved, *done.stamped, *done.stood):
            key = keys.source_of(CATALOG) if each.service and each.service.name == "api" else ""
            if key in place.head(head.plan_key).provenance.catalog:
                assert place.head(head.plan_key).provenance.catalog[key] >= done.revision, "acknowledged is covered"
    _as_the_store_says(store, place.engine)


def test_pairs_of_objects_as_well() -> None:
    _, past = _lived()
    several = [key for key, versions in past.items() if len(versions) > 1]
    for one, other in list(combinations(sorted(several), 2))[::3]:
        store = _restored([(one, 0), (other, 0)])
        _as_the_store_says(store, engine_on(Connection(store)))


def test_a_catalog_that_is_back_is_told_of_once_and_the_store_gets_a_new_epoch() -> None:
    store = _restored([(CATALOG, 2)])
    place = Place(store)
    before = place.engine.refresh()
    done = place.ingest(api(9, "critical"))
    (warning,) = done.warnings
    assert "its catalog dc1/service/default/api is older (revision 4) than what was published (5)" in warning
    assert warning.startswith("the store went back: dc1/")
    after = place.engine.refresh()
    assert after.era.identity == before.era.identity
    assert after.era.epoch > before.era.epoch
    assert after.generation == before.generation
    assert place.head(SIDECARS).era == after.era
    assert place.head(SIDECARS).content.active == "api.default.dc2"

    assert reconcile(place.engine).warnings == ()
    for key, stored in store.under("snapshots/").items():
        head = place.head(keys.plan_of(key))
        assert head.retired or head.era == after.era, stored
    for key in store.under("manifests/"):
        manifest = place.manifest(keys.proxy_of(key))
        assert manifest.retired or manifest.era == after.era


@pytest.mark.parametrize(
    ("lost", "named"), [("dc1/service/default/db", "default/db"), ("dc2/gateways", "dc2")], ids=["service", "gateways"]
)
@pytest.mark.parametrize("verb", ["reconcile", "a change of namespaces"])
def test_gateways_that_name_what_has_no_catalog_any_more_tell_that_the_store_went_back(
    lost: str, named: str, verb: str
) -> None:
    place = Place()
    place.configure(gateway("dc1"))
    place.ingest(event("db", 1, [instance("db")]))
    place.ingest(event(None, 1, [gateway_instance()], dc="dc2"))
    assert (place.roster("dc1").services, place.roster("dc1").datacenters) == (("default/db",), ("dc2",))
    before = place.engine.refresh().era
    del place.objects.objects[f"catalog/{lost}"]
    place.ingest(event("new", 1, [instance("new")]))
    if verb == "reconcile":
        (warning,) = reconcile(place.engine).warnings
    else:
        (warning,) = place.configure(namespace("team")).settled.warnings
    assert f"manifests/dc1/gateways: it names {named}, of which there is no catalog any more" in warning
    assert place.engine.refresh().era.epoch > before.epoch
    assert named not in (*place.roster("dc1").services, *place.roster("dc1").datacenters)
    _as_the_store_says(place.objects, place.engine)


def test_a_config_that_is_back_is_what_counts() -> None:
    store = _restored([(keys.CONFIG_HEAD, 3)])
    place = Place(store)
    was = place.engine.refresh()
    done = _as_the_store_says(store, place.engine)
    assert done.warnings
    assert all("the config is older" in each or "its config is older" in each for each in done.warnings)
    assert place.engine.refresh().generation == was.generation
    assert place.engine.refresh().era.epoch > was.era.epoch


def test_a_manifest_of_a_later_config_than_there_is_tells_it_though_every_head_is_as_it_was() -> None:
    place = Place()
    place.configure(resolver("api"), sidecar("web", "api"))
    old = place.objects.objects[keys.CONFIG_HEAD]
    place.configure(sidecar("web", {"DestinationName": "api", "LocalBindPort": 9999}))
    place.objects.restore(keys.CONFIG_HEAD, old.data)
    engine = place.another().engine
    (warning,) = reconcile(engine).warnings
    assert (
        "manifests/dc1/sidecar/default/web: the config is older (generation 1) than what was published (2)" in warning
    )
    _as_the_store_says(place.objects, engine)


def test_a_process_that_knew_a_later_config_takes_the_one_that_is_there() -> None:
    place = Place()
    place.configure(resolver("api"), sidecar("web", "api"))
    old = place.objects.objects[keys.CONFIG_HEAD]
    place.configure(sidecar("web", "db"), sidecar("shop", "db"))
    place.objects.restore(keys.CONFIG_HEAD, old.data)
    assert place.configure(sidecar("late", "api")).generation == 2
    assert list(place.engine.config(place.engine.root).manifests) == [
        "dc1/sidecar/default/late",
        "dc1/sidecar/default/web",
    ]
    _as_the_store_says(place.objects, place.engine)


def test_a_config_that_goes_back_while_a_later_one_is_published_is_published_itself() -> None:
    place = Place()
    place.configure(resolver("api"), sidecar("web", "api"))
    old = place.objects.objects[keys.CONFIG_HEAD]

    def restore() -> None:
        place.objects.restore(keys.CONFIG_HEAD, old.data)

    place.once("put", "manifests/dc1/sidecar/default/shop", "after", restore)
    place.configure(sidecar("shop", "db"))
    head = place.engine.refresh()
    assert (head.generation, head.propagated) == (1, 1)
    assert place.another().configure(sidecar("late", "api")).generation == 2
    assert "manifests/dc1/sidecar/default/late" in place.objects.objects
    _as_the_store_says(place.objects, place.engine)


def test_a_lost_config_head_is_not_taken_for_an_empty_store() -> None:
    store, _ = _lived()
    store = copied(Connection(store))
    known = Place(store)
    known.engine.refresh()
    del store.objects[keys.CONFIG_HEAD]
    for place in (known, Place(store)):
        before = dict(store.objects)
        for verb in (lambda at: at.ingest(api(9, "critical")), lambda at: at.configure(sidecar("x", "api"))):
            with pytest.raises(
                StoreError, match=r"config/head is missing, though manifests/\S+ was published: restore"
            ):
                verb(place)  # type: ignore[no-untyped-call]
        assert store.objects == before


class ReadOnlyConfig(Connection):
    """One that may not write the config head."""

    def put(self, write: Write) -> Written:
        """Refused for the config head."""
        if write.key == keys.CONFIG_HEAD:
            raise StoreError(f"{write.key}: access denied: allow it")
        return super().put(write)


def test_a_snapshot_that_is_gone_is_told_by_the_status_and_published_anew_by_a_reconcile() -> None:
    place = Place(copied(Connection(_lived()[0])))
    key = keys.snapshot(SIDECARS)
    before = published(place.objects)
    del place.objects.objects[key]

    def why() -> str:
        return next(each.why for each in read_now(place.engine).resolvers if each.cluster == "api.default.dc1")

    assert why().startswith("its snapshot is gone from the store: run `pointsman reconcile`")
    reconcile(place.engine)
    assert published(place.objects) == before
    assert "gone" not in why()


def test_where_the_epoch_cannot_be_raised_only_what_is_behind_fails_and_says_why() -> None:
    store = _restored([(CATALOG, 3)])
    engine = engine_on(ReadOnlyConfig(store))
    done = reconcile(engine)
    stuck = [line for line in done.failed if line.startswith(f"{SIDECARS}: ")]
    assert len(stuck) == 1
    assert "is older (revision " in stuck[0]
    assert "Was the store restored?" in stuck[0]
    assert "access denied" in stuck[0]
    assert not [line for line in done.failed if "db.default" in line]


def test_what_two_pasts_have_published_under_one_provenance_is_noticed() -> None:
    # One event brings the revision to where it was before the store went back.
    store = _restored([(CATALOG, 3)])
    place = Place(store)
    known = place.head(SIDECARS).provenance
    done = place.ingest(event("api", 9, [instance("api", 1, address="10.1.0.77")]))
    assert known.catalog["dc1/service/default/api"] == done.revision
    assert len(done.warnings) == 1
    assert "is not what they come to" in done.warnings[0]
    assert {head.plan_key for head in done.moved} == {SIDECARS, GATEWAYS}
    _as_the_store_says(store, place.engine)


@pytest.mark.parametrize("seed", range(40))
def test_many_who_find_out_at_once_raise_the_epoch_together(seed: int) -> None:
    random = Random(seed)
    store = _restored(random.sample(_earlier(), random.randint(1, 4)))
    interleaving = Interleaving(seed)
    engines = [engine_on(Connection(store, interleaving.step, Random(random.random()))) for _ in range(3)]
    verbs: list[Callable[[], object]] = [partial(reconcile, engine) for engine in engines]
    verbs += [partial(ingest, engines[n], api(9 + n, random.choice(["critical", "passing"]))) for n in range(3)]
    verbs += [partial(configure, engines[0], parse_documents([sidecar("late", "api")]))]
    tasks = [interleaving.add(str(verb), verb) for verb in random.sample(verbs, 4)]
    interleaving.run()
    for task in tasks:
        assert task.error is None
    _as_the_store_says(store, engine_on(Connection(store)))
