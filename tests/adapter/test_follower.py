"""What proxies should have is complete, never goes back, and never gets less for want of data."""

import random
import threading
from collections.abc import Mapping
from dataclasses import replace

import orjson
import pytest
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.running import follow
from pointsman.discovery.proxy import GatewayId, SidecarId, proxy_of
from pointsman.discovery.view import View
from pointsman.store import keys
from pointsman.store.protocol import Changes, Stored, StoreError, StoreUnavailable
from pointsman.xds.content import compute
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest, SidecarManifest
from pointsman.xds.snapshot import snapshot_json

from tests.adapter.doubles import Clock, Remote
from tests.adapter.published import (
    DATACENTERS,
    TRUST_DOMAIN,
    Publisher,
    content,
    gateway_plans,
    instances,
    sidecar_plan,
    snapshot,
)
from tests.fleet.process import wait_until

S1 = SidecarId("dc1", "default", "s1")
S9 = SidecarId("dc1", "default", "s9")
GATEWAY = GatewayId("dc1", "gateway-1")
S2, S3 = "s2.default.dc1", "s3.default.dc1"


def manifest(*clusters: str, generation: int = 1) -> SidecarManifest:
    return SidecarManifest(generation, clusters, ())


@pytest.fixture
def follower(store: Remote, clock: Clock) -> Follower:
    """A follower of the sidecar of s1."""
    return Follower(store, [S1], clock=clock)


@pytest.fixture
def published(publisher: Publisher) -> Publisher:
    """The store has s2, which the sidecars of s1 and of s9 receive."""
    publisher.head(sidecar_plan(), content())
    for service in ("s1", "s9"):
        publisher.manifest(keys.manifest(f"dc1/sidecar/default/{service}"), manifest(S2))
    return publisher


def view_of(follower: Follower, proxy: SidecarId | GatewayId = S1) -> View:
    view = follower.view(proxy)
    assert view is not None
    return view


def active(follower: Follower, proxy: SidecarId = S1, cluster: str = S2) -> str:
    return view_of(follower, proxy).snapshots[cluster].content.active[-3:]


def test_a_view_follows_the_heads_that_its_manifest_names(follower: Follower, published: Publisher) -> None:
    assert follower.refresh() == {S1}
    assert (active(follower), follower.refresh()) == ("dc1", set())
    published.head(sidecar_plan(), content(["dc2"]))
    assert follower.refresh() == {S1}
    assert active(follower) == "dc2"

    published.head(sidecar_plan(service="s3"), content(service="s3"))
    published.manifest(*S1.manifest_keys, manifest(S2, S3, generation=2))
    assert follower.refresh() == {S1}
    assert set(view_of(follower).snapshots) == {S2, S3}
    published.head(sidecar_plan(service="s3"), content(["dc3"], service="s3"))
    assert follower.refresh() == {S1}
    assert active(follower, cluster=S3) == "dc3"

    published.manifest(*S1.manifest_keys, manifest(S3, generation=3))
    assert follower.refresh() == {S1}
    assert set(view_of(follower).snapshots) == {S3}


def test_only_what_the_proxies_need_is_read_and_a_head_is_read_once_for_all_of_them(
    store: Remote, published: Publisher
) -> None:
    for number in range(20):
        published.head(sidecar_plan(service=f"other-{number}"), content(service=f"other-{number}"))
    follower = Follower(store, [S1, S9])
    assert follower.refresh() == {S1, S9}
    assert view_of(follower, S1).snapshots[S2] is view_of(follower, S9).snapshots[S2]
    published.head(sidecar_plan(), content(["dc2"]))
    assert follower.refresh() == {S1, S9}
    assert view_of(follower, S1).snapshots[S2] is view_of(follower, S9).snapshots[S2]
    needed = {keys.snapshot(sidecar_plan().key), *S1.manifest_keys, *S9.manifest_keys}
    assert frozenset().union(*store.asked) == needed
    assert store.listed == []


def test_a_stamp_of_newer_provenance_is_no_change(follower: Follower, published: Publisher) -> None:
    follower.refresh()
    before = view_of(follower)
    body = published.body(keys.snapshot(sidecar_plan().key))
    assert body is not None
    published.put(keys.snapshot(sidecar_plan().key), body | {"generation": 5, "sentence": "counted again"})
    assert follower.refresh() == set()
    assert view_of(follower) is before


def test_a_view_is_complete_or_the_one_before_stays_and_is_kept_up(follower: Follower, published: Publisher) -> None:
    follower.refresh()
    published.manifest(*S1.manifest_keys, manifest(S2, S3, generation=2))
    assert follower.refresh() == set()
    assert set(view_of(follower).snapshots) == {S2}
    assert follower.problems(S1) == (f"snapshots/dc1/sidecar/{S3} is named by the manifest and missing",)
    # The failover of what is there does not wait for what is not.
    published.head(sidecar_plan(), content(["dc2"]))
    assert follower.refresh() == {S1}
    assert active(follower) == "dc2"
    published.head(sidecar_plan(service="s3"), content(service="s3"))
    assert follower.refresh() == {S1}
    assert set(view_of(follower).snapshots) == {S2, S3}
    assert follower.problems(S1) == ()


UNFIT = {
    "no JSON": b"\xff{",
    "no object": b"[]",
    "nothing in it": b"{}",
    "no serial": b'{"version": 2}',
    "nonsense in it": b'{"serial": 2, "version": "two", "cluster": 7}',
}


@pytest.mark.parametrize("key", [keys.snapshot(sidecar_plan().key), *S1.manifest_keys])
@pytest.mark.parametrize("unfit", UNFIT)
def test_what_cannot_be_read_changes_nothing_and_is_told(
    follower: Follower, published: Publisher, key: str, unfit: str
) -> None:
    follower.refresh()
    before, sound = view_of(follower), published.body(key)
    assert sound is not None
    published.garbage(key, UNFIT[unfit])
    assert follower.refresh() == set()
    assert view_of(follower) is before
    (problem,) = follower.problems(S1)
    assert problem.startswith(f"{key} is not fit for use")
    published.garbage(key, b'{"serial": 1}')
    published.put(key, sound, serial=3)
    follower.refresh()
    assert follower.problems(S1) == ()


def test_a_planted_head_is_not_delivered_and_the_last_good_one_stays(follower: Follower, published: Publisher) -> None:
    follower.refresh()
    before = view_of(follower)
    torn = replace(content(["dc2"]), cluster=content(["dc3"]).cluster)
    published.head(sidecar_plan(), torn)
    assert follower.refresh() == set()
    assert view_of(follower) is before
    (problem,) = follower.problems(S1)
    assert "has SNI" in problem
    assert "what was there before stays (1)" in problem
    published.head(sidecar_plan(), content(["dc3"]))
    assert follower.refresh() == {S1}
    assert active(follower) == "dc3"


@pytest.mark.parametrize("key", [keys.snapshot(sidecar_plan().key), *S1.manifest_keys])
def test_what_somebody_took_away_stays_as_it_was_and_is_told_until_it_is_back(
    follower: Follower, store: Remote, published: Publisher, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    follower.refresh()
    before = view_of(follower)
    store.lost = {key}
    for _ in range(3):
        assert follower.refresh() == set()
    assert view_of(follower) is before
    assert follower.problems(S1) == (f"{key} is not in the store any more; what was there before stays (1)",)
    assert [each.getMessage() for each in caplog.records] == list(follower.problems(S1)), "a line, not one each time"
    # The others' changes are no less followed.
    published.head(sidecar_plan(service="s3"), content(service="s3"))
    follower.refresh()
    store.lost = set()
    there = published.body(key)
    assert there is not None
    published.put(key, there)
    follower.refresh()
    assert (follower.problems(S1), view_of(follower)) == ((), before)


def test_nothing_goes_back_to_an_older_version(follower: Follower, published: Publisher) -> None:
    published.head(sidecar_plan(), content(["dc2"]), version=7)
    published.manifest(*S1.manifest_keys, manifest(S2, generation=4))
    follower.refresh()
    before = view_of(follower)
    head = keys.snapshot(sidecar_plan().key)
    published.head(sidecar_plan(), content(["dc3"]), version=6)
    published.manifest(*S1.manifest_keys, manifest(generation=3))
    assert follower.refresh() == set()
    published.put(head, snapshot_json(snapshot(content(["dc3"]), 8)), serial=1)
    assert follower.refresh() == set()
    assert view_of(follower) is before
    assert [problem.partition(" went back")[0] for problem in follower.problems(S1)] == [*S1.manifest_keys, head]
    published.put(head, snapshot_json(snapshot(content(["dc3"]), 8)), serial=9)
    assert follower.refresh() == {S1}
    assert view_of(follower).version > before.version


def test_while_the_store_is_away_everything_stays_and_the_staleness_grows(
    follower: Follower, published: Publisher, store: Remote, clock: Clock
) -> None:
    store.leave()
    assert follower.refresh() == set()
    assert follower.view(S1) is None
    store.come_back()
    assert follower.refresh() == {S1}
    before = view_of(follower)
    assert (follower.staleness, follower.unreachable) == (0, "")

    store.leave()
    clock.now += 3600
    assert follower.refresh() == set()
    assert view_of(follower) is before
    assert (follower.staleness, follower.unreachable) == (3600, "store: gone for now")
    published.head(sidecar_plan(), content(["dc2"]))
    store.come_back()
    assert follower.refresh() == {S1}
    assert (active(follower), follower.staleness, follower.unreachable) == ("dc2", 0, "")


def test_a_store_that_fails_between_two_reads_costs_nothing(
    follower: Follower, published: Publisher, store: Remote
) -> None:
    follower.refresh()
    published.head(sidecar_plan(), content(["dc2"]))
    published.head(sidecar_plan(service="s3"), content(service="s3"))
    published.manifest(*S1.manifest_keys, manifest(S2, S3, generation=2))
    store.answers = 1
    assert follower.refresh() == {S1}
    assert active(follower) == "dc2"
    assert set(view_of(follower).snapshots) == {S2}
    store.come_back()
    assert follower.refresh() == {S1}
    assert set(view_of(follower).snapshots) == {S2, S3}


def test_an_hour_of_whatever_a_store_may_answer_takes_nothing_away(
    publisher: Publisher, store: Remote, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gone, throttled, garbage, emptied, put back from an old copy, one after the other for an hour."""
    plans = [sidecar_plan(service=f"s{number}") for number in range(2, 6)]
    for plan in plans:
        publisher.head(plan, content(["dc2"], service=plan.targets[0].target.service), version=7)
    names = [plan.cluster_id for plan in plans]
    publisher.manifest(*S1.manifest_keys, manifest(*names, generation=3))
    follower = Follower(store, [S1], clock=clock)
    follower.refresh()
    before = view_of(follower)
    chance, real = random.Random(7), store.changes

    def garbled(stored: Stored) -> Stored:
        body = orjson.loads(stored.data)
        data = [
            b"",
            b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>",
            stored.data[: len(stored.data) // 2],
            orjson.dumps({**body, "version": 1, "generation": 1}),
            orjson.dumps({**body, "serial": 0}),
            orjson.dumps({**body, "cluster": "", "listeners": [], "clusters": ["s9.default.dc1"], "version": "x"}),
        ]
        return Stored(stored.key, chance.choice(data), f"garbage-{chance.random()}")

    def answer(known: Mapping[str, str | None], cursor: str = "") -> Changes:
        match chance.randrange(4):
            case 0:
                raise StoreUnavailable("store: S3 did not do it in 4 attempts (SlowDown): try again later")
            case 1:
                raise StoreError("store: access denied")
            case 2:
                return Changes([], chance.choice(["", cursor, "of another file"]))
            case _:
                objects = real(dict.fromkeys(known)).objects
                return Changes([garbled(each) for each in objects if chance.random() < 0.7], "")

    monkeypatch.setattr(store, "changes", answer)
    for _ in range(400):
        clock.now += 9
        assert follower.refresh() == set()
        assert view_of(follower) is before
    monkeypatch.setattr(store, "changes", real)
    publisher.head(plans[0], content(["dc3"]))
    assert follower.refresh() == {S1}
    assert (active(follower), set(view_of(follower).snapshots)) == ("dc3", set(names))
    assert (follower.problems(S1), follower.staleness) == ((), 0)


def test_a_gateway_has_what_it_shares_and_what_is_its_own(store: Remote, publisher: Publisher) -> None:
    plans = {plan.cluster_id: plan for plan in gateway_plans()}
    for plan in plans.values():
        publisher.head(plan, compute(plan, instances(DATACENTERS), TRUST_DOMAIN))
    follower = Follower(store, [GATEWAY])
    own = GatewayManifest(1, "127.0.0.1", 9000, 0, "")
    shared = GatewaysManifest(1, TRUST_DOMAIN, ("s2.default.dc1",), ("default/s2",), ())
    publisher.manifest(keys.gateway_manifest("dc1", "gateway-1"), own)
    assert follower.refresh() == set()
    publisher.manifest(keys.gateways_manifest("dc1"), shared)
    assert follower.refresh() == {GATEWAY}
    assert view_of(follower, GATEWAY).manifests == (own, shared)
    more = replace(shared, clusters=("dc2", "s2.default.dc1"), datacenters=("dc2",))
    publisher.manifest(keys.gateways_manifest("dc1"), more)
    assert follower.refresh() == {GATEWAY}
    assert set(view_of(follower, GATEWAY).snapshots) == set(plans)
    # A sidecar's manifest under a gateway's key is not what it has.
    publisher.manifest(keys.gateway_manifest("dc1", "gateway-1"), manifest(S2))
    assert follower.refresh() == set()
    assert "a SidecarManifest stands there" in follower.problems(GATEWAY)[0]


def test_a_proxy_is_there_from_its_manifest_on_and_until_that_is_retired(
    follower: Follower, publisher: Publisher, store: Remote
) -> None:
    assert follower.refresh() == set()
    assert (follower.view(S1), follower.problems(S1)) == (None, ())
    publisher.head(sidecar_plan(), content())
    publisher.manifest(*S1.manifest_keys, manifest(S2))
    assert follower.refresh() == {S1}
    publisher.manifest(*S1.manifest_keys, replace(manifest(generation=2), retired=True))
    assert follower.refresh() == {S1}
    assert follower.view(S1) is None
    publisher.manifest(*S1.manifest_keys, manifest(S2, generation=3))
    assert follower.refresh() == {S1}
    assert active(follower) == "dc1"


def test_every_proxy_with_a_manifest_is_discovered(store: Remote, published: Publisher) -> None:
    published.manifest(keys.gateways_manifest("dc1"), GatewaysManifest(1, TRUST_DOMAIN, (), (), ()))
    published.manifest(keys.gateway_manifest("dc1", "gateway-1"), GatewayManifest(1, "127.0.0.1", 9000, 0, ""))
    follower = Follower(store)
    assert follower.discover() == {S1, S9, GATEWAY}
    assert follower.discover() == set()
    assert follower.refresh() == {S1, S9, GATEWAY}
    elsewhere = SidecarId("dc2", "default", "s1")
    published.manifest(*elsewhere.manifest_keys, manifest())
    assert Follower(store, datacenters={"dc2"}).discover() == {elsewhere}
    for nobody in ("manifests/dc1/gateways", "manifests/dc1/../../etc", "manifests/dc1/gateways/..", "manifests/x"):
        assert proxy_of(nobody) is None


def test_it_runs_until_it_is_stopped_and_picks_up_what_is_written_and_who_is_registered(
    store: Remote, published: Publisher
) -> None:
    follower, stop = Follower(store), threading.Event()
    seen: list[set[SidecarId | GatewayId]] = []
    thread = threading.Thread(
        target=follow, args=(follower, stop, seen.append), kwargs={"period": 0.01, "discovery_period": 0.0}
    )
    thread.start()
    try:
        wait_until(lambda: {S1, S9} in seen, "the proxies that were registered before")
        published.head(sidecar_plan(), content(["dc2"]))
        wait_until(lambda: follower.view(S1) and active(follower) == "dc2", "the failover")
        published.manifest(keys.manifest("dc1/sidecar/default/s4"), manifest(S2))
        wait_until(lambda: {SidecarId("dc1", "default", "s4")} in seen, "the proxy that was registered now")
        store.leave()
        wait_until(lambda: follower.unreachable, "it to notice that the store is away")
        published.head(sidecar_plan(), content(["dc3"]))
        store.come_back()
        wait_until(lambda: active(follower) == "dc3", "the failover while the store was away")
    finally:
        stop.set()
        thread.join(timeout=5)
    assert not thread.is_alive()
