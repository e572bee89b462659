"""What computing takes, without a disk's or a network's share: one cluster, and services of many instances."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import orjson
from pointsman.model.events import parse_event
from pointsman.model.instance import read_instance
from pointsman.model.keys import gateways_key, service_key
from pointsman.model.names import ServiceName
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.store import keys
from pointsman.store.sqlite import SQLiteStore
from pointsman.xds.content import compute

from tests.adapter.published import TRUST_DOMAIN, sidecar_plan
from tests.bench import mesh
from tests.bench.table import Beside, Measured
from tests.bench.up import configured

RECOMPUTE_GOAL_MS = 0.15
FLIP_GOAL_MS = {1000: 15.0}
"""By instances of the service."""

UNTOUCHED_GOAL = 1.1
TOUCHED = 3
"""Services that the events are about."""

AT_ONCE = 40_000
"""Documents in one batch."""

_FLIPS = 10


def recompute_ms(rounds: int) -> float:
    """Milliseconds to recompute a resolver of three targets with three instances each, one core."""
    found = {}
    for datacenter in mesh.DATACENTERS:
        instances = [mesh.instance("s2", datacenter, number, "passing") for number in range(3)]
        found[service_key(datacenter, ServiceName("default", "s2"))] = [read_instance(each, "s2") for each in instances]
        gateway = {"Node": {"Node": "g", "Address": "10.0.1.1"}, "Service": {"Kind": "mesh-gateway", "Port": 443}}
        found[gateways_key(datacenter)] = [read_instance(gateway, "")]
    plan = sidecar_plan()
    compute(plan, found, TRUST_DOMAIN)
    began = time.process_time()
    for _ in range(rounds):
        compute(plan, found, TRUST_DOMAIN)
    return (time.process_time() - began) / rounds * 1e3


def flip_ms(directory: Path, instances: int) -> tuple[float, float]:
    """Milliseconds of CPU for one instance of a service that goes or comes, and for reading and writing its catalog as
    plain JSON: the fewest of some."""
    store = SQLiteStore(directory / f"large-{instances}.db")
    configured(directory / f"large-{instances}.db", mesh.documents(1))
    engine = Engine(store)
    for each in (mesh.service_list("s0", "dc1", instances), mesh.service_list("s0", "dc2", 3)):
        ingest(engine, parse_event(each))
    took = []
    for number in range(_FLIPS):
        event = parse_event(mesh.event("s0", 2 + number, number // 2, "passing" if number % 2 else "critical"))
        began = time.process_time()
        done = ingest(engine, event)
        took.append(time.process_time() - began)
        assert len(done.moved) == 1
    catalog = store.get(keys.catalog(service_key("dc1", ServiceName("default", "s0"))))
    store.close()
    assert catalog is not None
    return min(took) * 1e3, min(_plain_ms(catalog.data) for _ in range(_FLIPS))


def _plain_ms(data: bytes) -> float:
    began = time.process_time()
    orjson.dumps(orjson.loads(data))
    return (time.process_time() - began) * 1e3


def untouched_ms(
    directory: Path, sizes: Sequence[int], events: int, progress: Callable[[str], None]
) -> list[tuple[int, float]]:
    """For meshes of so many resolvers, each with a plan, the milliseconds of CPU for an event that touches one of them:
    medians.

    The meshes get their events in turns, so that what else runs on the machine slows all of them.
    """
    engines: dict[int, Engine] = {}
    for number in sizes:
        path = directory / f"untouched-{number}.db"
        documents = mesh.documents(number)
        # A batch has a bound. Resolvers come before the sidecars that use them.
        for first in range(0, len(documents), AT_ONCE):
            configured(path, documents[first : first + AT_ONCE])
        engines[number] = Engine(SQLiteStore(path))
        for each in mesh.lists(TOUCHED):
            ingest(engines[number], parse_event(each))
        progress(f"{number:,} resolvers are there")
    took: dict[int, list[float]] = {number: [] for number in sizes}
    for sent in itertools.islice(mesh.events(TOUCHED), events):
        event = parse_event(sent)
        for number, engine in engines.items():
            began = time.process_time()
            done = ingest(engine, event)
            took[number].append(time.process_time() - began)
            assert len(done.moved) == 1
    for engine in engines.values():
        engine.store.close()
    return [(number, statistics.median(each) * 1e3) for number, each in took.items()]


def measure(
    directory: Path, instances: Sequence[int], rounds: int, progress: Callable[[str], None]
) -> Iterator[Measured]:
    """Recomputing, and one instance of a large service that goes or comes."""
    yield Measured("recompute a resolver, 3 targets of 3 instances", recompute_ms(rounds), "ms", RECOMPUTE_GOAL_MS)
    for number in instances:
        took, plain = flip_ms(directory, number)
        progress(f"{number:,} instances: {took:.1f} ms")
        beside = Beside("its catalog as JSON, read and written once", plain)
        yield Measured(f"one of {number:,} instances flips, CPU", took, "ms", FLIP_GOAL_MS.get(number), beside=beside)
