"""Whatever is killed at whatever moment: what an Envoy finds is whole, and no target has the SNI of another."""

from pathlib import Path

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.delivery.deliver import EnvoyVersion
from pointsman.model.upstream_config import Mode
from pointsman.store.sqlite import SQLiteStore
from pointsman.xds.content import compute

from tests.adapter.doubles import Clock
from tests.adapter.node import MANIFEST, NEW, OLD, WHERE, Node, Recorder, clusters, manifest, resources, serving
from tests.adapter.published import TRUST_DOMAIN, Publisher, instances, sidecar_plan
from tests.share import share_of

SERVICES = ("s2", "s3", "s4")


class Watcher:
    """Looks at the files as an Envoy does, which may have read cds.pb just now or just before it was last changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: list[bytes] = []

    def settle(self) -> None:
        """By now the Envoy has read the cds.pb that is there."""
        self.look()
        del self._seen[:-1]

    def look(self) -> None:
        """Fail unless every cluster that the Envoy may have finds its own endpoints, and every listener its cluster."""
        cds, lds = self._directory / "cds.pb", self._directory / "lds.pb"
        if not cds.exists():
            assert not lds.exists()
            return
        now = cds.read_bytes()
        if now not in self._seen[-1:]:
            self._seen = [*self._seen[-1:], now]
        for seen in self._seen:
            for service in clusters(seen):
                serving(seen, service)
        if lds.exists():
            assert {Listener.FromString(each).name for each in resources(lds.read_bytes())} <= set(clusters(now))


@pytest.mark.soak
@settings(max_examples=share_of(40), deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sets(st.sampled_from(SERVICES)),
            st.lists(st.sampled_from(["dc1", "dc2", "dc3"]), min_size=len(SERVICES), max_size=len(SERVICES)),
            st.sampled_from(["remote", "remote", ""]),
            st.sampled_from([["dc2"], ["dc3"], ["dc2", "dc3"]]),
            st.sampled_from([NEW, OLD, None]),
            st.integers(min_value=0, max_value=9),
            st.sampled_from([0.0, 2.0, 100.0]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_killed_at_any_moment_it_leaves_files_that_an_envoy_can_serve_from(
    steps: list[tuple[set[str], list[str], Mode, list[str], EnvoyVersion | None, int, float]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("killed")
    store, clock, root = SQLiteStore(directory / "store.db"), Clock(), directory / "envoys"
    publisher, watcher = Publisher(store), Watcher(root / WHERE)
    for generation, (services, healthy, mode, failover, version, deadly, pause) in enumerate(steps, start=1):
        for service, datacenter in zip(SERVICES, healthy, strict=True):
            plan = sidecar_plan(mode, service, failover=failover)
            found = instances([datacenter], service=service, named=["dc3"] if service == "s3" else [])
            publisher.head(plan, compute(plan, found, TRUST_DOMAIN))
        publisher.manifest(MANIFEST, manifest(*sorted(services), generation=generation))
        Node(store, root, clock, version, operations=Recorder(deadly, watcher.look)).turn(pause)
        survivor = Node(store, root, clock, version, operations=Recorder(after_each=watcher.look))
        for after in (0, 2):
            survivor.turn(after)
        watcher.settle()
        survivor.turn(after=100)
        found = {each: serving(root / WHERE, each) for each in clusters(root / WHERE)}
        reachable = {"dc1", *failover} if mode else {"dc1"}
        assert found == {
            service: datacenter if datacenter in reachable else "dc1"
            for service, datacenter in zip(SERVICES, healthy, strict=True)
            if service in services
        }
    store.close()
