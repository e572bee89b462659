"""A server that answers as Consul's HTTP API does, from what was registered and written: the shapes are those of
Consul's documentation. There is no Consul here."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

JSON = dict[str, Any]

KINDS_SINCE_1_9 = frozenset(("service-intentions", "mesh", "jwt-provider", "api-gateway"))


def read_back(entry: JSON, index: int = 15) -> JSON:
    """An entry as Consul answers it: with what it adds to every entry."""
    return {**entry, "CreateIndex": index, "ModifyIndex": index + 20, "Hash": 1098765432109876543}


def row(registered: JSON) -> JSON:
    """What was sent to /v1/catalog/register, as /v1/catalog/service/NAME lists it."""
    service = registered["Service"]
    names = ("ID", "Kind", "Address", "Port", "Meta", "Tags", "TaggedAddresses", "Weights", "Proxy")
    return {
        "ID": "",
        "Node": registered["Node"],
        "Address": registered["Address"],
        "Datacenter": registered["Datacenter"],
        "TaggedAddresses": registered.get("TaggedAddresses"),
        "NodeMeta": {"consul-network-segment": ""},
        **{f"Service{name}": service.get(name) for name in names},
        "ServiceName": service["Service"],
        "ServiceEnableTagOverride": False,
        "ServiceConnect": {},
        "ServiceLocality": None,
        "CreateIndex": 22,
        "ModifyIndex": 22,
    }


def health(registered: JSON) -> JSON:
    """The same as /v1/health/service/NAME lists it."""
    node = {"Node": registered["Node"], "Address": registered["Address"], "Datacenter": registered["Datacenter"]}
    checks = [{"CheckID": "c", "Status": "passing"}]
    return {"Node": {**node, "ID": "x", "Meta": None}, "Service": registered["Service"], "Checks": checks}


@dataclass
class Told:
    """What a Consul has, and how it behaves."""

    entries: list[JSON] = field(default_factory=list)
    registered: list[JSON] = field(default_factory=list)
    intentions: list[JSON] = field(default_factory=list)
    datacenters: tuple[str, ...] = ("dc1", "dc2")
    version: str = "1.17.0"
    settings: JSON = field(default_factory=dict)
    trust_domain: str = "11111111.consul"
    token: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """By path: another status and answer."""
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    busy: int = 0
    """So many requests are answered 429."""
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        """Status and body."""
        if path in self.answers:
            return self.answers[path]
        start, _, name = path.rpartition("/")
        here = [each for each in self.registered if each["Datacenter"] == query.get("dc", "dc1")]
        if start == "/v1/config":
            if self.version.startswith("1.8") and name in KINDS_SINCE_1_9:
                return 500, f"invalid config entry kind: {name}"
            return 200, [read_back(each) for each in self.entries if each["Kind"] == name]
        if start == "/v1/catalog/service":
            rows = [row(each) for each in here if each["Service"]["Service"] == name]
            return 200, [each for each in rows if "filter" not in query or each["ServiceKind"]]
        return {
            "/v1/status/leader": (200, "10.1.0.1:8300"),
            "/v1/agent/self": (
                200,
                {"Config": {"Version": self.version}, "DebugConfig": self.settings, "Member": {"Name": "a"}},
            ),
            "/v1/catalog/datacenters": (200, list(self.datacenters)),
            "/v1/catalog/services": (200, {"consul": [], **{each["Service"]["Service"]: ["v1"] for each in here}}),
            "/v1/connect/intentions": (200, self.intentions),
            "/v1/connect/ca/roots": (200, {"ActiveRootID": "1", "TrustDomain": self.trust_domain, "Roots": []}),
        }.get(path, (404, "no such page"))


@contextmanager
def consul(told: Told, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of a server that answers what Consul would if it had been `told` that."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            told.asked.append(self.path)
            status, said = told.answer(parts.path, {key: each[0] for key, each in parse_qs(parts.query).items()})
            if told.token and self.headers.get("X-Consul-Token") != told.token:
                status, said = 403, "Permission denied: token with AccessorID '2' lacks permission 'service:read'"
            if told.busy:
                told.busy -= 1
                status, said = 429, "Your IP is issuing too many concurrent connections"
            text = said if isinstance(said, str) and status != 200 else json.dumps(said, default=bytes.decode)
            body = said if isinstance(said, bytes) else text.encode()
            self.send_response(status)
            for name, value in told.headers.get(parts.path, {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
