"""One client's connection: uvicorn's HTTP/1.1 on httptools, with limits.

It tells the application who the client is, and when the client disconnects.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from pointsman.serve.certificate import certificate_names, certificate_uris
from pointsman.serve.crowd import BODY_SECONDS, HEAD_SECONDS, Crowd, Stage
from pointsman.serve.joined import JoinedWrites

URIS = "pointsman.client_uris"
NAMES = "pointsman.client_names"
GONE = "pointsman.on_client_gone"
"""Keys of a scope's state for what ASGI does not offer: the URI SANs of the client's certificate; the names for which
it stands; a list of functions to call when the client disconnects."""

MOST_HEAD_BYTES = 64 * 1024
"""Bytes of a request's line and headers, and of anything else outside a body."""

MOST_HEADERS = 100
"""Headers of a request."""

MOST_AHEAD = 8
"""Requests that a client may pipeline before the first one is answered."""

_ENOUGH = 1024 * 1024
"""Bytes of a body that are buffered before the application reads them: enough for any request of an Envoy."""


class Connection(HttpToolsProtocol):
    """A connection that a `Crowd` counts and limits."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, crowd: Crowd, opened: Callable[[], None] = lambda: None
    ) -> None:
        """`opened` is called when the connection has joined the crowd."""
        super().__init__(config=config, server_state=state, app_state={})
        self._crowd, self._opened = crowd, opened
        self._reading = Stage.NEW
        self._entered = False
        self._head = 0
        self._refused = False
        self._gone: list[Callable[[], None]] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        own: dict[str, Any] = {GONE: self._gone}
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            der = tls.getpeercert(binary_form=True) or b""
            own[URIS], own[NAMES] = certificate_uris(der), certificate_names(der)
        self.app_state = own
        self._opened()
        self._crowd.place(self, Stage.NEW)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        super().connection_lost(exc)
        for call in self._gone:
            call()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if not self._crowd.hold(self, len(data)):
            self._refuse(503, "too many incomplete requests; try again")
            return
        self._head += len(data)
        super().data_received(data)
        # Once for all stages that it went through: most requests come in one piece.
        if self._entered and not self._refused:
            self._crowd.place(self, self._reading)
        self._entered = False
        if self._head > MOST_HEAD_BYTES and self._reading in (Stage.HEAD, Stage.BODY) and not self._refused:
            self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._refused:
            self._enter(Stage.HEAD)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Data after a complete body is dropped: nothing reads it.
        if self._reading is Stage.HEAD and len(self.headers) <= MOST_HEADERS:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        size = len(self.url) + sum([len(name) + len(value) for name, value in self.headers])
        if size > MOST_HEAD_BYTES or len(self.headers) > MOST_HEADERS:
            self._refuse_head()
        elif len(self.pipeline) >= MOST_AHEAD:
            self._refuse(429, f"more than {MOST_AHEAD} requests were sent ahead")
        else:
            super().on_headers_complete()
            self._head = 0
            self._enter(Stage.BODY)

    def on_body(self, body: bytes) -> None:
        # uvicorn pauses reading above 64 KB, and every Envoy request is larger: that would cost two system calls each.
        if self._refused or self.cycle.response_complete:
            return
        self._head = 0
        self.cycle.body += body
        if len(self.cycle.body) > _ENOUGH:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._refused:
            return
        super().on_message_complete()
        # Reading may be paused within a large request, and then the client's disconnect would go unnoticed.
        self.flow.resume_reading()
        self._head = 0
        self._crowd.release(self)
        self._enter(Stage.IDLE if self.cycle.response_complete else Stage.WORKING)

    def on_response_complete(self) -> None:
        self._gone.clear()
        if self.pipeline:
            super().on_response_complete()
        elif not self.transport.is_closing():
            # As uvicorn does it, but for its timer, which takes longer than all the rest: the crowd ends who is idle.
            self.flow.resume_reading()
        if self._reading is Stage.WORKING and self.cycle.response_complete:
            self._reading = Stage.IDLE
        if self.transport.is_closing() or self.flow.write_paused:
            self._crowd.place(self, Stage.SENDING)
        elif self._reading is Stage.BODY and self.cycle.response_complete:
            # The client still sends although it was answered, for instance a body that is too large.
            self._crowd.place(self, Stage.LINGERING)
        else:
            self._crowd.place(self, self._reading)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._crowd.place(self, Stage.SENDING)
        if not self._crowd.hold(self, self.transport.get_write_buffer_size()):
            self.abort()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._crowd.release(self)
        self._crowd.place(self, self._reading)

    def expire(self, stage: Stage) -> None:
        """End the connection: it was in `stage` for too long."""
        if stage is Stage.HEAD:
            self._refuse(408, f"the headers did not come within {HEAD_SECONDS:g} s")
        elif stage is Stage.BODY:
            self._refuse(408, f"the body did not come within {BODY_SECONDS:g} s")
        else:
            self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def _enter(self, stage: Stage) -> None:
        self._reading, self._entered = stage, True

    def _refuse_head(self) -> None:
        self._refuse(431, f"the headers are larger than {MOST_HEAD_BYTES} bytes, or more than {MOST_HEADERS}")

    def _refuse(self, status: int, reason: str) -> None:
        """Answer with the reason, and read nothing more."""
        self._refused = True
        self._crowd.release(self)
        self._crowd.place(self, Stage.LINGERING)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or self.pipeline or self._reading is Stage.HEAD:
                # Another answer is on its way.
                self.abort()
                return
            cycle.disconnected = True
            cycle.body = bytearray()
            cycle.message_event.set()
        body = orjson.dumps({"error": reason})
        head = b"connection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
