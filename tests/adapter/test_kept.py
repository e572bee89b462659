"""What was the last known good is on disk: whole or not used, never older than what it was, and no more than needed."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.saved import Saved
from pointsman.discovery.proxy import GatewayId, ProxyId, SidecarId
from pointsman.store import keys
from pointsman.store.sqlite import SQLiteStore
from pointsman.xds.content import compute
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest

from tests.adapter.doubles import Clock, Remote
from tests.adapter.node import MANIFEST, S1, Recorder, manifest
from tests.adapter.published import (
    DATACENTERS,
    TRUST_DOMAIN,
    Publisher,
    content,
    gateway_plans,
    instances,
    sidecar_plan,
)
from tests.fleet.process import wait_until

URL = "s3://bucket/dc1"
HEAD = keys.snapshot(sidecar_plan().key)
S9 = SidecarId("dc1", "default", "s9")
GATEWAY = GatewayId("dc1", "gateway-1")


class Life:
    """One adapter's life: its follower, and what it keeps. `end` is how it ends, `follower` what it serves."""

    def __init__(self, store: Remote, directory: Path, clock: Clock, *proxies: ProxyId, url: str = URL) -> None:
        self.kept = Saved(directory, url, now=clock)
        self.follower = Follower(store, proxies, clock=clock, kept=self.kept)
        self.follower.recall()

    def turn(self) -> set[ProxyId]:
        """Look at the store, and write what is new."""
        changed = self.follower.refresh()
        assert self.kept.flush()
        return changed

    def end(self) -> None:
        """Stop writing: only what was flushed stays, as after a power cut."""
        self.kept._lock.release()

    def serving(self, cluster: str = "s2.default.dc1", proxy: ProxyId = S1) -> str:
        """The datacenter that `proxy` sends to; "" if it has no view."""
        view = self.follower.view(proxy)
        return view.snapshots[cluster].content.active[-3:] if view else ""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where it is kept."""
    return tmp_path / "kept"


def files(directory: Path) -> dict[str, bytes]:
    """By key, the files of what is kept."""
    found = {}
    for path in directory.glob("*.kept"):
        key = path.read_bytes().partition(b'"key":"')[2].partition(b'"')[0].decode()
        found[key] = path.read_bytes()
    return found


def test_it_starts_and_serves_while_the_store_is_away_and_says_for_how_long(
    store: Remote, directory: Path, clock: Clock, published: Publisher
) -> None:
    first = Life(store, directory, clock, S1)
    assert first.turn() == {S1}
    published.head(sidecar_plan(), content(["dc2"]))
    first.turn()
    first.end()
    store.leave()
    clock.now += 3600
    # Nobody says which proxies there are: that is known, too.
    second = Life(store, directory, clock)
    assert second.follower.proxies == {S1}
    assert second.serving() == "dc2"
    assert second.turn() == set()
    assert second.serving("s3.default.dc1") == "dc1"
    assert (second.follower.staleness, second.follower.seen) == (3600, False)
    assert second.follower.unreachable == "store: gone for now"
    published.head(sidecar_plan(), content(["dc3"]))
    store.come_back()
    assert second.turn() == {S1}
    assert second.serving() == "dc3"
    assert (second.follower.staleness, second.follower.seen, second.follower.unreachable) == (0, True, "")


def test_what_is_the_same_in_the_store_is_neither_read_nor_written_again(
    store: Remote, directory: Path, clock: Clock, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Life(store, directory, clock, S1)
    first.turn()
    first.end()
    before = files(directory)
    assert set(before) == {MANIFEST, HEAD, keys.snapshot(sidecar_plan(service="s3").key)}
    second = Life(store, directory, clock)
    read: list[str] = []
    changes = store.changes
    monkeypatch.setattr(
        store, "changes", lambda *asked: (found := changes(*asked), read.extend(each.key for each in found.objects))[0]
    )
    second.turn()
    assert (second.serving(), read) == ("dc1", [])
    # A stamp of newer provenance is no change, and not worth a write.
    body = published.body(HEAD)
    assert body is not None
    published.put(HEAD, body | {"generation": 5})
    second.turn()
    assert read == [HEAD]
    assert files(directory) == before


def test_what_is_on_disk_is_the_floor(
    store: Remote, directory: Path, clock: Clock, published: Publisher, tmp_path: Path
) -> None:
    published.head(sidecar_plan(), content(["dc2"]), version=7)
    first = Life(store, directory, clock, S1)
    first.turn()
    first.end()
    older = Remote(tmp_path / "older.db")
    publisher = Publisher(older)
    for service in ("s2", "s3"):
        publisher.head(sidecar_plan(service=service), content(service=service))
    publisher.manifest(MANIFEST, manifest("s2", "s3"))
    second = Life(older, directory, clock)
    second.turn()
    assert second.serving() == "dc2"
    (problem,) = second.follower.problems(S1)
    assert f"{HEAD} went back in the store, from 7" in problem
    older.close()


@pytest.mark.parametrize("damage", ["torn", "empty", "one byte", "renamed", "nonsense", "not for an Envoy"])
def test_what_is_damaged_is_said_and_not_used_and_the_rest_is(
    store: Remote, directory: Path, clock: Clock, published: Publisher, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    published.manifest(*S9.manifest_keys, manifest("s3"))
    first = Life(store, directory, clock, S1, S9)
    first.turn()
    if damage == "not for an Envoy":
        torn = replace(content(["dc2"]), cluster=content(["dc3"]).cluster)
        body = published.body(HEAD)
        published.head(sidecar_plan(), torn)
        stored = store.get(HEAD)
        assert body
        assert stored
        first.kept.put([stored])
        first.kept.flush()
    first.end()
    store.leave()
    (path,) = (each for each in directory.glob("*.kept") if f'"key":"{HEAD}"'.encode() in each.read_bytes())
    data = path.read_bytes()
    if damage == "torn":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "one byte":
        path.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    elif damage == "renamed":
        path = path.rename(directory / f"{'0' * 64}.kept")
    elif damage == "nonsense":
        path.write_bytes(b"[]\n{}")
    with caplog.at_level(logging.WARNING):
        second = Life(store, directory, clock)
        second.turn()
    assert "not used" in caplog.text
    assert (second.serving(), second.serving("s3.default.dc1", S9)) == ("", "dc1")
    assert not path.exists()
    store.come_back()
    published.head(sidecar_plan(), content(["dc3"]))
    second.turn()
    assert second.serving() == "dc3"
    second.end()
    store.leave()
    third = Life(store, directory, clock)
    assert (third.serving(), third.serving("s3.default.dc1", S9)) == ("dc3", "dc1")


def test_a_crash_while_it_writes_leaves_a_whole_view_old_or_new(
    store: Remote, directory: Path, clock: Clock, published: Publisher
) -> None:
    first = Life(store, directory, clock, S1)
    first.turn()
    first.end()
    published.manifest(MANIFEST, manifest("s3", "s4", generation=2))
    for service in ("s3", "s4"):
        published.head(sidecar_plan(service=service), content(["dc2"], service=service))
    whole = {path.name: path.read_bytes() for path in directory.glob("*.kept")}
    seen = set()
    for deadly in range(6):
        for path in directory.glob("*"):
            if path.name != "lock":
                path.unlink()
        for name, data in whole.items():
            (directory / name).write_bytes(data)
        (directory / "half.kept.new").write_bytes(b"half a fi")
        dying = Saved(directory, URL, operations=Recorder(deadly), now=clock)
        store.come_back()
        follower = Follower(store, clock=clock, kept=dying)
        follower.recall()
        follower.refresh()
        dying.flush()
        dying._lock.release()
        store.leave()
        survivor = Life(store, directory, clock)
        view = survivor.follower.view(S1)
        assert view is not None
        seen.add(tuple(sorted(view.snapshots)))
        survivor.kept.flush()
        assert not list(directory.glob("*.new"))
        survivor.end()
    assert seen == {("s2.default.dc1", "s3.default.dc1"), ("s3.default.dc1", "s4.default.dc1")}


def test_a_manifest_is_kept_when_what_it_names_is_there_and_not_before(
    store: Remote, directory: Path, clock: Clock, published: Publisher
) -> None:
    first = Life(store, directory, clock, S1)
    first.turn()
    published.manifest(MANIFEST, manifest("s2", "s4", generation=2))
    published.head(sidecar_plan(), content(["dc2"]))
    first.turn()
    first.end()
    store.leave()
    second = Life(store, directory, clock)
    # The view is the old one, and what is in it is as new as it was.
    assert (second.serving(), second.serving("s3.default.dc1")) == ("dc2", "dc1")


def test_what_nobody_follows_goes(store: Remote, directory: Path, clock: Clock, published: Publisher) -> None:
    plans = {plan.cluster_id: plan for plan in gateway_plans()}
    for plan in plans.values():
        published.head(plan, compute(plan, instances(DATACENTERS), TRUST_DOMAIN))
    published.manifest(keys.gateways_manifest("dc1"), GatewaysManifest(1, TRUST_DOMAIN, tuple(sorted(plans)), (), ()))
    published.manifest(GATEWAY.manifest_keys[0], GatewayManifest(1, "127.0.0.1", 9000, 0, ""))
    published.manifest(*S9.manifest_keys, manifest("s3"))
    first = Life(store, directory, clock, S1, S9, GATEWAY)
    first.turn()
    assert len(files(directory)) == 2 + 2 + 2 + len(plans)
    # A cluster that no manifest names any more; a proxy that is retired; and, by the next one, who is not asked for.
    published.manifest(MANIFEST, manifest("s3", generation=2))
    published.manifest(*S9.manifest_keys, replace(manifest(generation=2), retired=True))
    for _ in range(2):
        first.turn()
        published.head(sidecar_plan(service="s3"), content(["dc2"], service="s3"))
    first.turn()
    first.end()
    s3 = keys.snapshot(sidecar_plan(service="s3").key)
    gateways = {*GATEWAY.manifest_keys, *(keys.snapshot(plan.key) for plan in plans.values())}
    assert set(files(directory)) == {MANIFEST, s3, *gateways}
    store.leave()
    second = Life(store, directory, clock)
    assert second.follower.proxies == {S1, GATEWAY}
    assert second.follower.view(GATEWAY) is not None
    second.end()
    third = Life(store, directory, clock, S1)
    third.turn()
    assert set(files(directory)) == {MANIFEST, s3, *gateways}, "nothing goes before the store was seen"
    store.come_back()
    third.turn()
    assert set(files(directory)) == {MANIFEST, s3}


def test_what_is_of_another_store_is_not_used(
    store: Remote, directory: Path, clock: Clock, published: Publisher
) -> None:
    first = Life(store, directory, clock, S1)
    first.turn()
    first.end()
    store.leave()
    second = Life(store, directory, clock, url="s3://other")
    assert (second.follower.proxies, second.kept.age) == (set(), None)
    second.turn()
    assert files(directory) == {}


def test_a_full_disk_keeps_nobody_from_being_served(
    store: Remote, directory: Path, clock: Clock, published: Publisher
) -> None:
    full = Recorder(deadly=0)
    kept = Saved(directory, URL, operations=full, now=clock)
    follower = Follower(store, [S1], clock=clock, kept=kept)
    assert follower.refresh() == {S1}
    assert not kept.flush()
    assert "is behind: No space left on device" in kept.problem
    full.deadly = -1
    assert kept.flush()
    assert kept.problem == ""
    assert len(files(directory)) == 3


def test_one_writes_and_the_next_one_goes_on_when_it_ends(
    store: Remote, directory: Path, published: Publisher, tmp_path: Path
) -> None:
    other = SQLiteStore(tmp_path / "store.db")
    with Saved(directory, URL) as first:
        Follower(store, [S1], kept=first).refresh()
        wait_until(lambda: len(files(directory)) == 3, "the first to write")
        second = Saved(directory, URL)
        follower = Follower(other, kept=second)
        assert follower.recall() == {S1}
        with second:
            published.head(sidecar_plan(), content(["dc2"]))
            follower.refresh()
            before = files(directory)
            assert not second.flush()
            assert files(directory) == before
            first.close()
            wait_until(lambda: files(directory)[HEAD] != before[HEAD], "the second to write")
    third = Saved(directory, URL)
    assert Follower(other, kept=third).recall() == {S1}
    third.close()
    other.close()
