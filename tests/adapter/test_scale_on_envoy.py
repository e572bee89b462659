"""Envoys of more than a thousand clusters: how long they take to start, to switch, and to come back."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.bootstrap.document import (
    Address,
    Fetch,
    FetchGrpc,
    FetchHttp,
    Node,
    UnixSocket,
    gateway_bootstrap,
)
from pointsman.chain.plan import GatewayServicePlan, PlanTarget
from pointsman.discovery.proxy import GatewayId
from pointsman.model.names import Target
from pointsman.store import keys
from pointsman.xds.content import compute
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest

from tests.adapter.doubles import Remote
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, Publisher, instances
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.envoy import Envoy
from tests.fleet.process import Child, Ports, wait_until

pytestmark = [pytest.mark.envoy, pytest.mark.soak]

GATEWAY = GatewayId("dc1", "gateway-1")
WARMING, ACTIVE = "cluster_manager.warming_clusters", "cluster_manager.active_clusters"
TURNED_AWAY = [f"cluster.pointsman.{each}" for each in ("upstream_rq_pending_overflow", "upstream_cx_overflow")]


class Gateway:
    """The mesh gateway of dc1, which passes on to every one of many services, and the adapter that it fetches from."""

    def __init__(self, publisher: Publisher, directory: Path, services: int, way: str, ports: Ports) -> None:
        self._publisher = publisher
        self.services = [f"s{number}" for number in range(services)]
        for service in self.services:
            self.publish(service, 8000)
        names = tuple(sorted(f"{each}.default.dc1" for each in self.services))
        services = tuple(f"default/{service}" for service in sorted(self.services))
        shared = GatewaysManifest(1, TRUST_DOMAIN, names, services, ())
        publisher.manifest(keys.gateways_manifest("dc1"), shared)
        listen = ports.take("127.0.0.1")
        publisher.manifest(GATEWAY.manifest_keys[0], GatewayManifest(1, "127.0.0.1", listen, 0, ""))
        self._socket = directory / "xds.sock"
        command = [POINTSMAN, "adapter", way, "--store", directory / "store.db", "--unix", self._socket]
        self.adapter = Child("adapter", command, directory)
        at = UnixSocket(str(self._socket))
        fetch: Fetch = FetchGrpc(at) if way == "grpc" else FetchHttp(at)
        node = Node(GATEWAY.id, "mesh-gateway", "dc1")
        bootstrap = gateway_bootstrap(node, Address("127.0.0.1", ports.take("127.0.0.1")), fetch)
        self.envoy = Envoy("gateway", bootstrap, directory)

    def publish(self, service: str, port: int) -> None:
        """Have the service listen on `port` everywhere."""
        plan = GatewayServicePlan(PlanTarget(Target(service, "", "default", "dc1")))
        found = instances(DATACENTERS, service=service, port=port)
        self._publisher.head(plan, compute(plan, found, TRUST_DOMAIN))

    def start_adapter(self) -> None:
        """Start the adapter; returns when it listens."""
        self._socket.unlink(missing_ok=True)
        self.adapter.start()
        wait_until(self._socket.exists, "the adapter", children=[self.adapter], timeout=60)

    def whole(self) -> bool:
        """Whether the Envoy has every cluster, with its endpoints."""
        # One more is the adapter's own.
        return self.envoy.stats([WARMING, ACTIVE]) == {WARMING: 0, ACTIVE: len(self.services) + 1}

    def counter(self, service: str, name: str = "update_success") -> int:
        """A counter of the service's cluster."""
        full = f"cluster.{service}.default.dc1.internal.{TRUST_DOMAIN}.{name}"
        return self.envoy.stats([full]).get(full, 0)

    def memory(self) -> tuple[int, int]:
        """Of adapter and Envoy, in MB."""
        return _resident(self.adapter.pid), _resident(self.envoy.pid)


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))) // 1024


@contextlib.contextmanager
def _timed(what: str, within: float) -> Iterator[None]:
    began = time.perf_counter()
    yield
    took = time.perf_counter() - began
    print(f"\n  {what}: {took:.2f} s", end="")
    assert took < within, what


@pytest.mark.parametrize(
    ("way", "services", "within"),
    [
        pytest.param("grpc", 1100, 10.0, id="1,100 clusters over gRPC"),
        pytest.param("grpc", 5000, 60.0, id="5,000 clusters over gRPC"),
        pytest.param("http", 1100, 60.0, id="1,100 clusters over REST"),
    ],
)
def test_it_starts_switches_and_comes_back(
    way: str, services: int, within: float, store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as held:
        gateway = Gateway(publisher, tmp_path, services, way, held.enter_context(Ports()))
        held.callback(gateway.adapter.stop)
        held.callback(gateway.envoy.stop)
        gateway.start_adapter()
        envoy, first, last, other = gateway.envoy, "s0", f"s{services - 1}", "s5"

        def until(condition: Callable[[], Any], what: str) -> None:
            # Asking costs an Envoy of so many clusters a good part of a second.
            wait_until(lambda: condition() or time.sleep(0.2), what, children=[gateway.adapter, envoy], timeout=within)

        with _timed("started", within):
            envoy.start()
            envoy.wait_ready(within)
            until(gateway.whole, "every cluster")
        print("\n  memory of adapter and Envoy: {} and {} MB".format(*gateway.memory()), end="")
        before = gateway.counter(other)

        def switch(port: int, what: str) -> None:
            with _timed(what, within / 2):
                for service in (first, last):
                    update = gateway.counter(service)
                    gateway.publish(service, port)
                    until(lambda service=service, update=update: gateway.counter(service) > update, service)

        switch(8001, "two switched")
        assert gateway.counter(other) == before, "nobody else was told anything"

        gateway.adapter.kill()
        gateway.publish(first, 8002)
        update = gateway.counter(first)
        with _timed("the adapter was killed and back, with what had changed meanwhile", within):
            gateway.start_adapter()
            until(lambda: gateway.counter(first) > update, "what changed meanwhile")
        # An Envoy that still has everything loses nothing by it.
        assert gateway.whole()
        changed = envoy.stats([f"cluster_manager.cluster_{each}" for each in ("modified", "removed")])
        assert set(changed.values()) == {0}
        switch(8003, "two switched again")

        envoy.kill()
        with _timed("the Envoy was killed and back", within):
            envoy.start()
            envoy.wait_ready(within)
            until(gateway.whole, "every cluster")
        rejected = envoy.stats(["cluster_manager.cds.update_rejected", *TURNED_AWAY])
        assert set(rejected.values()) == {0}
        print("\n  memory of adapter and Envoy: {} and {} MB".format(*gateway.memory()), end="")
