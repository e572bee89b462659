"""The files of an Envoy change only where they must, in the right order, and never for want of data."""

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from pointsman.adapter.files.writes import SETTLE_S
from pointsman.adapter.follow.saved import Saved
from pointsman.delivery.deliver import EnvoyVersion
from pointsman.discovery.proxy import GatewayId, SidecarId
from pointsman.disk.operations import FileOperations
from pointsman.store import keys
from pointsman.xds.assignment import place_of
from pointsman.xds.content import compute
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest

from tests.adapter.doubles import Clock, Remote
from tests.adapter.node import (
    MANIFEST,
    NEW,
    OLD,
    S1,
    WHERE,
    Node,
    Recorder,
    clusters,
    endpoints,
    manifest,
    resources,
    serving,
)
from tests.adapter.published import (
    DATACENTERS,
    TRUST_DOMAIN,
    Publisher,
    content,
    gateway_name,
    gateway_plans,
    instances,
    sidecar_plan,
)
from tests.fleet.process import wait_until


def test_at_first_everything_is_written_before_what_refers_to_it(
    store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    node = Node(store, root, clock)
    assert node.turn() == ["write s2", "write s3", "write cds.pb", "write lds.pb"]
    assert node.adapter.directory(S1) == root / WHERE
    assert [serving(root / WHERE, each) for each in ("s2", "s3")] == ["dc1", "dc1"]
    assert [Listener.FromString(each).name for each in resources(root / WHERE / "lds.pb")] == ["s2", "s3"]
    for file in (root / WHERE).rglob("*.pb"):
        response = DiscoveryResponse.FromString(file.read_bytes())
        assert response.version_info
        assert {each.type_url for each in response.resources} == {response.type_url}
    assert node.turn() == []


@pytest.mark.parametrize(
    ("version", "writes"),
    [(NEW, ["write s2"]), (OLD, ["write s2", "write cds.pb"]), (None, ["write s2", "write cds.pb"])],
)
def test_a_failover_is_one_rename_or_two_in_the_right_order(
    store: Remote, root: Path, clock: Clock, published: Publisher, version: EnvoyVersion | None, writes: list[str]
) -> None:
    node = Node(store, root, clock, version)
    node.turn()
    for datacenter in ("dc2", "dc3", "dc1", "dc3"):
        healthy = [each for each in DATACENTERS if each >= datacenter]
        published.head(sidecar_plan(), content(healthy))
        assert node.turn() == writes
        assert (serving(root / WHERE, "s2"), serving(root / WHERE, "s3")) == (datacenter, "dc1")


def test_where_gateways_have_host_names_there_is_no_endpoint_file_and_new_listeners_wait_for_dns(
    store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    node = Node(store, root, clock)
    node.turn()
    published.head(sidecar_plan(), content(["dc2"], named=["dc2"]))
    assert node.turn() == ["write cds.pb"]
    found = clusters(root / WHERE)["s2"]
    (group,) = found.load_assignment.endpoints
    assert [place_of(each) for each in group.lb_endpoints] == [(gateway_name("dc2"), 9000)]
    assert Node(store, root, clock).turn() == [], "a restart reads what it wrote"
    # To an IP address and back: the file is there before the cluster that names it.
    published.head(sidecar_plan(), content(["dc3"], named=["dc2"]))
    assert node.turn() == ["write s2", "write cds.pb"]
    assert serving(root / WHERE) == "dc3"
    assert node.turn(after=1) == []
    published.head(sidecar_plan(service="s4"), content(["dc2"], service="s4", named=["dc2"]))
    published.manifest(MANIFEST, manifest("s2", "s3", "s4", generation=2))
    assert node.turn() == ["write cds.pb"]
    assert node.turn(after=SETTLE_S) == ["write lds.pb"]


def test_a_restart_rewrites_nothing_and_loses_nothing_while_the_store_is_away(
    store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    Node(store, root, clock).turn()
    before = {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    assert Node(store, root, clock).turn() == []
    store.leave()
    away = Node(store, root, clock)
    assert away.turn() == []
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*")} == before
    store.come_back()
    published.head(sidecar_plan(), content(["dc2"]))
    assert away.turn() == ["write s2"]


def test_what_is_missing_or_damaged_on_disk_is_mended_by_a_restart(
    store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    Node(store, root, clock).turn()
    whole = {file: file.read_bytes() for file in root.rglob("*.pb")}
    for file in whole:
        for damage in (lambda file: file.unlink(), lambda file: file.write_bytes(b"\xff half a fi")):
            damage(file)
            Node(store, root, clock).turn()
            assert {each: each.read_bytes() for each in root.rglob("*.pb")} == whole


def test_what_is_not_wanted_goes_listener_first_and_endpoints_last(
    store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    node = Node(store, root, clock)
    node.turn()
    published.manifest(MANIFEST, manifest("s3", generation=2))
    assert node.turn() == ["write lds.pb"]
    # Whatever comes meanwhile takes the cluster no earlier.
    published.head(sidecar_plan(service="s3"), content(["dc2"], service="s3"))
    assert node.turn() == ["write s3"]
    assert set(clusters(root / WHERE)) == {"s2", "s3"}
    assert node.turn(after=1.1) == ["write cds.pb"]
    assert set(clusters(root / WHERE)) == {"s3"}
    # The cds.pb before this one still names the endpoints of s2.
    assert node.turn(after=120) == []
    published.manifest(MANIFEST, manifest("s3", "s4", generation=3))
    published.head(sidecar_plan(service="s4"), content(service="s4"))
    assert node.turn() == ["write s4", "write cds.pb", "write lds.pb"]
    assert node.turn(after=1) == ["remove s2"]
    assert len(list((root / WHERE / "eds").iterdir())) == 2


def test_endpoints_stay_for_a_grace_time_and_as_long_as_the_cds_before_names_them(
    store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    node = Node(store, root, clock, OLD)
    node.turn()
    for datacenter in ("dc2", "dc3"):
        published.head(sidecar_plan(), content([datacenter]))
        node.turn(after=1)
    assert node.turn(after=58) == []
    assert node.turn(after=2) == ["remove s2"]  # that of dc1, named two cds.pb ago
    assert node.turn(after=3600) == []
    (root / WHERE / "eds" / "s2.pb.new").write_bytes(b"half a fi")
    (root / WHERE / "cds.pb.new").write_bytes(b"")
    again = Node(store, root, clock, OLD)
    assert sorted(again.turn(after=1)) == ["remove cds.pb.new", "remove s2"]
    assert again.turn(after=58) == []
    assert again.turn(after=3) == ["remove s2"]
    assert serving(root / WHERE) == "dc3"
    assert len(list((root / WHERE / "eds").iterdir())) == 2


def test_of_a_proxy_that_is_no_more_nothing_is_left_that_an_envoy_could_start_on(
    store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    node = Node(store, root, clock, proxies=())
    node.follower.discover()
    node.turn()
    published.manifest(MANIFEST, replace(manifest(generation=2), retired=True))
    assert node.turn() == ["write RETIRED", "remove lds.pb", "remove cds.pb"]
    assert "pointsman apply" in (root / WHERE / "RETIRED").read_text()
    # An Envoy that runs watches these directories: registered again, it gets what there is.
    published.manifest(MANIFEST, manifest("s2", generation=3))
    node.follower.discover()
    assert node.turn() == ["write cds.pb", "write lds.pb", "remove RETIRED"]
    assert serving(root / WHERE) == "dc1"
    published.manifest(MANIFEST, replace(manifest(generation=4), retired=True))
    node.turn()
    assert sorted(node.turn(after=61)) == ["remove s2", "remove s3"]
    assert [each.name for each in (root / WHERE).iterdir() if each.is_file()] == ["RETIRED"]
    # One that is started later finds it so, and a day after that nothing is left.
    again = Node(store, root, clock, proxies=())
    again.follower.discover()
    assert again.turn() == []
    assert [each[1] for each in again.adapter.fetching()] == [S1]
    assert again.turn(after=86_400) == ["remove RETIRED"]
    assert again.adapter.fetching() == []
    assert not (root / WHERE).exists()


def test_many_proxies_have_a_directory_each(store: Remote, root: Path, clock: Clock, published: Publisher) -> None:
    gateway, other = GatewayId("dc1", "gateway-1"), SidecarId("dc1", "team", "s9")
    plans = {plan.cluster_id: plan for plan in gateway_plans()}
    for plan in plans.values():
        published.head(plan, compute(plan, instances(DATACENTERS), TRUST_DOMAIN))
    shared = GatewaysManifest(1, TRUST_DOMAIN, tuple(sorted(plans)), ("default/s2",), ("dc2",))
    published.manifest(keys.gateways_manifest("dc1"), shared)
    published.manifest(gateway.manifest_keys[0], GatewayManifest(1, "127.0.0.1", 9000, 1500, ""))
    node = Node(store, root, clock, proxies=())
    node.adapter.discover()
    assert {file.parent.relative_to(root) for file in root.rglob("cds.pb")} == {WHERE, Path("dc1/gateway/gateway-1")}
    published.manifest(*other.manifest_keys, manifest("s2"))
    node.adapter.discover()
    assert serving(root / "dc1/sidecar/team/s9") == "dc1"
    passed_on = clusters(root / "dc1/gateway/gateway-1")
    assert set(passed_on) == {"dc2", "s2"}
    assert endpoints(passed_on["dc2"]).endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value == 9000


def test_a_full_disk_is_told_and_what_was_not_written_is_written_later(
    store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    other = SidecarId("dc1", "default", "s9")
    published.manifest(*other.manifest_keys, manifest("s2"))
    full = Recorder(deadly=0)
    node = Node(store, root, clock, proxies=(S1, other), operations=full)
    assert node.turn() == []
    problems = node.adapter.problems()
    assert set(problems) == {S1, other}
    assert f"the files in {root / WHERE} stay behind: No space left on device" in problems[S1][0]
    full.deadly = -1
    assert node.turn(after=1) == []
    assert len(node.turn(after=5)) == 4 + 3
    assert node.adapter.problems() == {}


def test_one_process_writes_and_another_one_stands_by(
    store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    first, second = (Node(store, root, clock, locked=True) for _ in range(2))
    stop = threading.Event()
    running = threading.Thread(target=first.adapter.run, args=(stop,))
    running.start()
    wait_until(lambda: first.recorder.done[-1:] == ["write lds.pb"], "the first to write")
    next_stop = threading.Event()
    standing_by = threading.Thread(target=second.adapter.run, args=(next_stop,))
    standing_by.start()
    try:
        wait_until(lambda: second.follower.view(S1), "the second to follow")
        assert (first.adapter.standing_by, second.adapter.standing_by) == (False, True)
        published.head(sidecar_plan(), content(["dc2"]))
        wait_until(lambda: first.recorder.done[4:] == ["write s2"], "the first to write on")
        assert second.recorder.take() == []
        stop.set()
        running.join()
        published.head(sidecar_plan(), content(["dc3"]))
        wait_until(lambda: second.recorder.done, "the second to go on")
        assert not second.adapter.standing_by
    finally:
        for each in (stop, next_stop):
            each.set()
        for thread in (running, standing_by):
            thread.join()
    # What the first one wrote is the same for it, and not written again.
    assert second.recorder.take() == ["write s2"]
    assert serving(root / WHERE) == "dc3"


def test_before_the_store_was_seen_whole_files_are_not_touched_and_damaged_ones_mended_from_what_is_kept(
    store: Remote, root: Path, clock: Clock, published: Publisher, tmp_path: Path
) -> None:
    with Saved(tmp_path / "kept", "s3://mesh") as kept:
        Node(store, root, clock, kept=kept).turn()
    # The files are newer than what is kept: the adapter was killed between the two.
    published.head(sidecar_plan(), content(["dc2"]))
    Node(store, root, clock).turn()
    store.leave()
    node = Node(store, root, clock, kept=Saved(tmp_path / "kept", "s3://mesh"))
    node.adapter.on_change(node.follower.recall())
    assert node.turn(after=1) == []
    assert serving(root / WHERE) == "dc2"
    assert node.adapter.config_dump()["proxies"][0]["proxy"] == "dc1/sidecar/default/s1"
    store.come_back()
    assert node.turn(after=1) == []
    published.head(sidecar_plan(), content(["dc3"]))
    assert node.turn(after=1) == ["write s2"]
    store.leave()
    shutil.rmtree(root)
    assert node.follower.view(S1) is not None
    again = Node(store, root, clock, kept=Saved(tmp_path / "kept", "s3://mesh"))
    again.adapter.on_change(again.follower.recall())
    assert again.turn() == ["write s2", "write s3", "write cds.pb", "write lds.pb"]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, operations = tmp_path / "cds.pb", FileOperations()
    operations.replace(file, b"one")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", _no_space)
        with pytest.raises(OSError, match="No space"):
            operations.replace(file, b"two")
    assert file.read_bytes() == b"one"
    before = file.stat().st_ino
    operations.replace(file, b"three" * 100_000)
    assert file.read_bytes() == b"three" * 100_000
    assert file.stat().st_ino != before  # moved into place, which is what Envoy watches for
    operations.sync(tmp_path)
    for _ in range(2):
        operations.remove(file)
    assert list(tmp_path.iterdir()) == []


def _no_space(fd: int) -> None:
    raise OSError(28, "No space left on device")
