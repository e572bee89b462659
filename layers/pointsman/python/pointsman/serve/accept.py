"""Accepts connections up to a limit.

asyncio's own server accepts without a limit, and when the process has no file descriptors left it logs a traceback for
each waiting connection, at every turn of the loop.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable

import orjson

from pointsman.serve.crowd import Crowd, Stage

HANDSHAKE_SECONDS = 10.0
"""Seconds for the TLS handshake of a client."""

_AT_ONCE = 64
"""Connections accepted in a row before the loop does other work."""

_PAUSE_S = 0.5
"""Seconds until connections are accepted again after the process ran out of files."""

_BODY = orjson.dumps({"error": "too many connections; try again"})
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-type: application/json\r\n"


class _Opening:
    """A connection during its TLS handshake."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None

    def expire(self, stage: Stage) -> None:
        self.abort()

    def abort(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Acceptor:
    """Accepts connections on `listener`, from `start` to `stop`. Use it only on the loop's thread."""

    def __init__(
        self,
        listener: socket.socket,
        crowd: Crowd,
        make: Callable[[Callable[[], None]], asyncio.Protocol],
        context: Callable[[], ssl.SSLContext | None],
    ) -> None:
        """`make` creates the protocol of one connection; it calls its argument when the connection is open. `context`
        returns the context of the next handshake, None without TLS."""
        self._listener, self._crowd, self._make, self._context = listener, crowd, make, context
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._stopped = False

    def start(self) -> None:
        """Start accepting."""
        if not self._stopped:
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._take)

    def stop(self) -> None:
        """Stop accepting, and drop connections that are still in their handshake."""
        self._stopped = True
        self._loop.remove_reader(self._listener)
        for task in self._opening:
            task.cancel()

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                self._crowd.out_of_files(error.strerror or str(error))
                self._loop.remove_reader(self._listener)
                self._loop.call_later(_PAUSE_S, self.start)
                return
            connection.setblocking(False)
            if self._crowd.admit():
                self._open(connection)
            else:
                self._turn_away(connection)

    def _open(self, connection: socket.socket) -> None:
        opening = _Opening()
        self._crowd.place(opening, Stage.NEW)
        task = opening.task = self._loop.create_task(self._connect(connection, opening))
        self._opening.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._opening.discard(task)
            self._crowd.leave(opening)
            if task.cancelled():
                connection.close()

        task.add_done_callback(over)

    async def _connect(self, connection: socket.socket, opening: _Opening) -> None:
        context = self._context()
        # Only clients cause these errors: no certificate, an unknown one, no TLS, too slow.
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(
                lambda: self._make(lambda: self._crowd.leave(opening)),
                connection,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if context else None,
            )

    def _turn_away(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if self._context() is None:
                connection.send(_FULL + b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY))
