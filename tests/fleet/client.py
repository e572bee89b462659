"""A client that never stops asking: a request on a new TCP connection every two milliseconds."""

import errno
import os
import selectors
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.fleet.process import FleetError, wait_until

_REQUEST = b"GET / HTTP/1.1\r\nhost: s2\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request: when its connection was opened and when it ended (`time.perf_counter` seconds). `datacenter` is the
    one that answered, or `failure` why none did."""

    sent: float
    done: float
    datacenter: str | None
    failure: str | None


@dataclass(slots=True)
class _Pending:
    connection: socket.socket
    sent: float
    answer: bytes = b""


class Asker:
    """Somebody who asks and keeps what came of it."""

    def __init__(self) -> None:
        self._attempts: list[Attempt] = []
        self._oldest_pending = 0.0

    def attempts(self, start: float, end: float = float("inf")) -> list[Attempt]:
        """What was sent from `start` on and before `end`, and is over by now."""
        return [attempt for attempt in self._newest_first(start) if start <= attempt.sent < end][::-1]

    def wait_for_answer(self, datacenter: str, after: float, timeout: float = 60.0) -> Attempt:
        """The first answer that came from `datacenter` at or later than `after`."""

        def first() -> Attempt | None:
            answers = [
                attempt
                for attempt in self._newest_first(after)
                if attempt.datacenter == datacenter and attempt.done >= after
            ]
            return min(answers, key=lambda attempt: attempt.done, default=None)

        try:
            return wait_until(first, f"an answer from {datacenter}", timeout=timeout)
        except FleetError as error:
            others = Counter(attempt.datacenter or attempt.failure for attempt in self.attempts(after))
            error.add_note("instead: " + ", ".join(f"{what} ({count} times)" for what, count in others.items()))
            raise

    def wait_past(self, moment: float) -> None:
        """Return when every request that was sent before `moment` is over, and `moment` itself."""
        wait_until(lambda: self._oldest_pending > moment, "the requests under way")

    def _newest_first(self, since: float) -> Iterator[Attempt]:
        # Attempts stand in the order in which they were over: none before this one can have ended after `since`.
        for attempt in reversed(self._attempts):
            if attempt.done < since:
                return
            yield attempt


class Client(Asker):
    """Sends requests to `ip`:`port` from a thread of its own while its `with` block lasts.

    Requests do not wait for each other: one that hangs (it fails after `timeout` seconds) holds up none that follow,
    unless there are `at_most` under way already.
    """

    def __init__(
        self, ip: str, port: int, interval: float = 0.002, timeout: float = 1.0, at_most: int = sys.maxsize
    ) -> None:
        super().__init__()
        self._peer = (ip, port)
        self._interval = interval
        self._timeout = timeout
        self._at_most = at_most
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask no more. May be repeated."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pending: dict[int, _Pending] = {}
        due = time.perf_counter()
        with selectors.DefaultSelector() as selector:
            while not self._stopping.is_set():
                now = time.perf_counter()
                if now >= due and len(pending) < self._at_most:
                    # What could not be sent in time is not made up for in one burst.
                    due = max(due + self._interval, now - self._interval)
                    self._open(selector, pending)
                full = len(pending) >= self._at_most
                for key, _ in selector.select(self._interval if full else max(0.0, due - time.perf_counter())):
                    self._progress(selector, pending, pending[key.fd])
                self._expire(selector, pending)
            for request in list(pending.values()):
                request.connection.close()

    def _open(self, selector: selectors.BaseSelector, pending: dict[int, _Pending]) -> None:
        request = _Pending(socket.socket(), time.perf_counter())
        request.connection.setblocking(False)
        pending[request.connection.fileno()] = request
        selector.register(request.connection, selectors.EVENT_WRITE)
        code = request.connection.connect_ex(self._peer)
        if code not in (0, errno.EINPROGRESS):
            self._finish(selector, pending, request, failure=os.strerror(code))

    def _progress(self, selector: selectors.BaseSelector, pending: dict[int, _Pending], request: _Pending) -> None:
        connection = request.connection
        try:
            if selector.get_key(connection).events == selectors.EVENT_WRITE:
                connection.sendall(_REQUEST)
                selector.modify(connection, selectors.EVENT_READ)
                return
            received = connection.recv(4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._finish(selector, pending, request, failure=error.strerror or str(error))
            return
        request.answer += received
        head, separator, body = request.answer.partition(b"\r\n\r\n")
        if separator and len(body) == _content_length(head):
            if head.startswith(b"HTTP/1.1 200 "):
                self._finish(selector, pending, request, datacenter=body.decode())
            else:
                self._finish(selector, pending, request, failure=head.partition(b"\r\n")[0].decode())
        elif not received:
            self._finish(selector, pending, request, failure="closed without an answer")

    def _expire(self, selector: selectors.BaseSelector, pending: dict[int, _Pending]) -> None:
        too_old = time.perf_counter() - self._timeout
        for request in [request for request in pending.values() if request.sent < too_old]:
            self._finish(selector, pending, request, failure=f"no answer within {self._timeout:g} s")
        self._oldest_pending = min((request.sent for request in pending.values()), default=time.perf_counter())

    def _finish(
        self,
        selector: selectors.BaseSelector,
        pending: dict[int, _Pending],
        request: _Pending,
        datacenter: str | None = None,
        failure: str | None = None,
    ) -> None:
        done = time.perf_counter()
        selector.unregister(request.connection)
        del pending[request.connection.fileno()]
        request.connection.close()
        self._attempts.append(Attempt(request.sent, done, datacenter, failure))


def patient(ip: str, port: int, interval: float = 0.004) -> Client:
    """A Client that has few requests under way, each of which may take five seconds.

    It finds fault with what is delivered and not with how busy the machine is: connections that pile up before a server
    without a processor to run on end in resets.
    """
    return Client(ip, port, interval, timeout=5.0, at_most=32)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return -1
