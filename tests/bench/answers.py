"""How many answers a second one REST adapter gives, to requests as large as Envoy's."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
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
from tests.bench.polls import Poller
from tests.bench.table import Measured, percentile
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, wait_until

CONNECTIONS = 16
GOALS = {"endpoints": 5 * 1530.0, "clusters": 5 * 620.0}
"""Five times what Sovereign 0.32 gave on such a machine with two workers: answers a second."""

_ANYBODY = b"a" * 8
"""The node id in a request that stands for those of many Envoys."""


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


def answers(directory: Path, seconds: float) -> Iterator[tuple[str, float, list[float], int]]:
    """For endpoints (10 of them) and clusters (100 of them): answers a second, how long each took, and its size.

    Every request is the first of another Envoy, and is answered in full: they all start, and nothing is held.
    """
    store = SQLiteStore(directory / "store.db")
    publisher = Publisher(store)
    services = [f"s{number}" for number in range(2, 102)]
    for service in services:
        publisher.head(sidecar_plan("", service, failover=()), _content(service, 10))
    publisher.manifest(MANIFEST, manifest(*services))
    captured = first_request(directory, Node(_ANYBODY.decode(), "s1", "dc1"))
    command = [POINTSMAN, "adapter", "http", "--store", directory / "store.db", "--listen", "127.0.0.1:0"]
    with Child("adapter", command, directory) as adapter:
        line = json.loads(wait_until(adapter.out.read_bytes, "the adapter to be ready", children=[adapter]))
        port = int(line["http"].rpartition(":")[2])
        for kind, resources in (("endpoints", 10), ("clusters", 100)):
            name = f"s2.default.dc1.internal.{TRUST_DOMAIN}" if kind == "endpoints" else ""
            rate, times, body = asyncio.run(_load(port, kind, name, _request(captured, kind, name), seconds))
            found = orjson.loads(body)["resources"]
            count = len(found[0]["endpoints"][0]["lb_endpoints"]) if kind == "endpoints" else len(found)
            assert count == resources, body
            yield kind, rate, times, len(body)
    store.close()


def _request(captured: bytes, kind: str, name: str) -> bytes:
    """A whole request for `kind` by the Envoy whose request for clusters was captured."""
    node = captured.rpartition(b',"type_url":')[0]
    rest = {"type_url": ENDPOINT_TYPE, "resource_names": [name]} if name else {"type_url": CLUSTER_TYPE}
    body = node + b"," + orjson.dumps(rest)[1:]
    return b"POST /v3/discovery:%s HTTP/1.1\r\nhost: pointsman\r\ncontent-length: %d\r\n\r\n%s" % (
        kind.encode(),
        len(body),
        body,
    )


async def _load(port: int, kind: str, name: str, request: bytes, seconds: float) -> tuple[float, list[float], bytes]:
    times: list[float] = []
    asked: dict[Poller, float] = {}

    def again(poller: Poller) -> None:
        now = time.perf_counter()
        times.append(now - asked[poller])
        asked[poller] = now
        poller.write(b"%s%08d%s" % (before, next(numbers), after))

    pollers = [await Poller.connect(port, kind, name, again) for _ in range(CONNECTIONS)]
    # Who asks for the same again is taken for an Envoy that rejected its answer, and made to wait.
    before, _, after = request.partition(_ANYBODY)
    numbers = itertools.count()
    for each in pollers:
        asked[each] = time.perf_counter()
        each.write(b"%s%08d%s" % (before, next(numbers), after))
    await asyncio.sleep(min(1.0, seconds))  # until all is rendered and warm
    times.clear()
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    took, done = time.perf_counter() - began, times.copy()
    for each in pollers:
        each.close()
    return len(done) / took, done, pollers[0].body


def measure(directory: Path, seconds: float, progress: Callable[[str], None]) -> Iterator[Measured]:
    """Answers a second of one process."""
    for kind, rate, times, size in answers(directory, seconds):
        progress(f"{kind}: {rate:,.0f} answers of {size:,} bytes a second")
        what = f"REST answers, {'10 endpoints' if kind == 'endpoints' else '100 clusters'}"
        yield Measured(f"{what}, at {CONNECTIONS} connections", rate, "a second", at_least=GOALS[kind])
        yield Measured(f"{what}, p99", percentile(times, 0.99) * 1e3, "ms")
