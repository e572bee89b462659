"""Real Envoys over ADS: targets switch under load, adapters come and go, nothing fails and no SNI meets another's
endpoints; what an Envoy rejects is told in its own words."""

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.duration_pb2 import Duration
from pointsman.adapter.bootstrap.document import (
    AdapterTls,
    Address,
    FetchGrpc,
    Node,
    PublicListener,
    SecretFiles,
    UnixSocket,
    gateway_bootstrap,
    sidecar_bootstrap,
)
from pointsman.adapter.serve.tls import TlsFiles
from pointsman.chain.plan import GatewayServicePlan, PlanTarget
from pointsman.discovery.proxy import GatewayId
from pointsman.model.entries import Mode
from pointsman.model.names import Target
from pointsman.store import keys
from pointsman.xds.content import Content, compute
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest, SidecarManifest

from tests.adapter.doubles import Remote
from tests.adapter.node import MANIFEST, S1
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, Publisher, instances, sidecar_plan
from tests.adapter.streams import Adapter
from tests.adapter.targets import Gateways, places
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import Client
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy
from tests.fleet.handmade import upstream_listener
from tests.fleet.process import Ports, wait_until

pytestmark = pytest.mark.envoy

FLIPS = 50
CLUSTER = f"s2.default.dc1.internal.{TRUST_DOMAIN}"


def _wait_for_switch(client: Client, datacenter: str) -> None:
    """Return when a request that was sent from now on was answered by `datacenter`."""
    now = time.perf_counter()
    wait_until(lambda: any(each.datacenter == datacenter for each in client.attempts(now)), f"{datacenter} to answer")


def _sidecar(fetch: FetchGrpc, authority: CertificateAuthority, ports: Ports) -> dict[str, Any]:
    identity = authority.issue("s1", "dc1")
    admin, public, app = (ports.take("127.0.0.1") for _ in range(3))
    return sidecar_bootstrap(
        Node("s1-1", "s1", "dc1"),
        Address("127.0.0.1", admin),
        fetch,
        SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca)),
        PublicListener(Address("127.0.0.1", public), Address("127.0.0.1", app)),
    )


@pytest.mark.parametrize(
    ("mode", "binary", "delta"),
    [
        pytest.param("remote", ENVOY_1_40, True, id="SNI with the endpoints, address changes, delta"),
        pytest.param("local", ENVOY_1_40, False, id="SNI with the endpoints, address stays, state of the world"),
        pytest.param("remote", ENVOY_1_39, False, id="SNI in the cluster, address changes, state of the world"),
        pytest.param("local", ENVOY_1_39, True, id="SNI in the cluster, address stays, delta"),
    ],
)
def test_targets_switch_while_adapters_come_and_go_and_nothing_fails(
    mode: Mode, binary: Path, delta: bool, store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        upstream = ports.take("127.0.0.1")
        gateways = places(ports, DATACENTERS)
        seen = held.enter_context(Gateways(authority, "s2", gateways)).seen

        def content(serving: str) -> Content:
            gateway_ports = {datacenter: port for datacenter, (_, port) in gateways.items()}
            return compute(sidecar_plan(mode), instances([serving], gateway_ports), TRUST_DOMAIN)

        publisher.head(sidecar_plan(mode), content("dc2"))
        listener = upstream_listener("s2", "127.0.0.1", upstream, CLUSTER)
        publisher.manifest(MANIFEST, SidecarManifest(1, ("s2.default.dc1",), (listener.SerializeToString(),)))
        socket = tmp_path / "ads.sock"
        running = held.enter_context(contextlib.ExitStack())
        adapter = running.enter_context(Adapter(store, f"unix:{socket}"))
        bootstrap = _sidecar(FetchGrpc(UnixSocket(str(socket)), delta=delta), authority, ports)
        envoy = held.enter_context(Envoy("s1", bootstrap, tmp_path, binary))
        envoy.wait_ready()
        client = held.enter_context(Client("127.0.0.1", upstream, interval=0.004, timeout=5.0))
        client.wait_for_answer("dc2", after=0.0)
        begin = time.perf_counter()
        for flip in range(FLIPS):
            serving = "dc2" if flip % 2 else "dc3"
            if flip % 20 == 10:
                running.close()
            publisher.head(sidecar_plan(mode), content(serving))
            if flip % 20 == 10:
                adapter = running.enter_context(Adapter(store, f"unix:{socket}"))
            _wait_for_switch(client, serving)
        client.wait_past(time.perf_counter())

        attempts = client.attempts(begin)
        assert [attempt for attempt in attempts if attempt.failure] == []
        assert len(attempts) > FLIPS
        if mode == "remote":
            assert seen == {("dc2", "dc2"), ("dc3", "dc3")}
        else:
            assert seen == {("dc1", "dc2"), ("dc1", "dc3")}
        names = ("cds.update_rejected", "cluster_added", "cluster_modified", "cluster_removed")
        stats = envoy.stats(f"cluster_manager.{name}" for name in names)
        assert stats["cluster_manager.cds.update_rejected"] == stats["cluster_manager.cluster_removed"] == 0
        # Where the SNI goes with the endpoints, health never touches the cluster, nor does another adapter.
        assert stats["cluster_manager.cluster_modified"] == (0 if binary == ENVOY_1_40 else FLIPS)
        assert adapter.adapter.rejections() == []


@pytest.mark.soak
@pytest.mark.parametrize("delta", [True, False], ids=["delta", "state of the world"])
def test_a_listener_moves_to_a_new_cluster_and_the_old_one_goes_and_nothing_fails(
    delta: bool, store: Remote, publisher: Publisher, tmp_path: Path
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
        adapter = held.enter_context(Adapter(store))
        ip, _, port = adapter.server.address.rpartition(":")
        bootstrap = _sidecar(FetchGrpc(Address(ip, int(port)), delta=delta), authority, ports)
        envoy = held.enter_context(Envoy("s1", bootstrap, tmp_path))
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
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
def test_an_envoy_and_an_adapter_know_each_other_by_their_certificates(
    binary: Path, store: Remote, published: Publisher, tmp_path: Path
) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    own, identity = authority.issue("adapter", "dc1"), authority.issue("s1", "dc1")
    with Ports() as ports:
        tls = TlsFiles(own.certificate, own.private_key, own.ca)
        with Adapter(store, tls=tls) as adapter:
            ip, _, port = adapter.server.address.rpartition(":")
            files = SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca))
            expected = AdapterTls(files, f"spiffe://{TRUST_DOMAIN}/ns/default/dc/dc1/svc/adapter")
            bootstrap = _sidecar(FetchGrpc(Address(ip, int(port)), expected), authority, ports)
            with Envoy("s1", bootstrap, tmp_path, binary) as envoy:
                envoy.wait_ready()
                assert set(_timeouts(envoy)) == {"s2", "s3"}
                (stream,) = adapter.adapter.config_dump()["streams"]
                assert (stream["node"], stream["proxy"]) == ("s1-1", "dc1/default/s1")


def test_what_an_envoy_rejects_is_told_in_its_words_and_keeps_nothing_else_back(
    store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    services = [f"s{number}" for number in range(2, 12)]
    plans = {service: sidecar_plan(service=service) for service in services}

    def publish(timeouts: dict[str, int]) -> None:
        for service, milliseconds in timeouts.items():
            content = compute(plans[service], instances(DATACENTERS, service=service), TRUST_DOMAIN)
            cluster = Cluster.FromString(content.cluster)
            cluster.connect_timeout.CopyFrom(Duration(seconds=milliseconds // 1000))
            publisher.head(plans[service], replace(content, cluster=cluster.SerializeToString(deterministic=True)))

    publish(dict.fromkeys(services, 5000))
    publisher.manifest(MANIFEST, SidecarManifest(1, tuple(f"{each}.default.dc1" for each in services), ()))
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        socket = tmp_path / "ads.sock"
        running = held.enter_context(contextlib.ExitStack())
        running.enter_context(Adapter(store, f"unix:{socket}"))
        bootstrap = _sidecar(
            FetchGrpc(UnixSocket(str(socket))), CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN), ports
        )
        envoy = held.enter_context(Envoy("s1", bootstrap, tmp_path))
        envoy.wait_ready()
        assert set(_timeouts(envoy).values()) == {"5s"}
        # All of them in one response, of which Envoy takes nothing.
        running.close()
        publish({service: 0 if service == "s5" else 7000 for service in services})
        adapter = running.enter_context(Adapter(store, f"unix:{socket}")).adapter
        others = [service for service in services if service != "s5"]
        wait_until(lambda: {_timeouts(envoy)[each] for each in others} == {"7s"}, "the others to be taken")
        (rejection,) = wait_until(adapter.rejections, "the rejection to be told")
        assert _timeouts(envoy)["s5"] == "5s"
        assert (rejection.proxy, rejection.node, rejection.kind) == (S1, "s1-1", "clusters")
        assert rejection.name == f"s5.default.dc1.internal.{TRUST_DOMAIN}"
        assert "ConnectTimeout: value must be greater than 0s" in rejection.reason
        assert adapter.config_dump()["rejections"] == [rejection.json()]
        publish({"s5": 7000})
        wait_until(lambda: _timeouts(envoy)["s5"] == "7s", "the good one to be taken")
        wait_until(lambda: adapter.rejections() == [], "the rejection to be over")


def _timeouts(envoy: Envoy) -> dict[str, str]:
    """By service, the connect timeouts of the clusters that an Envoy has in force."""
    (dump,) = (each for each in envoy.config_dump() if each["@type"].endswith("ClustersConfigDump"))
    found = (each["cluster"] for each in dump["dynamic_active_clusters"])
    return {each["name"].partition(".")[0]: each["connect_timeout"] for each in found}


@pytest.mark.soak
def test_eleven_hundred_clusters_start_and_switch_within_seconds(
    store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    services = [f"s{number}" for number in range(1100)]
    gateway = GatewayId("dc1", "gateway-1")

    def publish(service: str, port: int) -> None:
        plan = GatewayServicePlan(PlanTarget(Target(service, "", "default", "dc1")))
        publisher.head(plan, compute(plan, instances(DATACENTERS, service=service, port=port), TRUST_DOMAIN))

    for service in services:
        publish(service, 8000)
    shared = GatewaysManifest(
        1, TRUST_DOMAIN, tuple(sorted(f"{each}.default.dc1" for each in services)), tuple(services), ()
    )
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        admin, port = ports.take("127.0.0.1"), ports.take("127.0.0.1")
        publisher.manifest(keys.gateways_manifest("dc1"), shared)
        publisher.manifest(gateway.manifest_keys[0], GatewayManifest(1, "127.0.0.1", port, 0, ""))
        adapter = held.enter_context(Adapter(store))
        ip, _, at = adapter.server.address.rpartition(":")
        bootstrap = gateway_bootstrap(
            Node(gateway.id, "mesh-gateway", "dc1"),
            Address("127.0.0.1", admin),
            FetchGrpc(Address(ip, int(at))),
        )
        began = time.perf_counter()
        envoy = held.enter_context(Envoy("gateway", bootstrap, tmp_path))
        envoy.wait_ready()
        started = time.perf_counter() - began
        names = ("cluster_manager.warming_clusters", "cluster_manager.active_clusters")
        assert envoy.stats(names) == {names[0]: 0, names[1]: len(services) + 1}
        began = time.perf_counter()
        for service in ("s0", "s1099"):
            publish(service, 8001)
            wait_until(lambda service=service: _port(envoy, service) == 8001, f"{service} to have moved")
        switched = time.perf_counter() - began
        updates = "cluster.s5.default.dc1.internal.mesh.example.update_success"
        assert envoy.stats([updates])[updates] == 1  # nobody else was told anything
        assert started < 10
        assert switched < 5


def _port(envoy: Envoy, service: str) -> int:
    hosts = envoy.clusters()[f"{service}.default.dc1.internal.{TRUST_DOMAIN}"]
    return int(hosts[0]["address"]["socket_address"]["port_value"])
