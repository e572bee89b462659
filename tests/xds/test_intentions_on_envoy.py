"""A real Envoy lets in by mutual TLS whom the intentions allow, and answers the requests that they allow."""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.chain.entryset import EntrySet
from pointsman.chain.intentions import Intention, applying
from pointsman.model.entries import parse_entry
from pointsman.model.names import ServiceName
from pointsman.xds.intentions import http_rbac, network_rbac

from tests.fleet.ca import CertificateAuthority, Identity
from tests.fleet.envoy import Envoy
from tests.fleet.process import Ports
from tests.xds.intention_rule import CALLERS, JSON, REQUESTS, WEB, Name, Request, conditions, may_call
from tests.xds.route_entries import TRUST_DOMAIN, as_json

GREETING = b"hello\n"


def intentions(name: str, namespace: str, *sources: JSON) -> JSON:
    return {"Kind": "service-intentions", "Name": name, "Namespace": namespace, "Sources": list(sources)}


def source(name: str, namespace: str, what: str | list[JSON]) -> JSON:
    return {"Name": name, "Namespace": namespace, "Action" if isinstance(what, str) else "Permissions": what}


DENY_ALL = intentions("*", "*", source("*", "*", "deny"))
READ = [{"Action": "deny", "HTTP": {"PathPrefix": "/admin"}}, {"Action": "allow", "HTTP": {"Methods": ["GET", "PUT"]}}]
WORLDS: dict[str, list[JSON]] = {
    "no intention that denies": [intentions("web", "default", source("api", "default", "allow"))],
    "one is denied": [intentions("web", "default", source("api", "default", "deny"))],
    "all are denied": [DENY_ALL],
    "one is allowed": [DENY_ALL, intentions("web", "default", source("api", "default", "allow"))],
    "a namespace is allowed, but for one": [
        DENY_ALL,
        intentions("web", "default", source("*", "team", "allow"), source("web", "team", "deny")),
    ],
    "all are denied, but for one and a namespace": [
        intentions("*", "default", source("*", "*", "deny"), source("db", "default", "allow")),
        intentions("*", "*", source("*", "team", "allow")),
        intentions("web", "default", source("*", "team", "allow"), source("api", "default", "deny")),
    ],
    "everybody by the service's own intention, before a name by that of all": [
        intentions("web", "default", source("*", "*", "allow")),
        intentions("*", "default", source("api", "default", "deny")),
    ],
}
REQUEST_WORLDS: dict[str, list[JSON]] = {
    "some requests are denied": [intentions("web", "default", source("api", "default", READ[:1]))],
    "some requests are allowed": [DENY_ALL, intentions("web", "default", source("*", "default", READ))],
    "some requests of a namespace are allowed, all of one in it": [
        DENY_ALL,
        intentions("web", "default", source("*", "team", READ), source("api", "team", "allow")),
    ],
    **{
        f"each condition is to {action}": [
            *rest,
            intentions(
                "web",
                "default",
                *(source(f"c{i}", "default", [{"Action": action, "HTTP": each}]) for i, each in enumerate(conditions)),
            ),
        ]
        for action, rest in (("allow", [DENY_ALL]), ("deny", []))
    },
}
ASKING: list[Name] = [("default", f"c{i}") for i in range(len(conditions))]


def applied(raw: list[JSON]) -> tuple[Intention, ...]:
    return applying(EntrySet.of(map(parse_entry, raw)), ServiceName(*WEB))


class Door:
    """An Envoy with a public listener for each world, and a certificate for each caller."""

    def __init__(self, identities: dict[Name, Identity], ports: dict[str, int], app: "App") -> None:
        self._contexts = {caller: _context(each) for caller, each in identities.items()}
        self.ports, self.app = ports, app

    def connect(self, world: str, caller: Name) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.ports[world]), timeout=30)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._contexts[caller].wrap_socket(raw)

    def lets_in(self, world: str, caller: Name) -> bool:
        """Whether what a caller says reaches the application, and is answered."""
        said = f"{caller} in {world}\n".encode()
        with self.connect(world, caller) as connection:
            answer = b""
            try:
                connection.sendall(said)
                while not answer.endswith(said) and (more := connection.recv(1000)):
                    answer += more
            except OSError:
                answer = b""
        assert (said in self.app.heard) == answer.endswith(said)
        return answer.endswith(said)

    def answers(self, world: str, caller: Name, requests: list[Request]) -> list[int]:
        """The status of each request, all on one connection."""
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.sock = self.connect(world, caller)
        found = []
        for each in requests:
            connection.request(each.method, each.path, headers=dict(each.headers))
            response = connection.getresponse()
            response.read()
            found.append(response.status)
        connection.close()
        return found


def _context(identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(identity.ca)
    context.load_cert_chain(identity.certificate, identity.private_key)
    return context


def _listener(name: str, port: int, filters: list[JSON], own: Identity) -> JSON:
    tls: JSON = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(own.certificate)},
                    "private_key": {"filename": str(own.private_key)},
                }
            ],
            "validation_context": {"trusted_ca": {"filename": str(own.ca)}},
        },
    }
    chain = {"filters": filters, "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls}}
    place = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": name, "address": place, "filter_chains": [chain]}


def _for_connections(raw: list[JSON]) -> list[JSON]:
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "app",
        "cluster": "local_app",
    }
    found = [as_json(each) for each in network_rbac(applied(raw), TRUST_DOMAIN)]
    return [*found, {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]


def _for_requests(raw: list[JSON]) -> list[JSON]:
    route: JSON = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    router: JSON = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    config: dict[str, Any] = {
        "@type": f"type.googleapis.com/{manager}",
        "stat_prefix": "public",
        "normalize_path": True,
        "merge_slashes": True,
        "route_config": {"virtual_hosts": [{"name": "public", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            *(as_json(each) for each in http_rbac(applied(raw), TRUST_DOMAIN)),
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    }
    return [{"name": "envoy.filters.network.http_connection_manager", "typed_config": config}]


class App:
    """An application that greets whoever connects, and says once more what it hears first."""

    def __init__(self, server: socket.socket) -> None:
        self.heard: list[bytes] = []
        self._server = server

    def run(self) -> None:
        """Until the server is closed."""
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection:
            connection.sendall(GREETING)
            if said := connection.recv(1000):
                self.heard.append(said)
                connection.sendall(said)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    directory: Path = tmp_path_factory.mktemp("intentions")
    authority = CertificateAuthority(directory / "ca", TRUST_DOMAIN)
    identities = {(namespace, name): authority.issue(name, "dc2", namespace) for namespace, name in (*CALLERS, *ASKING)}
    own = authority.issue(WEB[1], "dc1")
    with Ports() as ports, socket.create_server(("127.0.0.1", 0)) as server:
        app = App(server)
        threading.Thread(target=app.run, daemon=True).start()
        taken = {name: ports.take("127.0.0.1") for name in (*WORLDS, *REQUEST_WORLDS)}
        admin = ports.take("127.0.0.1")
        place = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": server.getsockname()[1]}}}
        endpoints = {"cluster_name": "local_app", "endpoints": [{"lb_endpoints": [{"endpoint": place}]}]}
        listeners = [_listener(name, taken[name], _for_connections(raw), own) for name, raw in WORLDS.items()]
        listeners += [_listener(name, taken[name], _for_requests(raw), own) for name, raw in REQUEST_WORLDS.items()]
        bootstrap = {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "layered_runtime": {
                "layers": [{"name": "base", "static_layer": {"re2.max_program_size.error_level": 1_000_000}}]
            },
            "static_resources": {
                "listeners": listeners,
                "clusters": [{"name": "local_app", "type": "STATIC", "load_assignment": endpoints}],
            },
        }
        with Envoy("intentions", bootstrap, directory) as envoy:
            envoy.wait_ready()
            yield Door(identities, taken, app)


@pytest.mark.envoy
@pytest.mark.parametrize("world", WORLDS)
def test_envoy_lets_in_whom_the_intentions_allow(door: Door, world: str) -> None:
    raw = WORLDS[world]

    assert {caller: door.lets_in(world, caller) for caller in CALLERS} == {
        caller: may_call(raw, caller, None) for caller in CALLERS
    }


@pytest.mark.envoy
@pytest.mark.parametrize("world", REQUEST_WORLDS)
def test_envoy_answers_the_requests_that_the_intentions_allow(door: Door, world: str) -> None:
    raw = REQUEST_WORLDS[world]
    callers = ASKING if world.startswith("each") else CALLERS

    for caller in callers:
        expected = [200 if may_call(raw, caller, each) else 403 for each in REQUESTS]
        assert door.answers(world, caller, REQUESTS) == expected, caller


@pytest.mark.envoy
def test_envoy_compares_paths_after_it_has_resolved_them(door: Door) -> None:
    world, caller = "some requests are denied", ("default", "api")
    denied = ["/admin", "/%61dmin", "/x/../admin", "//admin", "/./admin?x=/", "/x/%2e%2e/admin/"]
    passed = ["/Admin", "/adm", "/x?y=/admin", "/x/admin"]

    assert door.answers(world, caller, [Request(each) for each in denied]) == [403] * len(denied)
    assert door.answers(world, caller, [Request(each) for each in passed]) == [200] * len(passed)
