"""Polls over REST, as Envoys hold them: a connection for each."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson

# As large as an Envoy's: what it was built with.
EXTENSIONS = [{"name": f"envoy.{i}", "category": "envoy.filters.http", "version": {}} for i in range(1000)]
NODE: dict[str, Any] = {
    "id": "s1-1",
    "cluster": "s1",
    "metadata": {"datacenter": "dc1", "namespace": "default"},
    "user_agent_name": "envoy",
    "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 40}},
    "extensions": EXTENSIONS,
}


class Poller(asyncio.Protocol):
    """One connection that polls: a request as large as Envoy's, an answer, the next request when told to."""

    def __init__(self, kind: str, name: str = "", on_answer: Callable[["Poller"], None] | None = None) -> None:
        """`on_answer` is called after every answer."""
        self._kind, self._name, self._version = kind, name, ""
        self._on_answer = on_answer
        self._received = b""
        self._answer: asyncio.Future[float] | None = None
        self._transport: asyncio.Transport | None = None
        self.body = b""

    @classmethod
    async def connect(
        cls, port: int, kind: str, name: str = "", on_answer: Callable[["Poller"], None] | None = None
    ) -> "Poller":
        """A poller of the adapter on this port of 127.0.0.1."""
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: cls(kind, name, on_answer), "127.0.0.1", port)
        return made

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
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(time.perf_counter())
        if self._on_answer is not None:
            self._on_answer(self)

    def request(self, version: str = "") -> bytes:
        """A whole request of an Envoy that has `version`."""
        names = {"resource_names": [self._name]} if self._name else {}
        body = orjson.dumps({"version_info": version, "node": NODE, **names})
        head = f"POST /v3/discovery:{self._kind} HTTP/1.1\r\nhost: pointsman\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def write(self, request: bytes) -> None:
        """Ask with a request that was made before."""
        assert self._transport is not None
        self._transport.write(request)

    def poll(self) -> "asyncio.Future[float]":
        """Ask for something newer than the last answer; the future is when it was there."""
        version = orjson.loads(self.body)["version_info"] if self.body else ""
        self._answer = asyncio.get_running_loop().create_future()
        self.write(self.request(version))
        return self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()
