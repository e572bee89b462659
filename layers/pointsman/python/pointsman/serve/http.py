"""The HTTP server for an application: its address, access checks, limits and shutdown.

It is uvicorn with httptools, which is embedded in a few lines, drains, and lets its connection class be extended to
identify the client. One short run on a busy machine, with requests of 77 KB and a client that was itself part of the
limit, gave 2,230 answers a second, against 1,540 with h11, 1,270 with hypercorn and 3,000 with granian. Of 2,000 held
requests the last was released after 0.2 s, with granian after 0.27 s.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Protocol

import uvicorn
from starlette.types import ASGIApp

from pointsman.model.errors import PointsmanError
from pointsman.serve.accept import Acceptor
from pointsman.serve.connection import Connection
from pointsman.serve.crowd import FOR_ENVOYS, Bounds, Crowd
from pointsman.serve.files import within_files
from pointsman.serve.listen import Listen
from pointsman.serve.local import NoForeignPages
from pointsman.serve.threaded import ThreadedServer
from pointsman.serve.tls import ServerTls

_log = logging.getLogger(__name__)

_GRACE_S = 5
"""Seconds for answers under way when the server stops."""

_UNFINISHED_S = 1.0
"""Seconds for incomplete requests when the server stops."""

_SWEEP_S = 1.0
"""Seconds between two checks for connections that take too long."""

_LOOK_AT_CERTIFICATES_S = 30.0


class _Server(uvicorn.Server):
    """A uvicorn server with our own acceptor. It announces its shutdown before it waits for requests under way, and
    reports when it has started."""

    def __init__(
        self,
        config: uvicorn.Config,
        crowd: Crowd,
        *,
        drain: Callable[[], None],
        started: Callable[[], None],
        tls: ServerTls | None,
    ) -> None:
        super().__init__(config)
        self._crowd, self._drain, self._told, self._tls = crowd, drain, started, tls
        self._acceptors: list[Acceptor] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        if self._tls is not None:
            self._refresh(self._tls)
        for listener in sockets or []:
            acceptor = Acceptor(listener, self._crowd, self._connection, self._context)
            self._acceptors.append(acceptor)
            acceptor.start()
        self._sweep()
        self._told()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for acceptor in self._acceptors:
            acceptor.stop()
        self._drain()
        asyncio.get_running_loop().call_later(_UNFINISHED_S, self._crowd.end_unfinished)
        await super().shutdown(sockets=sockets)

    def _connection(self, opened: Callable[[], None]) -> Connection:
        return Connection(self.config, self.server_state, self._crowd, opened)

    def _context(self) -> ssl.SSLContext | None:
        return self._tls.context if self._tls is not None else None

    def _sweep(self) -> None:
        self._crowd.sweep()
        asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def _refresh(self, tls: ServerTls) -> None:
        try:
            tls.refresh()
        except PointsmanError as error:
            _log.warning("keeping the old certificate: %s", error)
        asyncio.get_running_loop().call_later(_LOOK_AT_CERTIFICATES_S, self._refresh, tls)


class Counters(Protocol):
    """Counts a server's connections, for metrics."""

    def connections(self, door: str, count: Callable[[], int]) -> None:
        """Register `count`, which returns the current number of connections of the server `door`."""
        ...

    def turning_away(self, door: str) -> Callable[[str], None]:
        """A function that counts a refused connection of `door`, called with the reason."""
        ...


class HttpServer(ThreadedServer):
    """Serves `app` in a thread of its own, from `start` to `stop` or within a `with` block."""

    def __init__(
        self,
        app: ASGIApp,
        listen: Listen,
        tls: ServerTls | None = None,
        *,
        name: str = "http",
        drain: Callable[[], None] = lambda: None,
        option: str = "--listen",
        bounds: Bounds = FOR_ENVOYS,
        hosts: Iterable[str] = (),
        metrics: Counters | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        """`drain` is called on the loop when the server is asked to stop, to release held requests. `option` is the
        command-line option for the address, named in errors. `hosts` are this machine's names besides localhost and
        loopback addresses. `listener` is a socket that already listens there.

        Raises InvalidInput without `tls` on an address that other machines can reach.
        """
        super().__init__(name, listen, tls=tls is not None, grace=_GRACE_S, option=option)
        self._tls = None if listen.path else tls
        self._socket = listener
        config = uvicorn.Config(
            NoForeignPages(app, None if listen.path or self._tls is not None else hosts),
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        told = metrics.turning_away(name) if metrics is not None else lambda reason: None
        crowd = Crowd(f"{option} {listen}", within_files(bounds), told)
        if metrics is not None:
            metrics.connections(name, lambda: len(crowd))
        self._server = _Server(config, crowd, drain=drain, started=self._ready, tls=self._tls)

    @property
    def address(self) -> str:
        """The server's address: http://IP:PORT, https://IP:PORT or unix:PATH, with the actual port if 0 was asked
        for."""
        if self._listen.path:
            return f"unix:{self._listen.path}"
        assert self._socket is not None, "not started"
        host, port = self._socket.getsockname()[:2]
        return f"http{'s' if self._tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self) -> None:
        """Listen; returns when connections are accepted. Raises PointsmanError if the server cannot start."""
        self._socket = self._socket or self._listen.bind(self._option)
        super().start()

    def stop(self) -> None:
        """Refuse new connections, answer held requests, and return when all is done."""
        if self._socket is not None and self._socket.fileno() >= 0:
            self._listen.leave()
        super().stop()

    def _serve(self) -> None:
        assert self._socket is not None
        self._server.run(sockets=[self._socket])

    def _end(self) -> None:
        self._server.should_exit = True
