"""Real Envoys over ADS: who is who by certificates, and many clusters."""

import contextlib
import time
from pathlib import Path

import pytest
from pointsman.adapter.bootstrap.document import (
    AdapterTls,
    Address,
    FetchGrpc,
    Node,
    SecretFiles,
    gateway_bootstrap,
)
from pointsman.adapter.serve.tls import TlsFiles
from pointsman.chain.plan import GatewayServicePlan, PlanTarget
from pointsman.discovery.proxy import GatewayId
from pointsman.model.names import Target
from pointsman.store import keys
from pointsman.xds.content import compute
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest

from tests.adapter.doubles import Remote
from tests.adapter.fetching import sidecar
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, Publisher, instances
from tests.adapter.streams import Adapter
from tests.fleet.ca import CertificateAuthority
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy
from tests.fleet.process import Ports, wait_until

pytestmark = pytest.mark.envoy


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
            bootstrap = sidecar(FetchGrpc(Address(ip, int(port)), expected), authority, ports)
            with Envoy("s1", bootstrap, tmp_path, binary) as envoy:
                envoy.wait_ready()
                assert set(_timeouts(envoy)) == {"s2", "s3"}
                (stream,) = adapter.adapter.config_dump()["streams"]
                assert (stream["node"], stream["proxy"]) == ("s1-1", "dc1/default/s1")


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
