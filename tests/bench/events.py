"""How many events a second `pointsman up` acknowledges, each durable and published."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pointsman.model.events import parse_event
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.reconcile import reconcile
from pointsman.store.sqlite import SQLiteStore

from tests.bench import mesh
from tests.bench.floors import durable_pairs, empty_application
from tests.bench.table import Beside, Measured, percentile
from tests.bench.up import CONNECTIONS, configured, cpu_seconds, request, send, up

GOAL = 2000.0
NOTHING_NEW_GOAL = 5000.0
WAIT_GOAL_MS = 100.0
AGAINST_PAIRS_GOAL = 2.0


def one_thread(directory: Path, seconds: float, services: int) -> float:
    """Events per second that one thread ingests on SQLite, each durable and published before the next."""
    configured(directory / "store.db", mesh.documents(services))
    store = SQLiteStore(directory / "store.db")
    engine = Engine(store)
    for each in mesh.lists(services):
        ingest(engine, parse_event(each))
    parsed = [parse_event(each) for each in itertools.islice(mesh.events(services), int(200 * seconds))]
    began = time.perf_counter()
    moved = sum(len(ingest(engine, event).moved) for event in parsed)
    took = time.perf_counter() - began
    store.close()
    assert moved >= len(parsed), f"{len(parsed)} events moved {moved} heads"
    return len(parsed) / took


def nothing_is_left(path: Path) -> None:
    """Everything that was acknowledged is published: a fresh computation over all that is stored changes nothing."""
    store = SQLiteStore(path)
    try:
        done = reconcile(Engine(store))
        assert done.moved == 0, f"{done.moved} heads did not cover what was acknowledged"
        assert not done.failed, done.failed
    finally:
        store.close()


def measure(directory: Path, seconds: float, services: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """Events sent as fast as they are acknowledged."""
    lone, busy = directory / "lone", directory / "busy"
    for each in (lone, busy):
        each.mkdir()
    rate = one_thread(lone, min(seconds, 5.0), min(services, 100))
    pairs = [durable_pairs(busy, min(1.0, seconds / 10))]
    yield Measured(
        "events by one thread, one after another", rate, "a second", beside=Beside("two fdatasync each", pairs[0])
    )
    configured(busy / "store.db", mesh.documents(services))
    news = map(request, mesh.events(services))
    with up(busy) as (process, port):
        send(port, map(request, mesh.lists(services)), connections=8)
        before = cpu_seconds(process.pid)
        rate, times = send(port, news, seconds)
        cpu = (cpu_seconds(process.pid) - before) / len(times)
        progress(f"{rate:,.0f} events a second, {cpu * 1e6:,.0f} µs of CPU each")
        pairs.append(durable_pairs(busy, min(1.0, seconds / 10)))
        # The state that everything is in now, stated again.
        known = list(itertools.islice(map(request, mesh.events(services)), 3 * services))
        send(port, known)
        again, waits = send(port, itertools.cycle(known), seconds / 3)
        progress(f"{again:,.0f} that say nothing new")
    nothing_is_left(busy / "store.db")
    with empty_application(directory) as port:
        empty, _ = send(port, itertools.cycle(known), min(seconds, 5.0))
    floor, served = statistics.mean(pairs), Beside("an empty application", empty)
    what = f"events acknowledged by `up`, {CONNECTIONS} connections"
    yield Measured(f"{what}, for {seconds:g} s", rate, "a second", at_least=GOAL, beside=served)
    yield Measured("  against two fdatasync for each", rate / floor, "times", at_least=AGAINST_PAIRS_GOAL)
    yield Measured("  wait, p50", percentile(times, 0.5) * 1e3, "ms")
    yield Measured("  wait, p99", percentile(times, 0.99) * 1e3, "ms", WAIT_GOAL_MS)
    yield Measured("  CPU of `up` for each", cpu * 1e6, "µs")
    yield Measured("events that say nothing new", again, "a second", at_least=NOTHING_NEW_GOAL, beside=served)
    yield Measured("  wait, p99", percentile(waits, 0.99) * 1e3, "ms")
