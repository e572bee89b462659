"""`pointsman up` and whoever sends it events: as little work at the sender's end as can be."""

import contextlib
import itertools
import json
import resource
import selectors
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.published import TRUST_DOMAIN
from tests.bench.mesh import Document
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, wait_until

CONNECTIONS = 64
"""Each sends its next event when the one before was acknowledged."""


def configured(path: Path, documents: Iterable[Document]) -> None:
    """Make a store at `path` with these documents in it."""
    store = SQLiteStore(path)
    configure(Engine(store), parse_documents(list(documents)), trust_domain=TRUST_DOMAIN)
    store.close()


@contextlib.contextmanager
def up(directory: Path, *arguments: str | Path) -> Iterator[tuple[Child, int]]:
    """`pointsman up` on the store in `directory`, and the port that takes events."""
    command = [POINTSMAN, "up", "--store", directory / "store.db", "--listen", "127.0.0.1:0"]
    with Child("up", [*command, "--trust-domain", TRUST_DOMAIN, *arguments], directory) as process:
        line = json.loads(wait_until(process.out.read_bytes, "up to be ready", children=[process], timeout=600))
        yield process, int(line["url"].rpartition(":")[2])


def cpu_seconds(pid: int) -> float:
    """CPU seconds that a process has taken with all its threads."""
    # What clock_getcpuclockid(3) gives for another process on Linux.
    return time.clock_gettime(~pid << 3 | 2)


def resident_bytes(pid: int) -> int:
    """The memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def request(event: Document) -> bytes:
    """The whole HTTP request that sends `event`."""
    body = orjson.dumps(event)
    head = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return head + b"content-length: %d\r\n\r\n%s" % (len(body), body)


@dataclass(slots=True)
class _Connection:
    """Sends some requests, and the next ones when all of them are answered."""

    socket: socket.socket
    sent: float = 0.0
    unanswered: int = 0
    received: bytes = b""

    def send(self, requests: list[bytes]) -> None:
        self.socket.setblocking(True)
        self.sent, self.unanswered = time.perf_counter(), len(requests)
        self.socket.sendall(b"".join(requests))
        self.socket.setblocking(False)

    def receive(self) -> int:
        """Take in answers. Returns how many."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError("the server hung up")
        self.received += data
        found = 0
        while True:
            head, end, body = self.received.partition(b"\r\n\r\n")
            if not end:
                break
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
            if len(body) < length:
                break
            assert head.startswith(b"HTTP/1.1 200 "), self.received
            self.received, found = body[length:], found + 1
        self.unanswered -= found
        return found


def send(
    port: int,
    requests: Iterable[bytes],
    seconds: float = float("inf"),
    connections: int = CONNECTIONS,
    ahead: int = 1,
) -> tuple[float, list[float]]:
    """Send `requests`, so many `ahead` on each connection, until they or the `seconds` are over.

    Returns how many were answered a second, and how many seconds each took.
    """
    following, times = iter(requests), list[float]()
    with contextlib.ExitStack() as held, selectors.DefaultSelector() as selector:
        made = [_Connection(held.enter_context(_connected(port))) for _ in range(connections)]
        began = time.perf_counter()
        busy = 0
        for each in made:
            selector.register(each.socket, selectors.EVENT_READ, each)
            if first := list(itertools.islice(following, ahead)):
                each.send(first)
                busy += 1
        while busy:
            for key, _ in selector.select():
                each = key.data
                found = each.receive()
                now = time.perf_counter()
                times += [now - each.sent] * found
                if each.unanswered:
                    continue
                if now < began + seconds and (more := list(itertools.islice(following, ahead))):
                    each.send(more)
                else:
                    busy -= 1
        return len(times) / (time.perf_counter() - began), times


def _connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    # A whole request of any Envoy fits, so that nobody waits for one that is still being sent.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    return made
