"""Real Envoys on the adapter's files: targets switch under load, nothing fails, no SNI meets another's endpoints."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pointsman.adapter.bootstrap.document import (
    Address,
    FetchFiles,
    Node,
    PublicListener,
    SecretFiles,
    sidecar_bootstrap,
)
from pointsman.adapter.files.adapter import FilesAdapter
from pointsman.adapter.follow.follower import Follower
from pointsman.model.entries import Mode
from pointsman.xds.content import Content, compute
from pointsman.xds.delivery import EnvoyVersion
from pointsman.xds.manifest import SidecarManifest

from tests.adapter.doubles import Remote
from tests.adapter.node import MANIFEST, NEW, OLD, S1
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, Publisher, instances, sidecar_plan
from tests.adapter.targets import Gateways, places
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import Client
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy
from tests.fleet.handmade import upstream_listener
from tests.fleet.process import Ports, wait_until

pytestmark = pytest.mark.envoy

FLIPS = 40
CLUSTER = f"s2.default.dc1.internal.{TRUST_DOMAIN}"


@contextlib.contextmanager
def running(adapter: FilesAdapter) -> Iterator[None]:
    """`adapter` at work in a thread."""
    stop = threading.Event()
    thread = threading.Thread(target=adapter.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _wait_for_switch(client: Client, datacenter: str) -> None:
    """Return when a request that was sent from now on was answered by `datacenter`."""
    now = time.perf_counter()
    wait_until(lambda: any(each.datacenter == datacenter for each in client.attempts(now)), f"{datacenter} to answer")


@pytest.mark.parametrize(
    ("mode", "binary", "version"),
    [
        pytest.param("remote", ENVOY_1_40, NEW, id="SNI with the endpoints, address changes"),
        pytest.param("local", ENVOY_1_40, NEW, id="SNI with the endpoints, address stays"),
        pytest.param("remote", ENVOY_1_40, None, id="SNI in the cluster, address changes"),
        pytest.param("remote", ENVOY_1_39, OLD, id="SNI in the cluster of an older Envoy, address changes"),
        pytest.param("local", ENVOY_1_39, OLD, id="SNI in the cluster of an older Envoy, address stays"),
    ],
)
def test_targets_switch_back_and_forth_and_nothing_fails(
    mode: Mode, binary: Path, version: EnvoyVersion | None, store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        upstream, admin, public, app = (ports.take("127.0.0.1") for _ in range(4))
        gateways = places(ports, DATACENTERS)
        seen = held.enter_context(Gateways(authority, "s2", gateways)).seen

        def content(serving: str) -> Content:
            gateway_ports = {datacenter: port for datacenter, (_, port) in gateways.items()}
            return compute(sidecar_plan(mode), instances([serving], gateway_ports), TRUST_DOMAIN)

        publisher.head(sidecar_plan(mode), content("dc2"))
        listener = upstream_listener("s2", "127.0.0.1", upstream, CLUSTER)
        publisher.manifest(MANIFEST, SidecarManifest(1, ("s2.default.dc1",), (listener.SerializeToString(),)))
        adapter = FilesAdapter(Follower(store, [S1]), tmp_path / "envoys", version)
        held.enter_context(running(adapter))
        files = adapter.directory(S1)
        wait_until((files / "lds.pb").exists, "the files")

        identity = authority.issue("s1", "dc1")
        bootstrap = sidecar_bootstrap(
            Node("s1-1", "s1", "dc1"),
            Address("127.0.0.1", admin),
            FetchFiles(str(files)),
            SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca)),
            PublicListener(Address("127.0.0.1", public), Address("127.0.0.1", app)),
        )
        envoy = held.enter_context(Envoy("s1", bootstrap, tmp_path, binary))
        envoy.wait_ready()
        client = held.enter_context(Client("127.0.0.1", upstream, interval=0.004, timeout=5.0))
        client.wait_for_answer("dc2", after=0.0)
        begin = time.perf_counter()
        for flip in range(FLIPS):
            serving = "dc2" if flip % 2 else "dc3"
            publisher.head(sidecar_plan(mode), content(serving))
            _wait_for_switch(client, serving)
        client.wait_past(time.perf_counter())

        attempts = client.attempts(begin)
        assert [attempt for attempt in attempts if attempt.failure] == []
        assert len(attempts) > FLIPS
        if mode == "remote":
            assert seen == {("dc2", "dc2"), ("dc3", "dc3")}
        else:
            assert seen == {("dc1", "dc2"), ("dc1", "dc3")}
        stats = envoy.stats(["cluster_manager.cds.update_rejected", "cluster_manager.cluster_modified"])
        assert stats["cluster_manager.cds.update_rejected"] == 0
        # Where the SNI goes with the endpoints, health never touches the cluster.
        assert stats["cluster_manager.cluster_modified"] == (0 if version == NEW else FLIPS)
        assert adapter.problems() == {}
