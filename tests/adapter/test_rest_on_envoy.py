"""Real Envoys over REST: targets switch under load, adapters die and come back, one of two is behind: nothing fails,
and no SNI meets another's endpoints."""

import contextlib
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from pointsman.adapter.bootstrap import (
    Address,
    FetchHttp,
    Node,
    PublicListener,
    SecretFiles,
    UnixSocket,
    sidecar_bootstrap,
)
from pointsman.model.entries import Mode
from pointsman.xds.content import Content, compute
from pointsman.xds.endpoint_source import over_rest
from pointsman.xds.manifest import SidecarManifest

from tests.adapter.doubles import Remote
from tests.adapter.node import MANIFEST
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, Publisher, instances, sidecar_plan
from tests.adapter.rest import Adapter
from tests.adapter.targets import Gateways, places
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import Client
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy
from tests.fleet.handmade import upstream_listener
from tests.fleet.process import Ports, wait_until

pytestmark = pytest.mark.envoy

FLIPS = 50
DELAY_MS = 20
"""Between an answer and the next poll: short, so that one flip can follow the other."""

CLUSTER = f"s2.default.dc1.internal.{TRUST_DOMAIN}"
OPTIONS: dict[str, Any] = {"source": over_rest("pointsman", DELAY_MS, 60_000)}


def _wait_for_switch(client: Client, datacenter: str) -> float:
    """Return when a request that was sent from now on was answered by `datacenter`: when the first such was sent."""
    now = time.perf_counter()

    def first() -> float | None:
        return min((each.sent for each in client.attempts(now) if each.datacenter == datacenter), default=None)

    return wait_until(first, f"{datacenter} to answer")


def _sidecar(fetch: FetchHttp, authority: CertificateAuthority, ports: Ports) -> dict[str, Any]:
    identity = authority.issue("s1", "dc1")
    admin, public, app = (ports.take("127.0.0.1") for _ in range(3))
    return sidecar_bootstrap(
        Node("s1-1", "s1", "dc1"),
        Address("127.0.0.1", admin),
        fetch,
        SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca)),
        PublicListener(Address("127.0.0.1", public), Address("127.0.0.1", app)),
    )


class Situation:
    """An Envoy that fetches over REST, gateways behind it, and a client before it, while the `with` block lasts."""

    def __init__(
        self, mode: Mode, binary: Path, publisher: Publisher, directory: Path, fetch: FetchHttp, ports: Ports
    ) -> None:
        self.mode, self._publisher, self._directory = mode, publisher, directory
        authority = CertificateAuthority(directory / "ca", TRUST_DOMAIN)
        self._gateways = places(ports, DATACENTERS)
        self._servers = Gateways(authority, "s2", self._gateways)
        self.seen = self._servers.seen
        self._upstream = ports.take("127.0.0.1")
        self.envoy = Envoy("s1", _sidecar(fetch, authority, ports), directory, binary)
        listener = upstream_listener("s2", "127.0.0.1", self._upstream, CLUSTER)
        self.publish("dc2")
        publisher.manifest(MANIFEST, SidecarManifest(1, ("s2.default.dc1",), (listener.SerializeToString(),)))

    def publish(self, serving: str) -> float:
        """Make `serving` the one healthy datacenter: when."""
        gateway_ports = {datacenter: port for datacenter, (_, port) in self._gateways.items()}
        found: Content = compute(sidecar_plan(self.mode), instances([serving], gateway_ports), TRUST_DOMAIN)
        now = time.perf_counter()
        self._publisher.head(sidecar_plan(self.mode), found)
        return now

    def start(self, held: contextlib.ExitStack) -> Client:
        """Start it all; an adapter has to be there."""
        held.enter_context(self._servers)
        held.enter_context(self.envoy)
        self.envoy.wait_ready()
        client = held.enter_context(Client("127.0.0.1", self._upstream, interval=0.004, timeout=5.0))
        client.wait_for_answer("dc2", after=0.0)
        return client

    def check(self, client: Client, begin: float, modified: int | None) -> None:
        """Fail if anything failed since `begin`, or if an SNI ever met another's endpoints."""
        client.wait_past(time.perf_counter())
        attempts = client.attempts(begin)
        assert [attempt for attempt in attempts if attempt.failure] == []
        assert len(attempts) > FLIPS
        ways = {("dc2", "dc2"), ("dc3", "dc3")} if self.mode == "remote" else {("dc1", "dc2"), ("dc1", "dc3")}
        assert self.seen == ways
        names = ("cds.update_rejected", "cluster_modified", "cluster_removed")
        stats = self.envoy.stats(f"cluster_manager.{name}" for name in names)
        assert stats["cluster_manager.cds.update_rejected"] == stats["cluster_manager.cluster_removed"] == 0
        if modified is not None:
            assert stats["cluster_manager.cluster_modified"] == modified


@pytest.mark.parametrize(
    ("mode", "binary"),
    [
        pytest.param("remote", ENVOY_1_40, id="SNI with the endpoints, address changes"),
        pytest.param("local", ENVOY_1_40, id="SNI with the endpoints, address stays"),
        pytest.param("remote", ENVOY_1_39, id="SNI in the cluster, address changes"),
        pytest.param("local", ENVOY_1_39, id="SNI in the cluster, address stays"),
    ],
)
def test_targets_switch_while_adapters_come_and_go_and_nothing_fails(
    mode: Mode, binary: Path, store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    socket = tmp_path / "xds.sock"
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        fetch = FetchHttp(UnixSocket(str(socket)), refresh_delay_ms=DELAY_MS)
        situation = Situation(mode, binary, publisher, tmp_path, fetch, ports)
        running = held.enter_context(contextlib.ExitStack())
        adapter = running.enter_context(Adapter(store, f"unix:{socket}", **OPTIONS))
        client = situation.start(held)
        begin = time.perf_counter()
        delays = []
        for flip in range(FLIPS):
            serving = "dc2" if flip % 2 else "dc3"
            if flip % 20 == 10:
                running.close()
            published = situation.publish(serving)
            if flip % 20 == 10:
                adapter = running.enter_context(Adapter(store, f"unix:{socket}", **OPTIONS))
            delays.append(_wait_for_switch(client, serving) - published)
        print(f"\n{mode} {binary.parts[-4]}: p50 {median(delays) * 1e3:.1f} ms, worst {max(delays) * 1e3:.1f} ms")
        # Where the SNI goes with the endpoints, health never touches the cluster, nor does another adapter.
        situation.check(client, begin, 0 if binary == ENVOY_1_40 else FLIPS)
        assert adapter.adapter.rejections() == []
