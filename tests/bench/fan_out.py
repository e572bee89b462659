"""How long a change takes to the last of many who wait for it at one adapter."""

import asyncio
import contextlib
import json
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol

import orjson
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.node import MANIFEST, manifest
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.bench.polls import Poller
from tests.bench.streams import Stream
from tests.bench.table import Measured
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, wait_until

GOALS_MS = {200: 50.0, 2000: 500.0}
"""By how many wait: the last has it after so many milliseconds at most."""


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


def fan_out(way: str, directory: Path, numbers: list[int], rounds: int) -> Iterator[tuple[int, list[float]]]:
    """For each of `numbers`, with so many waiting: per round, seconds from before a change was published until the
    last of them had it. One adapter process; everybody else is in this one."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    store = SQLiteStore(directory / "store.db")
    publisher = Publisher(store)
    publisher.head(sidecar_plan(), content())
    publisher.manifest(MANIFEST, manifest("s2"))
    kind, connect = WAYS[way]
    command = [POINTSMAN, "adapter", kind, "--store", directory / "store.db"]
    try:
        with Child("adapter", [*command, "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"], directory) as adapter:
            line = json.loads(wait_until(adapter.out.read_bytes, "the adapter to be ready", children=[adapter]))
            port, ops = (int(line[each].rpartition(":")[2]) for each in (kind, "ops"))
            for number in numbers:
                yield number, asyncio.run(_rounds(publisher, port, ops, way, connect, number, rounds))
    finally:
        store.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def _rounds(
    publisher: Publisher,
    port: int,
    ops: int,
    way: str,
    connect: Callable[[int, int], Awaitable[list[_Waiter]]],
    number: int,
    rounds: int,
) -> list[float]:
    found = []
    waiting = await connect(port, number)
    try:
        for round_ in range(rounds):
            changes = [each.change() for each in waiting]
            label = "ads" if way == "gRPC" else "rest"
            await _until_held(ops, f'pointsman_subscriptions{{kind="endpoints",way="{label}"}} {number}.0')
            serving = ["dc1"] if round_ % 2 else ["dc2"]
            made = content(serving)
            began = time.perf_counter()
            await asyncio.to_thread(publisher.head, sidecar_plan(), made)
            found.append(max(await asyncio.wait_for(asyncio.gather(*changes), 60)) - began)
    finally:
        for each in waiting:
            each.close()
    await _until_held(ops, f'pointsman_subscriptions{{kind="endpoints",way="{label}"}} 0.0')
    # What is in the store now is what the next ones begin with: never what they wait for.
    await asyncio.to_thread(publisher.head, sidecar_plan(), content(["dc1"]))
    return found


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
        for number, times in fan_out(way, where, numbers, rounds):
            progress(
                f"{way}: {number} waited, the last for " + ", ".join(f"{each * 1e3:.0f}" for each in times) + " ms"
            )
            what = f"change to the last of {number:,} {'streams' if way == 'gRPC' else 'held polls'}"
            yield Measured(what, min(times) * 1e3, "ms", GOALS_MS.get(number))
