"""Real Envoys over REST: targets switch under load, adapters die and come back, one of two is behind: nothing fails,
and no SNI meets another's endpoints."""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from pointsman.adapter.bootstrap.document import (
    Address,
    FetchHttp,
    Node,
    PublicListener,
    SecretFiles,
    UnixSocket,
    gateway_bootstrap,
    sidecar_bootstrap,
)
from pointsman.chain.plan import GatewayServicePlan, PlanTarget
from pointsman.model.entries import Mode
from pointsman.model.names import Target
from pointsman.store import keys
from pointsman.xds.content import Content, compute
from pointsman.xds.endpoint_source import over_rest
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest, SidecarManifest

from tests.adapter.doubles import Remote
from tests.adapter.node import MANIFEST
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, Publisher, instances, sidecar_plan
from tests.adapter.rest import Adapter
from tests.adapter.targets import Gateways, places
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import Client
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy
from tests.fleet.handmade import upstream_listener
from tests.fleet.process import Child, Ports, wait_listening, wait_until

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
        self._binary, self._bootstrap = binary, _sidecar(fetch, authority, ports)
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

    def balance(self, ports: Iterable[int]) -> None:
        """Have several adapters behind the one address."""
        (xds,) = (each for each in self._bootstrap["static_resources"]["clusters"] if each["name"] == "pointsman")
        places = [{"socket_address": {"address": "127.0.0.1", "port_value": port}} for port in ports]
        endpoints = [{"endpoint": {"address": place}} for place in places]
        xds["lb_policy"] = "RANDOM"
        xds["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]

    def start(self, held: contextlib.ExitStack) -> Client:
        """Start it all; an adapter has to be there."""
        held.enter_context(self._servers)
        self.envoy = held.enter_context(Envoy("s1", self._bootstrap, self._directory, self._binary))
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


@pytest.mark.soak
def test_an_adapter_is_killed_under_load_and_what_changed_meanwhile_comes_when_it_is_back(
    store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        at = ports.take("127.0.0.1")
        fetch = FetchHttp(Address("127.0.0.1", at), refresh_delay_ms=DELAY_MS)
        situation = Situation("remote", ENVOY_1_40, publisher, tmp_path, fetch, ports)
        command = [POINTSMAN, "adapter", "http", "--store", tmp_path / "store.db", "--listen", f"127.0.0.1:{at}"]
        adapter = held.enter_context(Child("adapter", command, tmp_path))
        wait_listening(adapter, "127.0.0.1", at)
        client = situation.start(held)
        begin = time.perf_counter()
        for serving in ("dc3", "dc2"):
            adapter.kill()
            situation.publish(serving)
            client.wait_past(time.perf_counter() + 0.1)
            adapter.start()
            _wait_for_switch(client, serving)
        situation.check(client, begin, 0)


@pytest.mark.soak
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
def test_two_adapters_behind_one_address_of_which_one_is_behind(
    binary: Path, store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        fetch = FetchHttp(Address("127.0.0.1", 1), refresh_delay_ms=DELAY_MS)
        situation = Situation("remote", binary, publisher, tmp_path, fetch, ports)
        cut_off = held.enter_context(contextlib.closing(Remote(tmp_path / "store.db")))
        options = {**OPTIONS, "hold": 0.1}
        ahead, behind = (held.enter_context(Adapter(each, **options)) for each in (store, cut_off))
        situation.balance([ahead.port, behind.port])
        client = situation.start(held)
        begin = time.perf_counter()
        serving = "dc2"
        for round_ in range(4):
            if round_ == 1:
                cut_off.leave()
            serving = "dc3" if serving == "dc2" else "dc2"
            situation.publish(serving)
            _wait_for_switch(client, serving)
            # However often it asks the one that is behind, it does not go back.
            asked = behind.metric("pointsman_unchanged_total")
            wait_until(lambda asked=asked: behind.metric("pointsman_unchanged_total") > asked + 4, "it to be asked")
            now = time.perf_counter()
            client.wait_past(now + 0.1)
            assert {each.datacenter for each in client.attempts(now)} == {serving}
        cut_off.come_back()
        situation.check(client, begin, None)


@pytest.mark.soak
def test_a_listener_moves_to_a_new_cluster_and_the_old_one_goes_and_nothing_fails(
    store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        upstream = ports.take("127.0.0.1")
        for service, serving in (("s2", "dc2"), ("s3", "dc3")):
            gateways = places(ports, DATACENTERS)
            held.enter_context(Gateways(authority, service, gateways))
            found = instances([serving], {dc: port for dc, (_, port) in gateways.items()}, service)
            plan = sidecar_plan(service=service)
            publisher.head(plan, compute(plan, found, TRUST_DOMAIN))

        def manifest(generation: int, service: str) -> SidecarManifest:
            name = f"{service}.default.dc1"
            listener = upstream_listener("s2", "127.0.0.1", upstream, f"{name}.internal.{TRUST_DOMAIN}")
            return SidecarManifest(generation, (name,), (listener.SerializeToString(),))

        publisher.manifest(MANIFEST, manifest(1, "s2"))
        adapter = held.enter_context(Adapter(store, settle=0.3, **OPTIONS))
        fetch = FetchHttp(Address("127.0.0.1", adapter.port), refresh_delay_ms=DELAY_MS)
        envoy = held.enter_context(Envoy("s1", _sidecar(fetch, authority, ports), tmp_path))
        envoy.wait_ready()
        client = held.enter_context(Client("127.0.0.1", upstream, interval=0.004, timeout=5.0))
        client.wait_for_answer("dc2", after=0.0)
        begin = time.perf_counter()
        for generation, (service, serving) in enumerate([("s3", "dc3"), ("s2", "dc2")], start=2):
            publisher.manifest(MANIFEST, manifest(generation, service))
            _wait_for_switch(client, serving)
            wait_until(
                lambda service=service: [name[:2] for name in envoy.clusters() if name[:1] == "s"] == [service],
                "the cluster that nobody uses any more to go",
            )
        client.wait_past(time.perf_counter())
        assert [each for each in client.attempts(begin) if each.failure] == []
        assert adapter.adapter.rejections() == []


@pytest.mark.soak
def test_eleven_hundred_clusters_start_without_a_failed_request_and_switch(
    store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    services = [f"s{number}" for number in range(1100)]

    def publish(service: str, port: int) -> None:
        plan = GatewayServicePlan(PlanTarget(Target(service, "", "default", "dc1")))
        publisher.head(plan, compute(plan, instances(DATACENTERS, service=service, port=port), TRUST_DOMAIN))

    for service in services:
        publish(service, 8000)
    names = tuple(sorted(f"{each}.default.dc1" for each in services))
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        admin, port = ports.take("127.0.0.1"), ports.take("127.0.0.1")
        shared = GatewaysManifest(1, TRUST_DOMAIN, names, tuple(services), ())
        publisher.manifest(keys.gateways_manifest("dc1"), shared)
        publisher.manifest(keys.gateway_manifest("dc1", "g1"), GatewayManifest(1, "127.0.0.1", port, 0, ""))
        path = tmp_path / "xds.sock"
        command = [POINTSMAN, "adapter", "http", "--store", tmp_path / "store.db", "--unix", path]
        adapter = held.enter_context(Child("adapter", command, tmp_path))
        wait_until(path.exists, "the adapter", children=[adapter])
        node, fetch = Node("g1", "mesh-gateway", "dc1"), FetchHttp(UnixSocket(str(path)))
        bootstrap = gateway_bootstrap(node, Address("127.0.0.1", admin), fetch)
        envoy = held.enter_context(Envoy("gateway", bootstrap, tmp_path))
        envoy.wait_ready()
        stats = envoy.stats(
            [
                "cluster_manager.active_clusters",
                "cluster_manager.warming_clusters",
                "cluster.pointsman.upstream_cx_connect_fail",
                "cluster.pointsman.upstream_rq_pending_overflow",
            ]
        )
        assert stats.pop("cluster_manager.active_clusters") == len(services) + 1
        assert set(stats.values()) == {0}
        for service in ("s0", "s1099"):
            publish(service, 8001)
            counter = f"cluster.{service}.default.dc1.internal.{TRUST_DOMAIN}.update_success"
            wait_until(lambda counter=counter: envoy.stats([counter])[counter] == 2, f"{service} to have moved")
        other = f"cluster.s5.default.dc1.internal.{TRUST_DOMAIN}.update_success"
        assert envoy.stats([other])[other] == 1  # nobody else was told anything
