"""The HTTP server before an application: where it listens, whom it lets in, what it takes on, how it ends.

It is uvicorn with httptools: it is embedded in a few lines, drains, and its connection class can be extended to tell
who the client is. In one short run on a busy machine, with requests of 77 KB and a client that was itself part of the
limit, it gave 2,230 answers a second against 1,540 with h11, 1,270 of hypercorn and 3,000 of granian; with 2,000 held
requests the last was released after 0.2 s, granian's after 0.27 s.
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
from pointsman.serve.local import LocalOnly
from pointsman.serve.threaded import ThreadedServer
from pointsman.serve.tls import ServerTls

_log = logging.getLogger(__name__)

_GRACE_S = 5
"""Seconds that answers under way get when the server ends."""

_UNFINISHED_S = 1.0
"""Seconds that requests which are not complete get when the server ends."""

IDLE_SECONDS = 120
"""That a connection may be idle: longer than an Envoy waits between two requests, so that it is hardly ever closed just
as the next one comes."""

_SWEEP_S = 1.0
"""Seconds between two looks for who takes too long."""

_LOOK_AT_CERTIFICATES_S = 30.0


class _Server(uvicorn.Server):
    """A server that takes connections itself, says that it ends before it waits for what is under way, and tells when
    it has started."""

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
            _log.warning("the certificate stays the old one: %s", error)
        asyncio.get_running_loop().call_later(_LOOK_AT_CERTIFICATES_S, self._refresh, tls)


class Counters(Protocol):
    """What counts a server's connections."""

    def connections(self, door: str, count: Callable[[], int]) -> None:
        """Tell how many connections the server `door` has."""
        ...

    def turning_away(self, door: str) -> Callable[[str], None]:
        """What counts a connection of `door` that is turned away, called with the reason."""
        ...


class HttpServer(ThreadedServer):
    """Serves `app` from a thread of its own, from `start` to `stop` or while the `with` block lasts."""

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
        """`drain` is called on the loop when the server is told to end: let go of who is held. `option` is how people
        say where it listens. `hosts` are names by which this machine is asked besides localhost and its addresses.
        `listener` listens there already.

        Raises InvalidInput without `tls` on an address that others than this machine reach.
        """
        super().__init__(name, listen, tls=tls is not None, grace=_GRACE_S, option=option)
        self._tls = None if listen.path else tls
        self._socket = listener
        config = uvicorn.Config(
            app if self._tls is not None else LocalOnly(app, None if listen.path else hosts),
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=_GRACE_S,
        )
        told = metrics.turning_away(name) if metrics is not None else lambda reason: None
        crowd = Crowd(f"{option} {listen}", within_files(bounds), told)
        if metrics is not None:
            metrics.connections(name, lambda: len(crowd))
        self._server = _Server(config, crowd, drain=drain, started=self._ready, tls=self._tls)

    @property
    def address(self) -> str:
        """Where it listens: http://IP:PORT, https://IP:PORT or unix:PATH, with the port that was picked for 0."""
        if self._listen.path:
            return f"unix:{self._listen.path}"
        assert self._socket is not None, "not started"
        host, port = self._socket.getsockname()[:2]
        return f"http{'s' if self._tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self) -> None:
        """Listen; returns when connections are taken. Raises PointsmanError if that is not possible."""
        self._socket = self._socket or self._listen.bind(self._option)
        super().start()

    def stop(self) -> None:
        """Turn new connections away, answer who is held, and return when that is done."""
        if self._socket is not None and self._socket.fileno() >= 0:
            self._listen.leave()
        super().stop()

    def _serve(self) -> None:
        assert self._socket is not None
        self._server.run(sockets=[self._socket])

    def _end(self) -> None:
        self._server.should_exit = True
