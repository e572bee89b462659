"""What one event costs the control plane itself, without Envoys."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pointsman.model.events import HealthEvent, parse_event
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.store.sqlite import SQLiteStore
from pointsman.xds.content import compute

from tests.adapter.published import TRUST_DOMAIN, sidecar_plan
from tests.bench.table import Measured, percentile
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, wait_until

DATACENTERS = ("dc1", "dc2", "dc3")
SERVICES = 100
"""Each with three instances in each datacenter, and a resolver that fails over to the other two."""

CONNECTIONS = 16
RATE = 1000
"""Events a second that are sent to `pointsman up`."""


def _documents(count: int) -> list[dict[str, Any]]:
    services = [f"s{number}" for number in range(count)]
    upstreams = [{"DestinationName": each, "LocalBindPort": 5000 + i} for i, each in enumerate(services)]
    sidecar = {
        "Kind": "connect-proxy",
        "Service": "web-sidecar-proxy",
        "ID": "web",
        "Port": 20000,
        "Proxy": {"DestinationServiceName": "web", "Upstreams": upstreams},
    }
    failover = {"*": {"Datacenters": ["dc2", "dc3"]}}
    return [
        {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "remote"}},
        *({"Kind": "service-resolver", "Name": each, "Failover": failover} for each in services),
        {"Datacenter": "dc1", "Address": "10.0.0.1", "Service": sidecar},
    ]


def _instance(service: str, datacenter: str, number: int, status: str) -> dict[str, Any]:
    address = f"10.{DATACENTERS.index(datacenter)}.0.{number + 1}"
    proxy = {"DestinationServiceName": service}
    return {
        "Node": {"Node": f"n{number}", "Address": address, "Datacenter": datacenter},
        "Service": {"Kind": "connect-proxy", "ID": f"{service}-{number}", "Port": 8000, "Proxy": proxy},
        "Checks": [{"CheckID": "alive", "Status": status}],
    }


def _event(service: str, datacenter: str, index: int, number: int, status: str) -> dict[str, Any]:
    """One instance's health. Everything else of it stays."""
    return {
        "detail-type": "Instance Health Changed",
        "detail": {
            "Source": datacenter,
            "Index": index,
            "Datacenter": datacenter,
            "Service": service,
            "Instance": _instance(service, datacenter, number, status),
        },
    }


def _lists(count: int) -> Iterator[dict[str, Any]]:
    """What all is like at first."""
    for datacenter in DATACENTERS:
        gateway = {"Kind": "mesh-gateway", "ID": "g", "Service": "mesh-gateway", "Port": 443}
        node = {"Node": "g", "Address": f"10.{DATACENTERS.index(datacenter)}.1.1"}
        yield _list(datacenter, {"Kind": "mesh-gateway"}, [{"Node": node, "Service": gateway}])
        for service in (f"s{number}" for number in range(count)):
            instances = [_instance(service, datacenter, number, "passing") for number in range(3)]
            yield _list(datacenter, {"Service": service}, instances)


def _list(datacenter: str, what: dict[str, Any], instances: list[dict[str, Any]]) -> dict[str, Any]:
    detail = {"Source": datacenter, "Index": 1, "Datacenter": datacenter, **what, "Instances": instances}
    return {"detail-type": "Service Health Changed", "detail": detail}


def _events(count: int) -> Iterator[dict[str, Any]]:
    """For ever, one instance after the other goes and comes: each says something new, and moves an assignment."""
    indexes = itertools.count(2)
    for status in itertools.cycle(("critical", "passing")):
        for number in range(3):
            for service in range(count):
                yield _event(f"s{service}", "dc1", next(indexes), number, status)


def recompute_ms(rounds: int) -> float:
    """Milliseconds to recompute a resolver of three targets with three instances each, one core."""
    from pointsman.model.instance import read_instance
    from pointsman.model.keys import gateways_key, service_key
    from pointsman.model.names import ServiceName

    found = {}
    for datacenter in DATACENTERS:
        instances = [_instance("s2", datacenter, number, "passing") for number in range(3)]
        found[service_key(datacenter, ServiceName("default", "s2"))] = [read_instance(each, "s2") for each in instances]
        gateway = {"Node": {"Node": "g", "Address": "10.0.1.1"}, "Service": {"Kind": "mesh-gateway", "Port": 443}}
        found[gateways_key(datacenter)] = [read_instance(gateway, "")]
    plan = sidecar_plan()
    compute(plan, found, TRUST_DOMAIN)
    began = time.process_time()
    for _ in range(rounds):
        compute(plan, found, TRUST_DOMAIN)
    return (time.process_time() - began) / rounds * 1e3


def ingest_rate(directory: Path, events: int, services: int = SERVICES) -> float:
    """Events per second that one thread ingests on SQLite, each durable and published before the next."""
    store = SQLiteStore(directory / "store.db")
    engine = Engine(store)
    configure(engine, parse_documents(_documents(services)), trust_domain=TRUST_DOMAIN)
    for each in _lists(services):
        ingest(engine, parse_event(each))
    parsed: list[HealthEvent] = [parse_event(each) for each in itertools.islice(_events(services), events)]
    began = time.perf_counter()
    moved = sum(len(ingest(engine, event).moved) for event in parsed)
    took = time.perf_counter() - began
    store.close()
    assert moved >= events, f"{events} events moved {moved} heads"
    return events / took


def load(directory: Path, seconds: float, rate: int = RATE, services: int = SERVICES) -> tuple[float, list[float]]:
    """`rate` events a second sent to `pointsman up` over HTTP, whatever it says, for so many `seconds`: how many were
    acknowledged a second, and how many seconds each took from when it was due."""
    store = SQLiteStore(directory / "store.db")
    configure(Engine(store), parse_documents(_documents(services)), trust_domain=TRUST_DOMAIN)
    store.close()
    command = [POINTSMAN, "up", "--store", directory / "store.db", "--listen", "127.0.0.1:0"]
    with Child("up", [*command, "--trust-domain", TRUST_DOMAIN], directory) as up:
        line = json.loads(wait_until(up.out.read_bytes, "up to be ready", children=[up]))
        port = int(line["url"].rpartition(":")[2])
        return asyncio.run(_send(port, seconds, rate, services))


async def _send(port: int, seconds: float, rate: int, services: int) -> tuple[float, list[float]]:
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    for each in _lists(services):
        await _post(connections[0], each)
    due: asyncio.Queue[tuple[float, dict[str, Any]]] = asyncio.Queue()
    times: list[float] = []

    async def sender(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        while True:
            when, event = await due.get()
            await _post(connection, event)
            times.append(time.perf_counter() - when)
            due.task_done()

    senders = [asyncio.create_task(sender(each)) for each in connections]
    began = time.perf_counter()
    for number, event in enumerate(itertools.islice(_events(services), int(seconds * rate))):
        when = began + number / rate
        await asyncio.sleep(max(0.0, when - time.perf_counter()))
        due.put_nowait((when, event))
    await due.join()
    took = time.perf_counter() - began
    for task in senders:
        task.cancel()
    for _, writer in connections:
        writer.close()
    return len(times) / took, times


async def _post(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], event: dict[str, Any]) -> None:
    reader, writer = connection
    body = json.dumps(event).encode()
    head = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    writer.write(head + b"content-length: %d\r\n\r\n%s" % (len(body), body))
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(each[15:]) for each in head.lower().split(b"\r\n") if each.startswith(b"content-length:"))
    answer = await reader.readexactly(length)
    assert head.startswith(b"HTTP/1.1 200 "), answer


def measure(directory: Path, seconds: float, services: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """Recomputing, and taking in."""
    yield Measured("recompute a resolver, 3 targets of 3 instances", recompute_ms(500), "ms", 0.15)
    (directory / "one").mkdir()
    (directory / "up").mkdir()
    rate = ingest_rate(directory / "one", int(200 * seconds), services)
    progress(f"ingest: {rate:,.0f} a second")
    yield Measured("events taken in, durable and published, one thread", rate, "a second")
    rate, times = load(directory / "up", seconds, RATE, services)
    yield Measured(
        f"events acknowledged of {RATE:,} a second for {seconds:g} s", rate, "a second", at_least=0.95 * RATE
    )
    yield Measured("  from due to acknowledged, p99", percentile(times, 0.99) * 1e3, "ms")
