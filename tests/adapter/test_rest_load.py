"""Two thousand polls wait at one adapter, and a change reaches all of them within half a second."""

import asyncio
import json
import resource
import time
from pathlib import Path

import orjson
import pytest

from tests.adapter.doubles import Remote
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.adapter.rest import NODE
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, wait_until

HELD = 2000
ROUNDS = 2


class Poller(asyncio.Protocol):
    """One connection that polls: a request as large as Envoy's, an answer, the next request when told to."""

    def __init__(self, kind: str, name: str) -> None:
        self._kind, self._name, self._version = kind, name, ""
        self._received = b""
        self._answer: asyncio.Future[float] | None = None
        self._transport: asyncio.Transport | None = None
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take in an answer."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) < length:
            return
        assert head.startswith(b"HTTP/1.1 200 "), head
        self._received, self.body = b"", body
        self._version = orjson.loads(body)["version_info"]
        assert self._answer is not None
        self._answer.set_result(time.perf_counter())

    def poll(self) -> asyncio.Future[float]:
        """Ask; the future is when the answer was there."""
        names = {"resource_names": [self._name]} if self._name else {}
        body = orjson.dumps({"version_info": self._version, "node": NODE, **names})
        head = f"POST /v3/discovery:{self._kind} HTTP/1.1\r\nhost: pointsman\r\ncontent-length: {len(body)}\r\n\r\n"
        self._answer = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        self._transport.write(head.encode() + body)
        return self._answer


async def _rounds(port: int, publisher: Publisher, held: int) -> list[list[float]]:
    """Per round, how long each poller waited for a change, in seconds from before it was published."""
    loop = asyncio.get_running_loop()

    async def poller(kind: str, name: str = "") -> Poller:
        _, made = await loop.create_connection(lambda: Poller(kind, name), "127.0.0.1", port)
        return made

    first = await poller("clusters")
    await first.poll()
    (name,) = (
        each["eds_cluster_config"]["service_name"]
        for each in orjson.loads(first.body)["resources"]
        if each["name"].startswith("s2.")
    )
    pollers = [await poller("endpoints", name) for _ in range(held)]
    for each in pollers:
        await each.poll()
    found = []
    for number in range(ROUNDS):
        answers = [each.poll() for each in pollers]
        await _until_held(port, held)
        began = time.perf_counter()
        await asyncio.to_thread(publisher.head, sidecar_plan(), content(["dc1"] if number % 2 else ["dc2"]))
        found.append([moment - began for moment in await asyncio.gather(*answers)])
    return found


async def _until_held(port: int, held: int) -> None:
    expected = f'pointsman_subscriptions{{kind="endpoints",way="rest"}} {held}.0'.encode()
    deadline = time.monotonic() + 30
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: pointsman\r\nconnection: close\r\n\r\n")
        text = await reader.read()
        writer.close()
        if expected in text:
            return
        assert time.monotonic() < deadline, text.decode()


@pytest.mark.soak
def test_a_change_reaches_two_thousand_who_wait(store: Remote, published: Publisher, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    command = [POINTSMAN, "adapter", "http", "--store", tmp_path / "store.db", "--listen", "127.0.0.1:0"]
    try:
        with Child("adapter", command, tmp_path) as adapter:
            line = wait_until(adapter.out.read_bytes, "the adapter to be ready", children=[adapter])
            port = int(json.loads(line)["http"].rpartition(":")[2])
            for held in (200, HELD):
                rounds = asyncio.run(_rounds(port, published, held))
                for waits in rounds:
                    waits.sort()
                    print(f"\n{held} held: first {waits[0] * 1e3:.1f}, last {waits[-1] * 1e3:.0f} ms", end="")
                # The best of them: what else runs on the machine is not what is measured.
                assert min(waits[-1] for waits in rounds) < 0.5
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
