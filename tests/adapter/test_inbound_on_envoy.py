"""A real Envoy lets in whom intentions let in, and as many as it should, by every way in which it can fetch."""

import contextlib
import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
from pointsman.bootstrap.document import Host, IpPort
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.fetching import Fetching
from tests.fleet.ca import CertificateAuthority
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import TONGUES, Way
from tests.pipeline.meshes import engine_on

pytestmark = pytest.mark.envoy

TRUST_DOMAIN = "mesh.example"


class App:
    """The service s1: it answers with the headers that it got, and at /wait only when it is released."""

    def __init__(self, port: int) -> None:
        self.released = released = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/wait":
                    released.wait(60)
                body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *told: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Callers:
    """Services of the mesh that call s1 at its public listener."""

    def __init__(self, authority: CertificateAuthority, at: IpPort) -> None:
        self._authority, self._at = authority, at
        self._contexts = {name: self._context(name) for name in ("web", "batch")}

    def ask(self, caller: str, path: str = "/", **headers: str) -> tuple[int, dict[str, str]]:
        """The status and the headers that s1 got; 0 if the connection ended without an answer."""
        with contextlib.closing(self.connect(caller)) as connection:
            try:
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                body = response.read()
            except OSError:
                return 0, {}
            return response.status, json.loads(body) if response.status == 200 else {}

    def hold(self, caller: str) -> http.client.HTTPSConnection | None:
        """A connection that stays open after an answer; None if it is refused."""
        connection = self.connect(caller)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except OSError:
            connection.close()
            return None
        return connection

    def connect(self, caller: str) -> http.client.HTTPSConnection:
        """A connection that is not open yet."""
        return http.client.HTTPSConnection(*self._at, context=self._contexts[caller], timeout=30)

    def _context(self, service: str) -> ssl.SSLContext:
        identity = self._authority.issue(service, "dc1")
        context = ssl.create_default_context(cafile=str(identity.ca))
        context.check_hostname = False
        context.load_cert_chain(identity.certificate, identity.private_key)
        return context


def plain(port: int, path: str) -> int:
    """The status of a request without TLS, 0 if nobody listens."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0


def defaults(protocol: str, **more: Any) -> dict[str, Any]:
    return {"Kind": "service-defaults", "Name": "s1", "Protocol": protocol, **more}


def intentions(*sources: dict[str, Any]) -> dict[str, Any]:
    return {"Kind": "service-intentions", "Name": "s1", "Sources": list(sources)}


@pytest.fixture(params=TONGUES, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as taken:
        yield taken


def test_who_may_enter_and_how_many_follows_the_config_live(way: Way, ports: Ports, tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    public, app, exposed = (ports.take("127.0.0.1") for _ in range(3))
    host = Host(IpPort("127.0.0.1", public), IpPort("127.0.0.1", app), str(tmp_path / "access.log"))
    callers = Callers(authority, host.public)
    registration = {
        "Datacenter": "dc1",
        "Service": {
            "Kind": "connect-proxy",
            "Service": "s1-sidecar-proxy",
            "Address": host.public.ip,
            "Port": host.public.port,
            "Proxy": {
                "DestinationServiceName": "s1",
                "LocalServicePort": host.app.port,
                "Config": {"access_log_path": host.access_log},
            },
        },
    }
    with contextlib.closing(SQLiteStore(tmp_path / "store.db")) as store, App(app) as running:
        engine = engine_on(store)

        def apply(*documents: dict[str, Any]) -> None:
            configure(engine, parse_documents(documents), trust_domain=TRUST_DOMAIN)

        apply(registration, defaults("http"))
        with Fetching(way, store, tmp_path, ports, authority, host=host) as fetching:

            def until(what: str, *expected: tuple[str, str, int]) -> None:
                """Wait until each (caller, path, status) is so."""
                wait_until(
                    lambda: all(callers.ask(caller, path)[0] == status for caller, path, status in expected),
                    what,
                    children=[fetching.envoy],
                )

            # Without intentions everybody of the mesh may call, and s1 learns who does, whatever they say.
            until("s1 to be served", ("web", "/", 200), ("batch", "/", 200))
            _, got = callers.ask(
                "web", **{"x-forwarded-client-cert": "URI=spiffe://mesh.example/ns/default/dc/dc1/svc/boss"}
            )
            assert f"URI=spiffe://{TRUST_DOMAIN}/ns/default/dc/dc1/svc/web" in got["x-forwarded-client-cert"]
            assert "svc/boss" not in got["x-forwarded-client-cert"]

            batch_may = {"Action": "allow", "HTTP": {"PathPrefix": "/jobs"}}
            apply(
                intentions(
                    {"Name": "batch", "Permissions": [batch_may, {"Action": "deny", "HTTP": {"PathPrefix": "/"}}]}
                )
            )
            until("batch to keep to its path", ("web", "/", 200), ("batch", "/", 403), ("batch", "/jobs/1", 200))
            assert callers.ask("batch", "/jobs/../secret")[0] == 403

            # The application takes its time, which somebody may know, and has a path for who is outside of the mesh.
            paths = [{"Path": "/health", "ListenerPort": exposed, "LocalPathPort": app}]
            limits = {"LocalRequestTimeoutMs": 100, "LocalConnectTimeoutMs": 1234}
            apply(defaults("http", **limits, Expose={"Paths": paths}))
            wait_until(lambda: plain(exposed, "/health") == 200, "the path to be exposed", children=[fetching.envoy])
            began = time.monotonic()
            assert callers.ask("web", "/wait")[0] == 504
            assert time.monotonic() - began < 10  # Envoy's own are 15 seconds
            assert plain(exposed, "/health/else") == plain(exposed, "/") == 404
            assert cluster(fetching, "local_app")["connect_timeout"] == "1.234s"

            # Nobody sees the requests of a service that speaks something else: batch stays outside.
            apply(intentions({"Name": "batch", "Action": "deny"}), defaults("tcp"))
            until("batch to be refused", ("web", "/", 200), ("batch", "/", 0))
            wait_until(lambda: plain(exposed, "/health") == 0, "the path to be closed", children=[fetching.envoy])
            apply(defaults("tcp", MaxInboundConnections=1))
            wait_until(lambda: limit(fetching) == 1, "the limit", children=[fetching.envoy])
            with contextlib.closing(wait_until(lambda: callers.hold("web"), "the one connection that may be")):
                assert callers.ask("web")[0] == 0
            until("the place to be free again", ("web", "/", 200))

            apply(defaults("tcp"))
            with contextlib.closing(wait_until(lambda: callers.hold("web"), "a connection")):
                until("a second one to be let in", ("web", "/", 200))

            apply(intentions({"Name": "batch", "Action": "allow"}))
            until("batch to be let in again", ("batch", "/", 200))
            running.released.set()
            assert fetching.rejected() == {}
            assert [listening(fetching, each) for each in (public, exposed)] == [
                f"public_listener:127.0.0.1:{public}",
                "",
            ]
            logged = [json.loads(line) for line in Path(host.access_log).read_text().splitlines()]
            assert {"web", "batch"} == {each["peer"].rpartition("/")[2] for each in logged if each["peer"]}


def cluster(fetching: Fetching, name: str) -> dict[str, Any]:
    """A cluster as the Envoy has it."""
    for dump in fetching.envoy.config_dump():
        for each in dump.get("dynamic_active_clusters", []):
            if each["cluster"]["name"] == name:
                found: dict[str, Any] = each["cluster"]
                return found
    raise AssertionError(f"no cluster {name}")


def limit(fetching: Fetching) -> int:
    """How many connections the application may get."""
    threshold = cluster(fetching, "local_app")["circuit_breakers"]["thresholds"][0]
    return int(threshold["max_connections"])


def listening(fetching: Fetching, port: int) -> str:
    """The name of the Envoy's listener on a port, "" if it has none."""
    for dump in fetching.envoy.config_dump():
        for each in dump.get("dynamic_listeners", []):
            if each["name"].endswith(f":{port}") and "active_state" in each:
                return str(each["name"])
    return ""
