"""How long a change takes to the last of many who wait for it at one adapter."""

import asyncio
import contextlib
import json
import resource
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import orjson
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse
from pointsman.delivery.response import ENDPOINT_TYPE
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.node import MANIFEST, manifest
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.bench.polls import Poller
from tests.bench.streams import DATA, Stream, frame
from tests.bench.table import Beside, Measured
from tests.bench.up import cpu_seconds, resident_bytes
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, wait_until

GOALS_MS = {"gRPC": {2000: 200.0, 10_000: 1000.0}, "REST": {2000: 500.0}}
"""By the way and by how many wait: the last has it after so many milliseconds at most."""

CPU_GOAL_US, MEMORY_GOAL_KB = 25.0, 60.0
"""For each stream: of a change, and held."""

_QUIET_SECONDS = 0.2
"""After which a process that takes no CPU has nothing left to do."""


@dataclass(frozen=True, slots=True)
class FannedOut:
    """So many waited at one process: per round, the seconds from before a change was published until the last of them
    had it; and what each cost that process in CPU seconds for a change, and in bytes of memory while it waited."""

    waiting: int
    times: list[float]
    cpu: float
    bytes: float


class _Waiter(Protocol):
    def change(self) -> "asyncio.Future[float]":
        """When the next change is there."""

    def close(self) -> None:
        """Hang up."""


class _HeldPoll(Poller):
    def change(self) -> "asyncio.Future[float]":
        """When the next change is there."""
        return self.poll()


async def _streams(port: int, number: int) -> list[_Waiter]:
    return [await Stream.connect(port, "s2") for _ in range(number)]


async def _polls(port: int, number: int) -> list[_Waiter]:
    first = await Poller.connect(port, "clusters")
    await first.poll()
    (name,) = (
        each["eds_cluster_config"]["service_name"]
        for each in orjson.loads(first.body)["resources"]
        if each["name"].startswith("s2.")
    )
    first.close()
    made = [await _HeldPoll.connect(port, "endpoints", name) for _ in range(number)]
    for each in made:
        await each.poll()
    return made


WAYS: dict[str, tuple[str, Callable[[int, int], Awaitable[list[_Waiter]]]]] = {
    "gRPC": ("grpc", _streams),
    "REST": ("http", _polls),
}


def fan_out(way: str, directory: Path, numbers: list[int], rounds: int) -> Iterator[FannedOut]:
    """For each of `numbers`, with so many waiting. One adapter process; everybody else is in this one."""
    store = SQLiteStore(directory / "store.db")
    publisher = Publisher(store)
    publisher.head(sidecar_plan(), content())
    publisher.manifest(MANIFEST, manifest("s2"))
    kind, connect = WAYS[way]
    command = [POINTSMAN, "adapter", kind, "--store", directory / "store.db"]
    try:
        with (
            _many_files(),
            Child("adapter", [*command, "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"], directory) as adapter,
        ):
            line = json.loads(wait_until(adapter.out.read_bytes, "the adapter to be ready", children=[adapter]))
            port, ops = (int(line[each].rpartition(":")[2]) for each in (kind, "ops"))
            label = f'pointsman_subscriptions{{kind="endpoints",way="{"ads" if way == "gRPC" else "rest"}"}}'

            async def held(count: int) -> None:
                await _until_held(ops, f"{label} {count}.0")

            async def publish(serving: str) -> None:
                made = content([serving])
                await asyncio.to_thread(publisher.head, sidecar_plan(), made)

            for number in numbers:
                yield asyncio.run(_rounds(publish, held, adapter.pid, partial(connect, port, number), number, rounds))
    finally:
        store.close()


@contextlib.contextmanager
def _many_files() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def _rounds(
    publish: Callable[[str], Awaitable[None]],
    held: Callable[[int], Awaitable[None]],
    pid: int,
    connect: Callable[[], Awaitable[list[_Waiter]]],
    number: int,
    rounds: int,
) -> FannedOut:
    times, cpu, memory = [], [], []
    empty = resident_bytes(pid)
    waiting = await connect()
    try:
        for round_ in range(rounds):
            changes = [each.change() for each in waiting]
            await held(number)
            await _until_quiet(pid)
            memory.append(resident_bytes(pid) - empty)
            before, began = cpu_seconds(pid), time.perf_counter()
            await publish("dc1" if round_ % 2 else "dc2")
            times.append(max(await asyncio.wait_for(asyncio.gather(*changes), 60)) - began)
            await _until_quiet(pid)
            cpu.append(cpu_seconds(pid) - before)
    finally:
        for each in waiting:
            each.close()
    await held(0)
    # What is in the store now is what the next ones begin with: never what they wait for.
    await publish("dc1")
    return FannedOut(number, times, min(cpu) / number, max(0, memory[0]) / number)


async def _until_quiet(pid: int) -> None:
    """Until the process takes next to no CPU, for a while at most: it looks at its store now and then."""
    for _ in range(20):
        before = cpu_seconds(pid)
        await asyncio.sleep(_QUIET_SECONDS)
        if cpu_seconds(pid) - before < 0.05 * _QUIET_SECONDS:
            return


def plain(directory: Path, number: int, rounds: int) -> FannedOut:
    """The same for a process that does nothing but write to its connections what an adapter would."""
    response = DeltaDiscoveryResponse(type_url=ENDPOINT_TYPE, nonce="1")
    response.resources.add(name="s2").resource.value = content().assignment
    data = response.SerializeToString()
    message = frame(DATA, 0, 1, struct.pack(">BI", 0, len(data)) + data)
    with _many_files(), socket.create_server(("127.0.0.1", 0)) as control:
        command = [sys.executable, "-m", "tests.bench.broadcast", str(control.getsockname()[1]), message.hex()]
        with Child("broadcast", command, directory) as child:
            control.settimeout(30)
            told, _ = control.accept()
            with told:
                port = int(told.recv(16))

                async def publish(_: str) -> None:
                    await asyncio.to_thread(told.sendall, b"x")

                async def held(_: int) -> None:
                    """Nobody has to ask it anything."""

                return asyncio.run(_rounds(publish, held, child.pid, partial(_streams, port, number), number, rounds))


async def _until_held(port: int, expected: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            text = (await reader.read()).decode()
        if expected in text:
            return
        assert time.monotonic() < deadline, text
        await asyncio.sleep(0.05)


def measure(directory: Path, numbers: list[int], rounds: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """The best round of each: what else runs on the machine is not what is measured."""
    for way in WAYS:
        where = directory / way
        where.mkdir()
        for found in fan_out(way, where, numbers, rounds):
            floor = plain(directory, found.waiting, rounds) if way == "gRPC" else None
            yield from rows(way, found, floor)
            progress(told(way, found))


def told(way: str, found: FannedOut) -> str:
    """One line about it."""
    times = ", ".join(f"{each * 1e3:.0f}" for each in found.times)
    return f"{way}: {found.waiting:,} waited, the last for {times} ms"


def rows(way: str, found: FannedOut, floor: FannedOut | None) -> Iterator[Measured]:
    """What was found, beside the `floor`: a server that only writes."""
    who = "streams" if way == "gRPC" else "held polls"
    what = "a server that only writes"
    least, cpu, held = (min(floor.times) * 1e3, floor.cpu * 1e6, floor.bytes / 1e3) if floor else (0.0, 0.0, 0.0)
    goal = GOALS_MS[way].get(found.waiting)
    name = f"change to the last of {found.waiting:,} {who}"
    yield Measured(name, min(found.times) * 1e3, "ms", goal, beside=Beside(what, least))
    goals = (CPU_GOAL_US, MEMORY_GOAL_KB) if floor else (None, None)
    yield Measured(f"  CPU for each of the {who} and change", found.cpu * 1e6, "µs", goals[0], beside=Beside(what, cpu))
    yield Measured(f"  memory for each of the {who}", found.bytes / 1e3, "KB", goals[1], beside=Beside(what, held))
