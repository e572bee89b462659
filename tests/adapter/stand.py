"""An Envoy, gateways behind it, a client before it, and `pointsman adapter` as a process: what operators have."""

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.duration_pb2 import Duration
from pointsman.bootstrap.document import Fetch, FetchFiles, FetchGrpc, FetchHttp, UnixSocket
from pointsman.store.protocol import Store
from pointsman.xds.content import compute
from pointsman.xds.manifest import SidecarManifest

from tests.adapter.fetching import sidecar
from tests.adapter.node import MANIFEST, S1
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, Publisher, instances, sidecar_plan
from tests.adapter.targets import gateways, places
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import patient
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.envoy import Envoy
from tests.fleet.handmade import upstream_listener
from tests.fleet.process import Child, Ports, wait_until

Way = Literal["files", "http", "grpc"]
WAYS: tuple[Way, ...] = ("files", "http", "grpc")

CLUSTER = f"s2.default.dc1.internal.{TRUST_DOMAIN}"
_DELAY_MS = 50


class Stand:
    """The sidecar of s1 with the upstream s2, which fails over to other datacenters through their gateways.

    The adapter's store is `url` in `environment`; `store` is where its objects are published. `adapter`, `envoy` and
    `client` run within the `with` block.
    """

    def __init__(
        self, way: Way, store: Store, url: str, directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._held = contextlib.ExitStack()
        self.way, self.publisher = way, Publisher(store)
        self._directory = directory
        self._ports = self._held.enter_context(Ports())
        self._gateways = places(self._ports, DATACENTERS)
        self._upstream = self._ports.take("127.0.0.1")
        self.authority = authority = CertificateAuthority(directory / "ca", TRUST_DOMAIN)
        self._servers = gateways(authority, "s2", self._gateways)
        self.ops = f"unix:{directory / 'ops.sock'}"
        bootstrap = sidecar(self._fetch(), authority, self._ports)
        self.admin = f"127.0.0.1:{bootstrap['admin']['address']['socket_address']['port_value']}"
        self.envoy = Envoy("s1", bootstrap, directory)
        self._environment = environment
        self._url = url
        self.adapter = self.another("adapter")

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            held.enter_context(self._held)
            held.enter_context(self._servers)
            self.publish("dc2")
            self.listen()
            held.enter_context(self.adapter)
            self.wait_started(self.adapter)
            held.enter_context(self.envoy)
            self.envoy.wait_ready()
            self.client = held.enter_context(patient("127.0.0.1", self._upstream, interval=0.01))
            self.client.wait_for_answer("dc2", after=0.0)
            self._held = held.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._held.close()

    def another(self, name: str, ops: str = "") -> Child:
        """One more adapter, for the same Envoys; not started."""
        where: list[str | Path] = {
            "files": ["--files", self._directory / "envoys", "--envoy-version", "1.40.0"],
            "http": ["--unix", self._socket, "--keep", self._directory / "kept"],
            "grpc": ["--unix", self._socket, "--keep", self._directory / "kept"],
        }[self.way]
        pages = ["--ops", ops or self.ops, "--envoy-admin", self.admin]
        command = [POINTSMAN, "adapter", self.way, "--store", self._url, *where, *pages]
        return Child(name, command, self._directory, self._environment)

    def start_adapter(self) -> None:
        """Start the adapter again; returns when it says that it is ready."""
        before = self.adapter.out.stat().st_size
        self.adapter.start()
        self.wait_started(self.adapter, before)

    def wait_started(self, adapter: Child, before: int = 0) -> None:
        """Return when an adapter has said that it is ready, and the first files are there."""
        wait_until(lambda: adapter.out.stat().st_size > before, "the adapter to be ready", children=[adapter])
        if self.way == "files":
            wait_until((self.files / "lds.pb").exists, "the files", children=[adapter])

    @property
    def files(self) -> Path:
        """Where the Envoy's files are, if it reads files."""
        return self._directory / "envoys" / S1.directory

    def publish(self, serving: str, timeout: int = 5) -> None:
        """Make `serving` the one healthy datacenter, in a cluster with this connect timeout (seconds)."""
        gateway_ports = {datacenter: port for datacenter, (_, port) in self._gateways.items()}
        content = compute(sidecar_plan(), instances([serving], gateway_ports), TRUST_DOMAIN)
        cluster = Cluster.FromString(content.cluster)
        cluster.connect_timeout.CopyFrom(Duration(seconds=timeout))
        content = replace(content, cluster=cluster.SerializeToString(deterministic=True))
        self.publisher.head(sidecar_plan(), content)

    def listen(self, generation: int = 1, **fields: Any) -> None:
        """Publish the manifest, with these fields set in the upstream's listener."""
        listener = upstream_listener("s2", "127.0.0.1", self._upstream, CLUSTER)
        for name, value in fields.items():
            getattr(listener, name).add(**value)
        manifest = SidecarManifest(generation, ("s2.default.dc1",), (listener.SerializeToString(),))
        self.publisher.manifest(MANIFEST, manifest)

    def wait_for_switch(self, datacenter: str) -> None:
        """Return when a request that was sent from now on was answered by `datacenter`."""
        now = time.perf_counter()
        wait_until(
            lambda: any(each.datacenter == datacenter for each in self.client.attempts(now)),
            f"{datacenter} to answer",
            children=[self.adapter, self.envoy],
            timeout=30,
        )

    def failures(self, begin: float) -> list[Any]:
        """The requests since `begin` that failed; and no SNI ever met another's endpoints."""
        self.client.wait_past(time.perf_counter())
        attempts = self.client.attempts(begin)
        assert attempts
        assert self._servers.seen <= {(datacenter, datacenter) for datacenter in DATACENTERS}
        return [each for each in attempts if each.failure]

    def page(self, name: str, ops: str = "") -> Any:
        """A page of the adapter's for operators: text, or JSON parsed."""
        from pointsman.serve.ask import ask
        from pointsman.serve.listen import Listen

        place = Listen.read(ops or self.ops, "ops")
        status, body = ask(place, "GET", f"/{name}", timeout=5.0, headers={"host": "localhost"})
        assert status == 200, (status, body)
        return body.decode() if name == "metrics" else json.loads(body)

    def metric(self, line: str) -> float:
        """The value of one line of /metrics, by its beginning; 0 if it is not there."""
        found = [each for each in self.page("metrics").splitlines() if each.startswith(line)]
        return sum(float(each.rpartition(" ")[2]) for each in found)

    @property
    def _socket(self) -> Path:
        return self._directory / "xds.sock"

    def _fetch(self) -> Fetch:
        match self.way:
            case "files":
                return FetchFiles(str(self.files))
            case "http":
                return FetchHttp(UnixSocket(str(self._socket)), refresh_delay_ms=_DELAY_MS)
            case _:
                return FetchGrpc(UnixSocket(str(self._socket)))
