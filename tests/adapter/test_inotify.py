"""No Envoy is asked to take more inotify instances than the system has for it: it would abort."""

import ctypes
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pointsman.adapter.files.inotify import Inotify, Usage, count_usage
from pointsman.xds.content import compute

from tests.adapter.doubles import Clock, Remote
from tests.adapter.node import MANIFEST, NEW, OLD, S1, WHERE, Node, clusters, manifest, serving
from tests.adapter.published import TRUST_DOMAIN, Publisher, content, instances, sidecar_plan


def _used(root: Path, others: int, own: int) -> Usage:
    # What of it watches the proxy's own directories is what its Envoy has already.
    directories = [root / WHERE, root / WHERE / "eds"]
    stats = [each.stat() for each in directories if own]
    watching = Counter({(each.st_dev, each.st_ino): share for each, share in zip(stats, (2, own - 2), strict=False)})
    return Usage(limit=12, used=others + own, watching=watching)


def test_an_envoy_is_never_asked_to_take_more_inotify_instances_than_there_are(
    store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    refused = Node(store, root, clock, usage=_used(root, others=9, own=0))
    assert refused.turn() == []
    assert not list(root.rglob("*.pb"))
    (problem,) = refused.adapter.problems()[S1]
    assert (
        "4 inotify instances are needed, and of the 12 that this user may have other processes use 9: 1 too" in problem
    )
    assert "fs.inotify.max_user_instances" in problem
    fits = Node(store, root, clock, usage=_used(root, others=8, own=0))
    assert len(fits.turn()) == 4

    # Its Envoy runs now. Two more clusters fit beside the six instances of others, three do not.
    running = Node(store, root, clock, OLD, usage=_used(root, others=6, own=4))
    running.turn()
    for service in ("s4", "s5", "s6"):
        published.head(sidecar_plan(service=service), content(service=service))
    published.manifest(MANIFEST, manifest("s2", "s3", "s4", "s5", "s6", generation=2))
    assert running.turn() == []
    assert "7 inotify instances are needed" in running.adapter.problems()[S1][0]
    # What it has is kept up all the same.
    published.head(sidecar_plan(), content(["dc3"]))
    assert running.turn() == ["write s2", "write cds.pb"]
    assert (serving(root / WHERE), set(clusters(root / WHERE))) == ("dc3", {"s2", "s3"})
    published.manifest(MANIFEST, manifest("s2", "s3", "s4", "s5", generation=3))
    assert running.turn() == ["write s4", "write s5", "write cds.pb", "write lds.pb"]
    assert running.adapter.problems() == {}


def test_where_a_cluster_cannot_even_be_replaced_its_endpoints_are_kept_up(
    store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    published.head(sidecar_plan(service="s3"), content(service="s3"))
    Node(store, root, clock, NEW).turn()
    full = Node(store, root, clock, NEW, usage=_used(root, others=8, own=4))
    assert full.turn() == []
    slower = replace(sidecar_plan(), connect_timeout_ms=9000)
    published.head(slower, compute(slower, instances(["dc1"]), TRUST_DOMAIN))
    published.head(sidecar_plan(service="s3"), content(["dc2"], service="s3"))
    assert full.turn() == ["write s3"]
    assert (serving(root / WHERE, "s3"), clusters(root / WHERE)["s2"].connect_timeout.seconds) == ("dc2", 5)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Path]:
    """A directory that this process watches with inotify."""
    libc = ctypes.CDLL(None, use_errno=True)
    directory = tmp_path / "watched"
    directory.mkdir()
    fd = libc.inotify_init1(0)
    assert fd >= 0
    assert libc.inotify_add_watch(fd, os.fsencode(directory), 0x80) > 0
    yield directory
    os.close(fd)


def test_inotify_instances_are_counted_by_what_they_watch(watched: Path, tmp_path: Path, clock: Clock) -> None:
    usage = count_usage()
    assert usage is not None
    place = watched.stat()
    assert usage.watching[place.st_dev, place.st_ino] == 1
    assert 1 <= usage.used <= usage.limit
    inotify = Inotify(clock=clock)
    assert inotify.shortage(1, (watched,)) == ""
    assert "too few" in inotify.shortage(usage.limit + 1, (watched,))
    unlimited = Inotify(lambda: None, clock=clock)
    assert unlimited.shortage(10**6, (tmp_path,)) == ""
