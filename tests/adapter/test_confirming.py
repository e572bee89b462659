"""Never back on hearsay, always to what the store itself says now: what is read for that, how often, with which effect.

What follows for Envoys is in the tests of each way to fetch.
"""

import itertools
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from pointsman.adapter.follow.confirming import GAP_S, MOST_KEYS, Meeting
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.saved import Saved
from pointsman.adapter.report.resets import MOST_KNOWN, Resets
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.version import Stamp, Standing, Version, joined, standing
from pointsman.model.era import Era, era_json
from pointsman.store import keys
from pointsman.xds.manifest import manifest_json
from pointsman.xds.snapshot import snapshot_json

from tests.adapter.doubles import Clock, Remote
from tests.adapter.node import MANIFEST, S1, manifest
from tests.adapter.published import Publisher, content, sidecar_plan, snapshot

HEAD, OTHER = keys.snapshot(sidecar_plan().key), keys.snapshot(sidecar_plan(service="s3").key)
ALL = {MANIFEST, HEAD, OTHER}


class Adapter:
    """A follower of the sidecar of s1, whose thread is the test: what changed, and which meetings are over."""

    def __init__(self, store: Remote, clock: Clock, kept: Saved | None = None) -> None:
        self.store, self.clock = store, clock
        self.follower = Follower(store, [S1], clock=clock, kept=kept)
        self.changed: list[set[ProxyId]] = []
        self.over: list[str] = []
        self.follower.recall()
        self.follower.refresh()

    def meet(self, what: str, *clusters: str) -> None:
        """An Envoy is ahead in these clusters, in all that it has if none are named."""
        self.clock.now += 0.001
        self.follower.meet(Meeting(S1, frozenset(clusters) or None, what, lambda: self.over.append(what)))

    def confirm(self) -> list[frozenset[str]]:
        """One round: what was read for it."""
        self.store.confirmed.clear()
        self.follower.confirm(self.changed.append)
        return self.store.confirmed.copy()

    def serving(self, cluster: str = "s2.default.dc1") -> str:
        """The datacenter that s1 sends to."""
        view = self.follower.view(S1)
        assert view is not None
        return view.snapshots[cluster].content.active[-3:]


@pytest.fixture
def adapter(store: Remote, published: Publisher, clock: Clock) -> Adapter:
    """One that has what is published: s2 and s3, served by dc1."""
    return Adapter(store, clock)


def test_whoever_is_ahead_has_the_store_read_once_for_all_of_them_and_once_a_second(adapter: Adapter) -> None:
    for number in range(200):
        adapter.meet(f"Envoy {number}")
    assert adapter.follower.ahead == [f"Envoy {number}" for number in range(200)]
    assert adapter.confirm() == [ALL]
    assert (len(adapter.over), adapter.follower.ahead) == (200, [])
    # The next one was met after that reading: it takes another, and that has to wait.
    adapter.meet("late")
    assert (adapter.confirm(), adapter.over[200:]) == ([], [])
    adapter.clock.now += GAP_S
    adapter.meet("later", "s2.default.dc1")
    assert adapter.confirm() == [ALL]
    assert adapter.over[200:] == ["late", "later"]
    adapter.clock.now += GAP_S
    adapter.meet("in one cluster", "s2.default.dc1")
    assert adapter.confirm() == [{MANIFEST, HEAD}]
    adapter.clock.now += GAP_S
    assert adapter.confirm() == []
    assert adapter.follower.resets.all() == []


def test_what_the_store_has_newer_is_taken_and_nobody_speaks_of_a_reset(
    adapter: Adapter, published: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    published.head(sidecar_plan(), content(["dc2"]))
    adapter.meet("Envoy")
    adapter.confirm()
    assert (adapter.serving(), adapter.changed, adapter.over) == ("dc2", [{S1}], ["Envoy"])
    assert (adapter.follower.refresh(), adapter.follower.resets.total, caplog.text) == (set(), 0, "")


def test_a_restored_store_is_followed_back_at_once_and_that_is_said_once_for_each_object(
    adapter: Adapter, store: Remote, published: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    saved = store.backup()
    for datacenter in ("dc2", "dc3", "dc2", "dc3", "dc2"):
        published.head(sidecar_plan(), content([datacenter]))
    published.head(sidecar_plan(service="s4"), content(service="s4"))
    published.manifest(MANIFEST, manifest("s2", "s4", generation=2))
    adapter.follower.refresh()
    store.restore(saved)
    assert (adapter.follower.refresh(), adapter.serving()) == (set(), "dc2")
    assert sum("went back in the store" in line for line in adapter.follower.problems(S1)) == 2
    with caplog.at_level(logging.WARNING):
        assert adapter.confirm() == [{MANIFEST, HEAD}]
    assert (adapter.serving(), adapter.changed, adapter.follower.problems(S1)) == ("dc1", [{S1}], ())
    assert (
        f"reset: {HEAD} went from 6 (serial 6, epoch 0 of no store) to 1 (serial 1, epoch 0 of no store)" in caplog.text
    )
    assert (
        f"reset: {MANIFEST} went from 2 (serial 2, epoch 0 of no store) to 1 (serial 1, epoch 0 of no store)"
        in caplog.text
    )
    assert [each["what"] for each in adapter.follower.resets.all()] == [MANIFEST, HEAD]
    # From there it goes on, also under numbers that were used before.
    published.head(sidecar_plan(), content(["dc3"]))
    assert (adapter.follower.refresh(), adapter.serving(), adapter.confirm()) == ({S1}, "dc3", [])


def test_another_content_under_a_number_that_was_taken_is_the_stores_to_decide(
    adapter: Adapter, store: Remote, published: Publisher
) -> None:
    saved = store.backup()
    published.head(sidecar_plan(), content(["dc2"]))
    adapter.follower.refresh()
    store.restore(saved)
    published.head(sidecar_plan(), content(["dc3"]))
    assert (adapter.follower.refresh(), adapter.serving()) == (set(), "dc2")
    assert "is another in the store than here" in adapter.follower.problems(S1)[0]
    adapter.confirm()
    assert (adapter.serving(), adapter.follower.resets.total) == ("dc3", 1)


@pytest.mark.parametrize(
    ("era", "at_once", "resets"),
    [
        (Era("b" * 16, 2000), True, 0),
        (Era("a" * 16, 2000), True, 0),
        (Era("a" * 16, 500), False, 2),
        (Era("b" * 16, 1000), False, 2),
    ],
    ids=["made anew", "recovered", "an older one", "another one of the same second"],
)
def test_an_epoch_counts_before_any_number_and_another_store_of_the_same_epoch_is_the_stores_to_decide(
    tmp_path: Path, clock: Clock, era: Era, at_once: bool, resets: int
) -> None:
    store = Remote(tmp_path / "store.db")
    publisher = Publisher(store, Era("a" * 16, 1000))
    for _ in range(5):
        publisher.head(sidecar_plan(), content(["dc1"]))
    publisher.manifest(MANIFEST, manifest("s2", generation=7))
    adapter = Adapter(store, clock)
    publisher.era = era
    publisher.put(MANIFEST, manifest_json(manifest("s2")) | era_json(era), serial=1)
    publisher.put(HEAD, snapshot_json(snapshot(content(["dc2"]), 1)) | era_json(era), serial=1)
    changed = adapter.follower.refresh()
    assert (changed == {S1}, adapter.serving() == "dc2") == (at_once, at_once)
    adapter.confirm()
    assert (adapter.serving(), adapter.follower.resets.total, adapter.follower.problems(S1)) == ("dc2", resets, ())
    store.close()


def test_the_order_of_what_many_objects_make_grows_while_one_after_the_other_comes_to_a_new_epoch() -> None:
    old, new = Era("a" * 16, 1000), Era("b" * 16, 2000)
    steps: list[tuple[Era, Stamp, list[tuple[Era, int]]]] = [
        (old, (50, 3), [(old, 90), (old, 7)]),
        (old, (50, 3), [(old, 90), (old, 8)]),
        (old, (50, 3), [(new, 1), (old, 8)]),
        (new, (1, 0), [(new, 1), (old, 8)]),
        (new, (1, 0), [(new, 1), (new, 1)]),
        (new, (1, 0), [(new, 2), (new, 1)]),
    ]
    made = [joined(era, at, numbers) for era, at, numbers in steps]
    versions = [Version((*at, number), str(each), era) for each, (era, at, number) in enumerate(made)]
    for earlier, later in itertools.pairwise(versions):
        assert standing(later, earlier) is Standing.NEWER
        assert standing(earlier, later) is Standing.OLDER


@pytest.mark.parametrize("kind", ["missing", "unfit", "away"])
def test_what_the_store_does_not_say_leaves_everything_and_whoever_is_ahead_goes_on_waiting(
    adapter: Adapter, store: Remote, published: Publisher, kind: str
) -> None:
    sound = published.body(HEAD)
    assert sound
    adapter.meet("Envoy", "s2.default.dc1")
    if kind == "missing":
        store.lost = {HEAD}
    elif kind == "unfit":
        published.garbage(HEAD, b"{}")
    else:
        store.leave()
    for _ in range(3):
        adapter.confirm()
        adapter.clock.now += GAP_S
    said = {"missing": "is not in the store any more", "unfit": "is not fit for use", "away": ""}[kind]
    assert "".join(adapter.follower.problems(S1)).count(said) >= 1
    assert (adapter.serving(), adapter.over, adapter.follower.ahead) == ("dc1", [], ["Envoy"])
    store.lost = set()
    store.come_back()
    if kind == "unfit":
        published.garbage(HEAD, b'{"serial": 1}')
        published.put(HEAD, sound, serial=3)
    adapter.follower.refresh()
    adapter.confirm()
    assert (adapter.over, adapter.follower.problems(S1)) == (["Envoy"], ())


def test_an_envoy_of_what_the_store_does_not_name_completely_keeps_what_it_has(
    adapter: Adapter, store: Remote, published: Publisher
) -> None:
    published.manifest(MANIFEST, manifest("s2", "s9", generation=2))
    adapter.meet("Envoy")
    for _ in range(3):
        adapter.confirm()
        adapter.clock.now += GAP_S
    assert adapter.over == []
    published.head(sidecar_plan(service="s9"), content(service="s9"))
    adapter.follower.refresh()
    adapter.confirm()
    assert adapter.over == ["Envoy"]
    # A retired registration takes nothing away either.
    adapter.meet("another")
    published.manifest(MANIFEST, replace(manifest(generation=3), retired=True))
    for _ in range(3):
        adapter.clock.now += GAP_S
        adapter.confirm()
    assert (adapter.follower.view(S1), adapter.over) == (None, ["Envoy"])


def test_what_is_read_meanwhile_in_another_way_is_not_undone_by_a_slow_confirming_read(
    adapter: Adapter, store: Remote, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter.meet("Envoy")
    read = store.get_many

    def slow(keys: list[str]) -> object:
        found = read(keys)
        published.head(sidecar_plan(), content(["dc2"]))
        adapter.follower.refresh()
        return found

    monkeypatch.setattr(store, "get_many", slow)
    adapter.confirm()
    assert (adapter.serving(), adapter.over) == ("dc2", [])
    monkeypatch.setattr(store, "get_many", read)
    adapter.clock.now += GAP_S
    assert adapter.confirm() == [{HEAD}]
    assert (adapter.serving(), adapter.over, adapter.follower.resets.total) == ("dc2", ["Envoy"], 0)


def test_a_reading_has_a_bound_and_what_is_beyond_follows(store: Remote, clock: Clock, publisher: Publisher) -> None:
    names = [f"s{number}" for number in range(2, MOST_KEYS + 2)]
    text = snapshot_json(snapshot(content(service="s2")))
    for name in names:
        publisher.garbage(keys.snapshot(sidecar_plan(service=name).key), b"{}")
    publisher.put(HEAD, text)
    publisher.manifest(MANIFEST, manifest(*names))
    adapter = Adapter(store, clock)
    adapter.meet("Envoy")
    assert [len(each) for each in adapter.confirm()] == [MOST_KEYS]
    assert [len(each) for each in adapter.confirm()] == [1]


@pytest.mark.parametrize("story", ["restored", "made anew"])
def test_what_is_kept_on_disk_goes_back_with_the_store_too(
    store: Remote, published: Publisher, clock: Clock, tmp_path: Path, story: str
) -> None:
    def life() -> tuple[Adapter, Saved]:
        kept = Saved(tmp_path / "kept", "s3://bucket", now=clock)
        return Adapter(store, clock, kept), kept

    saved = store.backup()
    for datacenter in ("dc2", "dc3", "dc2", "dc3", "dc2"):
        published.head(sidecar_plan(), content([datacenter]))
    first, kept = life()
    assert (first.serving(), kept.flush()) == ("dc2", True)
    kept.close()
    if story == "restored":
        store.restore(saved)
    else:
        store.close()
        (tmp_path / "store.db").unlink()
        store = Remote(tmp_path / "store.db")
        anew = Publisher(store)
        for service in ("s2", "s3"):
            anew.head(sidecar_plan(service=service), content(["dc1"], service=service))
        anew.manifest(MANIFEST, manifest("s2", "s3"))
    second, kept = life()
    assert second.serving() == "dc2"
    second.confirm()
    assert (second.serving(), second.follower.problems(S1), kept.flush()) == ("dc1", (), True)
    kept.close()
    store.leave()
    third, kept = life()
    assert third.serving() == "dc1"
    kept.close()


def test_resets_are_counted_once_each_and_a_bound_number_is_remembered(caplog: pytest.LogCaptureFixture) -> None:
    resets = Resets()
    for _ in range(3):
        for number in range(MOST_KNOWN):
            resets.note(f"object {number}", "from 7 to 5")
    assert (resets.total, len(caplog.records)) == (MOST_KNOWN, MOST_KNOWN)
    resets.note("one more", "from 7 to 5")
    assert resets.all()[-1]["what"] == "one more"
    assert len(resets.all()) < MOST_KNOWN
