"""The HTTP server before an adapter: where it listens, whom it lets in, how it ends.

It is uvicorn with httptools: it is embedded in a few lines, drains, and its connection class can be extended to tell
who the client is. In one short run on a busy machine, with requests of 77 KB and a client that was itself part of the
limit, it gave 2,230 answers a second against 1,540 with h11, 1,270 of hypercorn and 3,000 of granian; with 2,000 held
requests the last was released after 0.2 s, granian's after 0.27 s.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pointsman.adapter.rest.wire import GONE, URIS
from pointsman.adapter.serve.joined import JoinedWrites
from pointsman.adapter.serve.listen import Listen
from pointsman.adapter.serve.threaded import ThreadedServer
from pointsman.adapter.serve.tls import ServerTls
from pointsman.discovery.request import MAX_BODY
from pointsman.model.errors import PointsmanError

_log = logging.getLogger(__name__)

_GRACE = 5
"""Seconds that answers under way get when the server ends."""

_IDLE = 120
"""Seconds that a connection may be idle: longer than an Envoy waits between two requests, so that it is hardly ever
closed just as the next one comes."""

_LOOK_AT_CERTIFICATES = 30.0


class _Connection(HttpToolsProtocol):
    """A connection that tells the application who is at the other end, and when that hangs up."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        self._gone: list[Callable[[], None]] = []
        own: dict[str, Any] = {GONE: self._gone}
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            names = (tls.getpeercert() or {}).get("subjectAltName", ())
            own[URIS] = tuple(value for kind, value in names if kind == "URI")
        self.app_state = {**self.app_state, **own}

    def on_body(self, body: bytes) -> None:
        # uvicorn stops reading above 64 KB, and every request of an Envoy is larger: two system calls each.
        if not self.cycle.response_complete:
            self.cycle.body += body
            if len(self.cycle.body) > MAX_BODY:
                self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        # uvicorn may have stopped reading in the middle of a large request, and would not see the client hang up.
        self.flow.resume_reading()

    def on_response_complete(self) -> None:
        self._gone.clear()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for call in self._gone:
            call()


class _Server(uvicorn.Server):
    """A server that says that it ends before it waits for what is under way, and tells when it has started."""

    def __init__(
        self, config: uvicorn.Config, drain: Callable[[], None], started: Callable[[], None], tls: ServerTls | None
    ) -> None:
        super().__init__(config)
        self._drain, self._told, self._tls = drain, started, tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self._tls is not None:
            self._refresh(self._tls)
        self._told()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain()
        await super().shutdown(sockets=sockets)

    def _refresh(self, tls: ServerTls) -> None:
        try:
            tls.refresh()
        except PointsmanError as error:
            _log.warning("the certificate stays the old one: %s", error)
        asyncio.get_running_loop().call_later(_LOOK_AT_CERTIFICATES, self._refresh, tls)


class HttpServer(ThreadedServer):
    """Serves `app` from a thread of its own, from `start` to `stop` or while the `with` block lasts."""

    def __init__(
        self,
        app: ASGIApp,
        listen: Listen,
        tls: ServerTls | None = None,
        *,
        drain: Callable[[], None] = lambda: None,
        option: str = "--listen",
    ) -> None:
        """`drain` is called on the loop when the server is told to end: let go of who is held. `option` is how people
        say where it listens.

        Raises InvalidInput without `tls` on an address that others than this machine reach.
        """
        super().__init__("http", listen, tls=tls is not None, grace=_GRACE, option=option)
        self._tls = None if listen.path else tls
        self._socket: socket.socket | None = None
        config = uvicorn.Config(
            app,
            http=_Connection,
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE,
            timeout_graceful_shutdown=_GRACE,
        )
        if self._tls is not None:
            context = self._tls.context
            config.ssl_context_factory = lambda config, default: context
        self._server = _Server(config, drain, self._ready, self._tls)

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
        self._socket = self._listen.bind()
        super().start()

    def stop(self) -> None:
        """Turn new connections away, answer who is held, and return when that is done."""
        super().stop()
        if self._listen.path:
            Path(self._listen.path).unlink(missing_ok=True)

    def _serve(self) -> None:
        assert self._socket is not None
        self._server.run(sockets=[self._socket])

    def _end(self) -> None:
        self._server.should_exit = True
