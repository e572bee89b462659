"""Real Envoys over REST: an adapter dies and comes back, one of two is behind; many clusters."""

import contextlib
import time
from pathlib import Path

import pytest
from pointsman.adapter.bootstrap.document import Address, FetchHttp, Node, UnixSocket, gateway_bootstrap
from pointsman.chain.plan import GatewayServicePlan, PlanTarget
from pointsman.model.names import Target
from pointsman.store import keys
from pointsman.xds.content import compute
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest

from tests.adapter.doubles import Remote
from tests.adapter.fetching import OVER_REST, balanced, sidecar
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, Publisher, instances
from tests.adapter.rest import Adapter
from tests.adapter.switching import Switching, failures, wait_for_switch
from tests.fleet.client import Client
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy
from tests.fleet.process import Child, Ports, wait_listening, wait_until
from tests.fleet.ways import DELAY_MS

pytestmark = pytest.mark.envoy


@pytest.mark.soak
def test_an_adapter_is_killed_under_load_and_what_changed_meanwhile_comes_when_it_is_back(
    store: Remote, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        at = ports.take("127.0.0.1")
        mesh = held.enter_context(Switching("remote", "tcp", store, tmp_path, ports))
        command = [POINTSMAN, "adapter", "http", "--store", tmp_path / "store.db", "--listen", f"127.0.0.1:{at}"]
        adapter = held.enter_context(Child("adapter", command, tmp_path))
        wait_listening(adapter, "127.0.0.1", at)
        fetch = FetchHttp(Address("127.0.0.1", at), refresh_delay_ms=DELAY_MS)
        envoy = held.enter_context(Envoy("s1", sidecar(fetch, mesh.authority, ports), tmp_path))
        envoy.wait_ready()
        client = held.enter_context(Client("127.0.0.1", mesh.upstream, interval=0.004, timeout=5.0))
        begin = client.wait_for_answer("dc2", after=0.0).done
        for _ in range(2):
            adapter.kill()
            serving = mesh.publish()
            client.wait_past(time.perf_counter() + 0.1)
            adapter.start()
            wait_for_switch(client, serving)
        assert failures([client], begin) == []
        assert mesh.targets.seen == mesh.ways()


@pytest.mark.soak
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
def test_two_adapters_one_of_them_stale_behind_one_address(binary: Path, store: Remote, tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        mesh = held.enter_context(Switching("remote", "tcp", store, tmp_path, ports))
        cut_off = held.enter_context(contextlib.closing(Remote(tmp_path / "store.db")))
        options = {**OVER_REST, "hold": 0.1}
        ahead, behind = (held.enter_context(Adapter(each, **options)) for each in (store, cut_off))
        bootstrap = sidecar(
            FetchHttp(Address("127.0.0.1", ahead.port), refresh_delay_ms=DELAY_MS), mesh.authority, ports
        )
        balanced(bootstrap, [ahead.port, behind.port])
        envoy = held.enter_context(Envoy("s1", bootstrap, tmp_path, binary))
        envoy.wait_ready()
        client = held.enter_context(Client("127.0.0.1", mesh.upstream, interval=0.004, timeout=5.0))
        begin = client.wait_for_answer("dc2", after=0.0).done
        for round_ in range(4):
            if round_ == 1:
                cut_off.leave()
            assert mesh.switch([client]) == []
            # However often it asks the one that is behind, it does not go back.
            asked = behind.metric("pointsman_unchanged_total")
            wait_until(lambda asked=asked: behind.metric("pointsman_unchanged_total") > asked + 4, "it to be asked")
            now = time.perf_counter()
            client.wait_past(now + 0.1)
            assert len({each.datacenter for each in client.attempts(now)}) == 1
        assert failures([client], begin) == []
        assert mesh.targets.seen == mesh.ways()
        rejected = "cluster_manager.cds.update_rejected"
        assert envoy.stats([rejected]) == {rejected: 0}


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
