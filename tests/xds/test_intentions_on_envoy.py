"""A real Envoy, with the listener that a sidecar gets, lets in by mutual TLS whom the intentions allow, and answers the
requests that they allow."""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from pointsman.chain.entryset import EntrySet
from pointsman.model.entries import parse_entry
from pointsman.model.registration import parse_registration
from pointsman.xds.cluster import IDENTITY_SECRET, TRUST_SECRET
from pointsman.xds.inbound import Host, IpPort
from pointsman.xds.inbound_of import inbound_of
from pointsman.xds.public_listener import own_clusters, own_listeners

from tests.fleet.ca import CertificateAuthority, Identity
from tests.fleet.envoy import Envoy
from tests.fleet.process import Ports
from tests.xds.intention_rule import CALLERS, JSON, REQUESTS, WEB, Name, Request, conditions, may_call
from tests.xds.route_entries import TRUST_DOMAIN, as_json


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
    "everybody may call the service, and one may call nobody": [
        intentions("web", "default", source("*", "*", "allow")),
        intentions("*", "default", source("api", "default", "deny")),
    ],
    "all are denied, nobody may call the service, and one may call everybody": [
        DENY_ALL,
        intentions("web", "default", source("*", "default", "deny")),
        intentions("*", "default", source("api", "default", "allow")),
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


HTTP = {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}


def sidecar(entries: list[JSON], host: Host) -> tuple[list[Listener], list[Cluster]]:
    """What a sidecar of WEB gets for incoming connections under `entries`."""
    proxy = {"DestinationServiceName": "web"}
    registration = parse_registration({"Datacenter": "dc1", "Service": {"Kind": "connect-proxy", "Proxy": proxy}})
    inbound = inbound_of(EntrySet.of(map(parse_entry, entries)), registration, TRUST_DOMAIN)
    secrets = (SdsSecretConfig(name=IDENTITY_SECRET), SdsSecretConfig(name=TRUST_SECRET))
    return [*own_listeners(inbound, host, secrets)], own_clusters(inbound, host)


class Door:
    """An Envoy with a public listener for each world, before one application, and a certificate for each caller."""

    def __init__(self, identities: dict[Name, Identity], ports: dict[str, int], app: "App") -> None:
        self._contexts = {caller: _context(each) for caller, each in identities.items()}
        self.ports, self.app = ports, app

    def connect(self, world: str, caller: Name) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.ports[world]), timeout=30)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._contexts[caller].wrap_socket(raw)

    def answers(self, world: str, caller: Name, requests: list[Request]) -> list[int]:
        """The status of each request, all on one connection; 0 without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.sock = self.connect(world, caller)
        found = []
        for each in requests:
            try:
                connection.request(each.method, each.path, headers=dict(each.headers))
                response = connection.getresponse()
                response.read()
            except OSError:
                found.append(0)
                break
            found.append(response.status)
        connection.close()
        return found

    def lets_in(self, world: str, caller: Name) -> bool:
        """Whether what a caller says reaches the application, and is answered."""
        said = f"/{quote(world)}/{'/'.join(caller)}"
        answered = self.answers(world, caller, [Request(said)]) == [200]
        assert (said in self.app.heard) == answered
        return answered


def _context(identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(identity.ca)
    context.load_cert_chain(identity.certificate, identity.private_key)
    return context


class App(ThreadingHTTPServer):
    """An application that answers everything, and knows which paths it was asked for."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.heard: set[str] = set()
        super().__init__(("127.0.0.1", 0), _Answer)


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: App

    def do_GET(self) -> None:
        self.server.heard.add(self.path)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test's output is its own."""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    directory: Path = tmp_path_factory.mktemp("intentions")
    authority = CertificateAuthority(directory / "ca", TRUST_DOMAIN)
    identities = {(namespace, name): authority.issue(name, "dc2", namespace) for namespace, name in (*CALLERS, *ASKING)}
    own = authority.issue(WEB[1], "dc1")
    pair = {
        name: {"filename": str(path)}
        for name, path in (("certificate_chain", own.certificate), ("private_key", own.private_key))
    }
    secrets = [
        {"name": IDENTITY_SECRET, "tls_certificate": pair},
        {"name": TRUST_SECRET, "validation_context": {"trusted_ca": {"filename": str(own.ca)}}},
    ]
    with Ports() as ports, App() as app:
        threading.Thread(target=app.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        taken = {name: ports.take("127.0.0.1") for name in (*WORLDS, *REQUEST_WORLDS)}
        admin = ports.take("127.0.0.1")
        listeners: list[JSON] = []
        clusters: dict[str, JSON] = {}
        for name, raw in {**WORLDS, **{name: [HTTP, *raw] for name, raw in REQUEST_WORLDS.items()}}.items():
            host = Host(IpPort("127.0.0.1", taken[name]), IpPort("127.0.0.1", app.server_address[1]))
            its_listeners, its_clusters = sidecar(raw, host)
            listeners += map(as_json, its_listeners)
            clusters |= {each.name: as_json(each) for each in its_clusters}
        bootstrap = {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "layered_runtime": {
                "layers": [{"name": "base", "static_layer": {"re2.max_program_size.error_level": 1_000_000}}]
            },
            "static_resources": {
                "listeners": listeners,
                "clusters": list(clusters.values()),
                "secrets": secrets,
            },
        }
        with Envoy("intentions", bootstrap, directory) as envoy:
            envoy.wait_ready()
            yield Door(identities, taken, app)
        app.shutdown()


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
