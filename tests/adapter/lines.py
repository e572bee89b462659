"""Connections that are opened one after the other, say who is at the other end, and stay open as long as they may."""

import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.fleet.talk import ask


@dataclass(frozen=True, slots=True)
class Line:
    """A connection to `datacenter`, opened at `opened` (`time.perf_counter` seconds)."""

    connection: socket.socket
    datacenter: str
    opened: float

    @property
    def is_open(self) -> bool:
        """Whether the other side has not closed it."""
        try:
            return self.connection.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False


class Lines:
    """Opens connections to `ip`:`port` within its `with` block, with `interval` seconds between two."""

    def __init__(self, ip: str, port: int, interval: float = 0.02) -> None:
        self.all: list[Line] = []
        self.failures: list[str] = []
        self._peer, self._interval = (ip, port), interval
        self._held = contextlib.ExitStack()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._held.close()

    def stop(self) -> None:
        """Open no more; those that are open stay."""
        self._stopping.set()
        self._thread.join()

    def open(self) -> list[Line]:
        """Those that are still open."""
        return [each for each in self.all.copy() if each.is_open]

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            opened = time.perf_counter()
            try:
                connection = self._held.enter_context(socket.create_connection(self._peer, timeout=5))
                _, body, _ = ask(connection)
                connection.setblocking(False)
            except OSError as error:
                self.failures.append(str(error))
            else:
                self.all.append(Line(connection, body.decode(), opened))
