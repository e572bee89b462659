"""Config of many resolvers in three datacenters: written, changed, reconciled, while health events go on."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
from pointsman.model.events import parse_event
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest_all
from pointsman.store.protocol import Write
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.published import TRUST_DOMAIN
from tests.bench import mesh
from tests.bench.table import Beside, Measured
from tests.bench.up import cpu_seconds, request, resident_bytes, send, up
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child

APPLY_GOAL_SECONDS, RECONCILE_GOAL_SECONDS, CHANGE_GOAL_SECONDS, WAIT_GOAL_SECONDS = 60.0, 60.0, 1.0, 1.0
JUDGED = 10_000
"""Resolvers for which the goals are."""

HEARD = 100
"""Services that the events meanwhile are about."""

_TOGETHER = 500
"""Events, or objects, at a time."""

_PAUSE_SECONDS = 0.05
"""Between two of the events that go on meanwhile."""


@dataclass(frozen=True, slots=True)
class Took:
    """What one step took: wall and CPU seconds, and the longest wait of a health event meanwhile."""

    wall: float
    cpu: float
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class Sized:
    """What config of so many resolvers costs.

    `apply` is writing it from nothing, `floor` the seconds in which the store alone writes the same objects, `change`
    one entry written, `reconcile` all of it computed again, `defaults` a change of proxy-defaults that moves every
    resolver. `bytes` is the memory of `up` that runs on it.
    """

    resolvers: int
    apply: Took
    floor: float
    change: Took
    reconcile: Took
    defaults: Took
    bytes: int


def sized(directory: Path, resolvers: int, progress: Callable[[str], None]) -> Sized:
    """Measure config of so many resolvers, each called from three datacenters."""

    def written(name: str, documents: Iterable[mesh.Document]) -> Path:
        path = directory / f"{name}.json"
        path.write_bytes(orjson.dumps(list(documents)))
        return path

    path = directory / "store.db"
    everything = [
        written("resolvers", [mesh.defaults("remote"), *map(mesh.resolver, mesh.names(resolvers))]),
        written("sidecars", mesh.sidecars(resolvers, mesh.DATACENTERS)),
    ]
    one = written("one", [mesh.resolver("s0", ["dc3", "dc2"])])
    defaults = written("defaults", [mesh.defaults("local")])

    def apply(*files: Path) -> Took:
        return _run("apply", directory, POINTSMAN, "apply", "--store", path, "--trust-domain", TRUST_DOMAIN, *files)

    first = apply(*everything)
    progress(f"{resolvers:,} resolvers applied in {first.wall:.1f} s")
    floor = _store_alone(path, directory / "floor.db")
    _heard(path, resolvers)
    progress("their services are there")
    news = map(request, mesh.events(min(resolvers, HEARD)))
    with up(directory) as (process, port):

        def meanwhile(step: Callable[[], Took]) -> Took:
            with _going_on(port, news) as waits:
                took = step()
            progress(f"{took.wall:.1f} s; {len(waits)} events meanwhile, the longest for {max(waits):.2f} s")
            return replace(took, waited=max(waits))

        memory = resident_bytes(process.pid)
        change = meanwhile(lambda: apply(one))
        reconciled = meanwhile(lambda: _run("reconcile", directory, POINTSMAN, "reconcile", "--store", path))
        moved = meanwhile(lambda: apply(defaults))
        memory = max(memory, resident_bytes(process.pid))
    return Sized(resolvers, first, floor, change, reconciled, moved, memory)


def _run(name: str, directory: Path, *command: str | Path) -> Took:
    began = time.perf_counter()
    with Child(name, command, directory) as child:
        while child.alive:
            time.sleep(0.002)
        took = Took(time.perf_counter() - began, cpu_seconds(child.pid))
        assert child.wait() == 0, child.tail()
    return took


def _store_alone(path: Path, floor: Path) -> float:
    """Seconds in which a new store takes all objects of the one at `path`, and nothing is computed."""
    with contextlib.closing(SQLiteStore(path)) as store:
        keys = [each.key for each in store.list("")]
        objects = [Write(key, each.data, None) for key, each in store.get_many(keys).items()]
    with contextlib.closing(SQLiteStore(floor)) as store:
        began = time.perf_counter()
        for first in range(0, len(objects), _TOGETHER):
            store.put_many(objects[first : first + _TOGETHER])
        return time.perf_counter() - began


def _heard(path: Path, services: int) -> None:
    """All instances of all services are healthy, and published."""
    with contextlib.closing(SQLiteStore(path)) as store:
        engine, events = Engine(store), mesh.lists(services)
        while together := [parse_event(each) for each in itertools.islice(events, _TOGETHER)]:
            for done in ingest_all(engine, together):
                if isinstance(done, Exception):
                    raise done


@contextlib.contextmanager
def _going_on(port: int, events: Iterator[bytes]) -> Iterator[list[float]]:
    """Events are sent to `up` within the block, one after another: how long each waited, when the block has ended."""
    stop, waits = threading.Event(), list[float]()

    def paced() -> Iterator[bytes]:
        yield next(events)
        while not stop.wait(_PAUSE_SECONDS):
            yield next(events)

    thread = threading.Thread(target=lambda: waits.extend(send(port, paced(), connections=1)[1]))
    thread.start()
    try:
        yield waits
    finally:
        stop.set()
        thread.join()


def measure(directory: Path, numbers: Sequence[int], progress: Callable[[str], None]) -> Iterator[Sized]:
    """For each of `numbers`, config of so many resolvers."""
    for number in numbers:
        where = directory / str(number)
        where.mkdir()
        yield sized(where, number, progress)


def rows(found: Sequence[Sized]) -> Iterator[Measured]:
    """What was found of the largest, with goals if it is as large as those are for."""
    largest = found[-1]

    def goal(seconds: float) -> float | None:
        return seconds if largest.resolvers >= JUDGED else None

    what = f"{largest.resolvers:,} resolvers x {len(mesh.DATACENTERS)} datacenters"
    steps = (
        (
            f"apply of {what}, from nothing",
            largest.apply,
            APPLY_GOAL_SECONDS,
            Beside("the writes alone", largest.floor),
        ),
        ("  one entry of it changed (a whole command)", largest.change, CHANGE_GOAL_SECONDS, None),
        ("  reconcile of it", largest.reconcile, RECONCILE_GOAL_SECONDS, Beside("apply", largest.apply.wall)),
        ("  proxy-defaults changed, every resolver moves", largest.defaults, None, Beside("apply", largest.apply.wall)),
    )
    for name, took, most, beside in steps:
        yield Measured(name, took.wall, "s", goal(most) if most else None, beside=beside)
        yield Measured("    CPU", took.cpu, "s")
        if took.waited:
            yield Measured("    longest wait of a health event meanwhile", took.waited, "s", goal(WAIT_GOAL_SECONDS))
    smallest = Beside(f"{found[0].resolvers:,} resolvers", found[0].bytes / 2**20)
    yield Measured(
        f"memory of `up` with {largest.resolvers:,} resolvers", largest.bytes / 2**20, "MiB", beside=smallest
    )
