"""How many answers a second one REST adapter gives, to Envoy's own requests of 77 KB and to small ones."""

import contextlib
import http.client
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
from pointsman.bootstrap.document import Node
from pointsman.delivery.response import CLUSTER_TYPE, ENDPOINT_TYPE
from pointsman.model.instance import read_instance
from pointsman.model.keys import service_key
from pointsman.model.names import ServiceName
from pointsman.store.sqlite import SQLiteStore
from pointsman.xds.content import Content, compute

from tests.adapter.node import MANIFEST, manifest
from tests.adapter.published import TRUST_DOMAIN, Publisher, sidecar_plan
from tests.bench.captured import first_request
from tests.bench.floors import empty_application
from tests.bench.table import Beside, Measured, percentile
from tests.bench.up import send
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, wait_until

CONNECTIONS = 16
ENDPOINTS, CLUSTERS = 10, 100
"""Of one service, and in all."""

_ANYBODY = b"a" * 8
"""The node id in a request that stands for those of many Envoys."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: `kind` is clusters or endpoints, `what` says it to people, `request` is a whole one."""

    kind: str
    what: str
    request: bytes

    def ask(self, port: int) -> list[dict[str, object]]:
        """The resources with which the server on this port of 127.0.0.1 answers."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with contextlib.closing(connection):
            connection.connect()
            connection.sock.sendall(self.request)
            with http.client.HTTPResponse(connection.sock) as response:
                response.begin()
                found: list[dict[str, object]] = orjson.loads(response.read())["resources"]
        return found

    def rate(self, port: int, seconds: float) -> tuple[float, list[float]]:
        """Answers a second, and how long each took. Every request is the first of another Envoy: nothing is held."""
        # Who asks for the same again is taken for an Envoy that rejected its answer, and made to wait.
        before, _, after = self.request.partition(_ANYBODY)
        requests = (b"%s%08d%s" % (before, number, after) for number in itertools.count(next(_strangers)))
        send(port, requests, min(1.0, seconds), CONNECTIONS)  # until all is rendered and warm
        return send(port, requests, seconds, CONNECTIONS)


_strangers = itertools.count(0, 1_000_000)


def _content(service: str, endpoints: int) -> Content:
    plan = sidecar_plan("", service, failover=())
    raw = {
        "Node": {"Node": "n"},
        "Service": {"Kind": "connect-proxy", "Port": 8000, "Proxy": {"DestinationServiceName": service}},
    }
    found = [
        read_instance({**raw, "Service": {**raw["Service"], "ID": str(i), "Address": f"10.0.0.{i + 1}"}}, service)
        for i in range(endpoints)
    ]
    return compute(plan, {service_key("dc1", ServiceName("default", service)): found}, TRUST_DOMAIN)


@contextlib.contextmanager
def adapter(directory: Path) -> Iterator[int]:
    """The port of an adapter that serves CLUSTERS clusters of ENDPOINTS endpoints each over REST."""
    with contextlib.closing(SQLiteStore(directory / "store.db")) as store:
        publisher = Publisher(store)
        services = [f"s{number}" for number in range(2, 2 + CLUSTERS)]
        for service in services:
            publisher.head(sidecar_plan("", service, failover=()), _content(service, ENDPOINTS))
        publisher.manifest(MANIFEST, manifest(*services))
        command = [POINTSMAN, "adapter", "http", "--store", directory / "store.db", "--listen", "127.0.0.1:0"]
        with Child("adapter", command, directory) as child:
            line = json.loads(wait_until(child.out.read_bytes, "the adapter to be ready", children=[child]))
            yield int(line["http"].rpartition(":")[2])


def questions(directory: Path) -> Iterator[Question]:
    """For endpoints and clusters, as an Envoy asks, and in few words."""
    captured = orjson.loads(first_request(directory, Node(_ANYBODY.decode(), "s1", "dc1")))
    few = {**captured, "node": {key: each for key, each in captured["node"].items() if key != "extensions"}}
    name = f"s2.default.dc1.internal.{TRUST_DOMAIN}"
    for size, body in (("77 KB", captured), ("small", few)):
        for kind, what, rest in (
            ("endpoints", f"{ENDPOINTS} endpoints", {"type_url": ENDPOINT_TYPE, "resource_names": [name]}),
            ("clusters", f"{CLUSTERS} clusters", {"type_url": CLUSTER_TYPE}),
        ):
            data = orjson.dumps({**body, **rest})
            head = f"POST /v3/discovery:{kind} HTTP/1.1\r\nhost: pointsman\r\ncontent-type: application/json\r\n"
            whole = f"{head}content-length: {len(data)}\r\n\r\n".encode() + data
            yield Question(kind, f"REST answers, {what}, {size} requests", whole)


def check(question: Question, resources: list[dict[str, object]]) -> None:
    """Fails unless these are what was asked for."""
    count = len(resources)
    if question.kind == "endpoints":
        assert len(resources) == 1, resources
        count = len(resources[0]["endpoints"][0]["lb_endpoints"])
    assert count == (ENDPOINTS if question.kind == "endpoints" else CLUSTERS), resources


def measure(directory: Path, seconds: float, progress: Callable[[str], None]) -> Iterator[Measured]:
    """Answers a second of one process."""
    asked = list(questions(directory))
    with adapter(directory) as port, empty_application(directory) as empty:
        for each in asked:
            check(each, each.ask(port))
            rate, times = each.rate(port, seconds)
            floor, _ = each.rate(empty, seconds / 2)
            progress(f"{each.what}: {rate:,.0f} a second")
            yield Measured(each.what, rate, "a second", beside=Beside("an empty application", floor))
            yield Measured("  p99", percentile(times, 0.99) * 1e3, "ms")
