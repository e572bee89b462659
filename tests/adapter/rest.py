"""A REST adapter on a real socket, and a client that speaks to it as an Envoy does."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.running import follow
from pointsman.adapter.report.metrics import Metrics
from pointsman.adapter.report.ops import ops
from pointsman.adapter.rest.rest_adapter import RestAdapter
from pointsman.discovery.proxy import ProxyId
from pointsman.serve.http import HttpServer
from pointsman.serve.listen import Listen
from pointsman.serve.tls import ServerTls
from pointsman.store.protocol import Store

NODE: dict[str, Any] = {
    "id": "s1-1",
    "cluster": "s1",
    "metadata": {"datacenter": "dc1", "namespace": "default"},
    "user_agent_name": "envoy",
    "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 40}},
    # What makes an Envoy's requests large.
    "extensions": [{"name": f"envoy.{i}", "category": "envoy.filters.http", "version": {}} for i in range(1200)],
}
OLD_NODE = {**NODE, "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 39, "patch": 3}}}


class Adapter:
    """Serves `store` while the `with` block lasts."""

    def __init__(
        self,
        store: Store,
        listen: str = "127.0.0.1:0",
        *,
        proxies: tuple[ProxyId, ...] = (),
        hold: float = 30.0,
        pause: float = 0.2,
        tls: ServerTls | None = None,
        datacenters: frozenset[str] = frozenset(),
        **options: Any,
    ) -> None:
        self.follower = Follower(store, proxies, datacenters=datacenters)
        self.metrics = Metrics(
            lambda: self.follower.staleness, lambda: self.follower.unreachable, self.follower.all_problems
        )
        self.adapter = RestAdapter(
            self.follower,
            self.metrics,
            others=ops(self.metrics, lambda: self.follower.unreachable, lambda: self.adapter.config_dump()),
            hold=hold,
            pause=pause,
            **options,
        )
        self.server = HttpServer(self.adapter, Listen.read(listen, "--listen"), tls, drain=self.adapter.drain)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=follow, args=(self.follower, self._stop, self.adapter.on_change))

    def __enter__(self) -> Self:
        self._thread.start()
        self.server.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self.server.stop()
        self._thread.join()
        self.adapter.close()

    def stop_looking(self) -> None:
        """From now on it does not see what is published."""
        self._stop.set()
        self._thread.join()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server.address.rpartition(":")[2])

    def metric(self, line: str) -> float:
        """The value of one line of /metrics, by its beginning; 0 if it is not there."""
        text = self.metrics.text().decode()
        return sum(float(each.rpartition(" ")[2]) for each in text.splitlines() if each.startswith(line))


@dataclass(frozen=True)
class Reply:
    """What came back, and after how many seconds."""

    status: int
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)

    @property
    def version(self) -> str:
        """What the Envoy says the next time."""
        return str(self.json["version_info"])

    @property
    def resources(self) -> list[dict[str, Any]]:
        """What it holds."""
        found: list[dict[str, Any]] = self.json["resources"]
        return found

    @property
    def names(self) -> list[str]:
        """The names of what it holds."""
        return [each.get("cluster_name") or each["name"] for each in self.resources]


class Envoy:
    """Asks an adapter: every request on a connection of its own."""

    def __init__(self, adapter: Adapter | Path, node: dict[str, Any] = NODE, tls: ssl.SSLContext | None = None) -> None:
        self.adapter, self.node, self._tls = adapter, node, tls

    def ask(self, kind: str, version: str = "", name: str = "", timeout: float = 60.0) -> Reply:
        """One request, as Envoy writes it."""
        names = {"resource_names": [name]} if name else {}
        told = {"version_info": version} if version else {}
        return self.post(f"/v3/discovery:{kind}", orjson.dumps({**told, "node": self.node, **names}), timeout)

    def post(self, path: str, body: bytes, timeout: float = 60.0, method: str = "POST") -> Reply:
        """One request of any kind."""
        connection = self._connection(timeout)
        began = time.perf_counter()
        try:
            connection.request(method, path, body, {"content-type": "application/json"})
            response = connection.getresponse()
            return Reply(response.status, response.read(), time.perf_counter() - began)
        finally:
            connection.close()

    def asking(self, kind: str, version: str = "", name: str = "") -> Callable[[], Reply]:
        """Ask now, in a thread; what is returned waits for the answer."""
        found: list[Reply] = []
        thread = threading.Thread(target=lambda: found.append(self.ask(kind, version, name)), daemon=True)
        thread.start()

        def answer() -> Reply:
            thread.join(10)
            assert found, "no answer came"
            return found[0]

        return answer

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if isinstance(self.adapter, Path):
            return UnixConnection(self.adapter, timeout)
        if self._tls is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.adapter.port, timeout=timeout, context=self._tls)
        return http.client.HTTPConnection("127.0.0.1", self.adapter.port, timeout=timeout)


class UnixConnection(http.client.HTTPConnection):
    """A connection to a server behind a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
