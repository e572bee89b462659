"""Retention: superseded objects are removed by number and age, objects in use never are, whatever is written
meanwhile."""

import random
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from pointsman.model.errors import InvalidInput
from pointsman.model.events import HealthEvent
from pointsman.pipeline import retention
from pointsman.pipeline.config import load_root
from pointsman.pipeline.configure import configure, parse_documents, rollback
from pointsman.pipeline.heard import sources
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.load import load_config
from pointsman.pipeline.retention import GRACE_S, Keep, Retention
from pointsman.store.sqlite import SQLiteStore

from tests.pipeline.memory import Step
from tests.pipeline.meshes import Document, alive, engine_on, event, instance, resolver, sidecar
from tests.pipeline.place import Place, Writer

NOTHING = Keep(0, 0, 0)
LONG = 10 * GRACE_S


def version_of_config(number: int) -> list[Document]:
    """The entries of a config that differs from every other one in nothing but what `number` says."""
    return [resolver("web", ConnectTimeout=f"{number + 1}s"), sidecar("front", "web")]


def forget(writer: Writer, keep: Keep = NOTHING) -> Retention:
    return Retention(
        writer.engine,
        history=keep,
        generations=keep,
        clock=lambda: writer.objects.now,
        pause=lambda seconds: None,
    )


def whole(place: Place) -> int:
    """That all which the config head reaches is there, from the oldest generation on; which that is."""
    reader = place.another().engine
    head = reader.refresh()
    root = load_root(reader.objects, head.root)
    while True:
        load_config(reader.objects, root)
        if root.generation <= head.oldest or root.previous is None:
            return root.generation
        root = load_root(reader.objects, root.previous["root"])


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "REMOVED_AT_ONCE", 1)


def test_a_configure_that_found_an_object_which_is_then_removed_writes_it_again(place: Place) -> None:
    place.configure(*version_of_config(0))
    place.configure(*version_of_config(1))
    place.objects.now += LONG
    writer, sweeper = place.another(), place.another()
    gone: list[int] = []
    # Its objects are put, those of generation 1 among them were there already; now it is about to swap the head.
    writer.once("put", "config/head", "before", lambda: gone.append(forget(sweeper).run().config_objects))
    assert writer.configure(*version_of_config(0)).generation == 3
    assert sum(gone) > 1
    assert whole(place) == 2, "generation 3 is whole, and 2 is needed until its consequences are published"


def test_what_a_configure_relies_on_just_before_it_is_removed_stays(place: Place) -> None:
    place.configure(*version_of_config(0))
    place.configure(*version_of_config(1))
    place.objects.now += LONG
    writer, sweeper = place.another(), place.another()
    generations: list[int] = []

    def meanwhile(step: Step) -> None:
        if step.action == "remove" and step.key.startswith("config/objects/") and not generations:
            generations.append(writer.configure(*version_of_config(0)).generation)

    sweeper.at = meanwhile
    assert forget(sweeper).run().config_objects == 0
    assert generations == [3]
    assert whole(place) == 1


def test_what_was_superseded_just_now_stays_however_old_it_is(place: Place) -> None:
    place.configure(*version_of_config(0))
    place.objects.now += LONG
    place.configure(*version_of_config(1))
    assert forget(place).run().config_objects == 0
    place.objects.now += LONG
    assert forget(place).run().config_objects > 0
    assert whole(place) == 2


def test_a_configure_between_two_steps_of_a_removal_ends_it(place: Place, one_at_a_time: None) -> None:
    place.configure(*version_of_config(0))
    place.configure(*version_of_config(1))
    place.objects.now += LONG
    writer, sweeper = place.another(), place.another()
    steps: list[float] = []

    def meanwhile(seconds: float) -> None:
        steps.append(seconds)
        if len(steps) == 1:
            writer.configure(*version_of_config(0))

    removal = Retention(sweeper.engine, generations=NOTHING, clock=lambda: place.objects.now, pause=meanwhile)
    assert removal.run().config_objects == 1, "the second step lost its race"
    whole(place)
    removal.run()
    whole(place)


def test_of_two_who_remove_at_once_the_slower_leaves_it_to_the_other(place: Place) -> None:
    for number in range(4):
        place.configure(*version_of_config(number))
    place.objects.now += LONG
    slow, quick = place.another(), place.another()
    removed: list[int] = []
    slow.once("list", "config/objects/", "after", lambda: removed.append(forget(quick).run().config_objects))
    assert forget(slow).run().config_objects == 0
    assert removed[0] > 1
    assert whole(place) == 4


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_written_when_nothing_that_is_reached_ever_goes(
    place: Place, seed: int, one_at_a_time: None
) -> None:
    chance = random.Random(seed)
    writers = [place.another() for _ in range(3)]
    sweepers = [forget(place.another(), Keep(chance.randrange(2), chance.randrange(4), 90)) for _ in range(2)]
    removed = 0

    def sometimes_sweep(*_: object) -> None:
        nonlocal removed
        if chance.random() < 0.05:
            removed += chance.choice(sweepers).run().config_objects

    for writer in writers:
        writer.at = sometimes_sweep
    for _ in range(25):
        place.objects.now += chance.choice([0, 60, LONG, 100 * 86400])
        writer = chance.choice(writers)
        if chance.random() < 0.3 and (generation := writer.engine.refresh().generation):
            wanted = chance.randrange(generation) + 1
            refused = ""
            try:
                rollback(writer.engine, wanted)
            except InvalidInput as error:
                refused = str(error)
            if refused:
                assert wanted < place.another().engine.refresh().oldest
                assert f"generation {wanted}: is not kept any more; the oldest that is kept is " in refused
        else:
            writer.configure(*version_of_config(chance.randrange(3)))
        if chance.random() < 0.5:
            for sweeper in sweepers:
                removed += sweeper.run().config_objects
        whole(place)
    assert removed


def test_a_lease_that_ended_goes_after_a_day_and_no_other_does(place: Place) -> None:
    place.configure(*version_of_config(1))
    for name in ("gone", "silent", "alive"):
        place.ingest(alive(1, source=name))
    place.ingest(alive(2, source="gone", lease="0s"))
    assert forget(place).run().leases == 0
    place.objects.now += retention.ENDED_LEASE_S + 1
    place.ingest(alive(2, source="alive"))
    assert forget(place).run().leases == 1
    place.ingest(alive(1, source="gone", lease="0s"))
    assert {each.source for each in sources(place.engine)} == {"silent", "alive"}


def test_the_last_generations_stay_and_a_rollback_says_how_far_it_reaches(place: Place) -> None:
    for number in range(30):
        place.configure(*version_of_config(number))
        place.objects.now += GRACE_S / 60
    forget(place, Keep(least=5, most=20, days=1)).run()
    assert whole(place) == 1, "within the grace of an hour all are kept"
    place.objects.now += 2 * GRACE_S
    forget(place, Keep(least=5, most=20, days=1)).run()
    assert whole(place) == 10, "the current one and 20 before it"
    place.objects.now += 2 * 86400
    before = len(place.objects.under("config/objects/"))
    forget(place, Keep(least=5, most=20, days=1)).run()
    assert whole(place) == 25, "the current one and 5 before it"
    assert len(place.objects.under("config/objects/")) < before
    with pytest.raises(InvalidInput, match="generation 24: is not kept any more; the oldest that is kept is 25"):
        rollback(place.engine, 24)
    assert rollback(place.engine, 25).generation == 31


def test_what_is_not_published_yet_stays(place: Place) -> None:
    place.configure(*version_of_config(0))
    stuck = place.another()
    for number in range(1, 4):
        stuck.once("get", "snapshots/dc1/sidecar/web.default.dc1", "before", lambda: (_ for _ in ()).throw(KeyError))
        with pytest.raises(KeyError):
            stuck.configure(*version_of_config(number))
    place.objects.now += LONG
    forget(place).run()
    assert whole(place) == 1, "the generation that is published, and all since"
    place.configure(*version_of_config(9))
    place.objects.now += LONG
    forget(place).run()
    assert whole(place) == 5


def flip(index: int) -> HealthEvent:
    return event("web", index, [instance("web", status="passing" if index % 2 else "critical")])


def test_a_store_that_flips_for_long_stays_as_large_as_what_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    sizes: list[int] = []
    keep = Keep(least=5, most=20, days=90)
    with closing(SQLiteStore(path)) as store:
        engine = engine_on(store)
        configure(engine, parse_documents(version_of_config(0)))
        keeper = Retention(engine, history=keep, pause=lambda seconds: None)
        for round_ in range(6):
            for index in range(round_ * 60, round_ * 60 + 60):
                ingest(engine, flip(index + 1))
            keeper.run()
            with closing(SQLiteStore(path)) as looking:
                history = [listed.key for listed in looking.list("history/")]
            heads = [
                orjson.loads(stored.data)
                for stored in store.get_many(["snapshots/dc1/sidecar/web.default.dc1"]).values()
            ]
            assert len(history) == 20
            assert history[-1].endswith(f"{heads[0]['version'] - 1:010d}"), "the newest ones"
            sizes.append(path.stat().st_size)
    assert sizes[-1] <= max(sizes[:3]) + 4096 * 64
