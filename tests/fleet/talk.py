"""A client that keeps its connection: one request after the other, on one connection for as long as that lasts."""

import socket
import threading
import time
from types import TracebackType
from typing import Self

from tests.fleet.client import Asker, Attempt

_REQUEST = b"GET / HTTP/1.1\r\nhost: s2\r\n\r\n"


class Talk(Asker):
    """Asks `ip`:`port` in a thread of its own within its `with` block, with `interval` seconds between two requests. A
    connection that ends is a failure, whichever side ended it, and another is opened. `connections` counts them. To one
    that `may_go` an answer may say that it was the last on its connection."""

    def __init__(
        self, ip: str, port: int, interval: float = 0.002, timeout: float = 5.0, *, may_go: bool = False
    ) -> None:
        super().__init__()
        self._may_go = may_go
        self._peer, self._interval, self._timeout = (ip, port), interval, timeout
        self.connections = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="talk", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        connection: socket.socket | None = None
        while not self._stopping.wait(self._interval):
            sent = self._oldest_pending = time.perf_counter()
            try:
                if connection is None:
                    self.connections += 1
                    connection = socket.create_connection(self._peer, self._timeout)
                status, body, is_last = ask(connection)
                failure = None if status == b"200" else f"answered {status.decode()}"
                if is_last and not self._may_go:
                    failure = "the connection was closed after the answer"
            except OSError as error:
                body, failure, is_last = b"", error.strerror or str(error), True
            if is_last and connection is not None:
                connection.close()
                connection = None
            answer = None if failure else body.decode()
            self._attempts.append(Attempt(sent, time.perf_counter(), answer, failure))
            self._oldest_pending = time.perf_counter()
        if connection is not None:
            connection.close()


def ask_once(ip: str, port: int, timeout: float = 5.0) -> Attempt:
    """One request on a connection of its own."""
    sent, body, failure = time.perf_counter(), b"", None
    try:
        with socket.create_connection((ip, port), timeout) as connection:
            status, body, _ = ask(connection)
        failure = None if status == b"200" else f"answered {status.decode()}"
    except OSError as error:
        failure = error.strerror or str(error)
    return Attempt(sent, time.perf_counter(), None if failure else body.decode(), failure)


def ask(connection: socket.socket) -> tuple[bytes, bytes, bool]:
    """The status and the body of an answer, and whether it is the last on this connection. Raises OSError without an
    answer."""
    connection.sendall(_REQUEST)
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields.get(b"content-length", 0)):
        body += _more(connection)
    return head.split(b" ")[1], body, fields.get(b"connection") == b"close"


def _more(connection: socket.socket) -> bytes:
    received = connection.recv(4096)
    if not received:
        raise OSError("the connection was closed")
    return received
