"""The gRPC server for the ADS adapter: its address, access checks and shutdown."""

import asyncio
import logging
import os
import tempfile
from typing import Any

import grpc

from pointsman.adapter.ads.ads_adapter import MOST_STREAMS, AdsAdapter
from pointsman.model.errors import PointsmanError
from pointsman.serve.crowd import Bounds
from pointsman.serve.files import within_files
from pointsman.serve.listen import Listen
from pointsman.serve.threaded import ThreadedServer
from pointsman.serve.tls import TlsFiles

_log = logging.getLogger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

MOST_CONNECTIONS = 16_384
"""Connections at a time, but at most half of the files that the process may open."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Bytes of a request. A node has 77 KB; a returning Envoy sends the versions of all its resources, up to 30,000."""

MOST_STREAMS_OF_ONE = 100
"""Streams at a time on one connection, which can therefore hold 400 MiB of incomplete requests. An Envoy has one
stream.

In Python, gRPC has no limit on the bytes of all connections (in C++ it has ResourceQuota). Only the number of streams
and the process's memory limit bound them.
"""

MAX_METADATA_BYTES = 16 * 1024
"""Bytes of a stream's metadata, above which gRPC may refuse it; above four times as many it always does."""

_MOST_REFUSED = 1000
"""Refused streams at a time that get a reason; gRPC refuses further ones without."""

_OPTIONS = [
    # Two adapters that share a port by accident would each get some of the Envoys.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    # Streams can be silent for days; a lost client is noticed within a minute and a half.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Envoys send keepalives every 5 or 30 s; by default gRPC treats more than one in five minutes as an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 4 * MAX_METADATA_BYTES),
    ("grpc.max_concurrent_streams", MOST_STREAMS_OF_ONE),
    # gRPC would send a ping with every request that it reads, to size windows for bulk data: a third of what a change
    # costs. Requests are small, and mostly ACKs.
    ("grpc.http2.bdp_probe", 0),
    # A client must send something within ten seconds, and open a stream within five minutes.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
]


class AdsServer(ThreadedServer):
    """Serves an adapter in a thread of its own, within a `with` block or from `start` to `stop`."""

    def __init__(self, adapter: AdsAdapter, listen: Listen, tls: TlsFiles | None = None, *, grace: float = 5.0) -> None:
        """`grace` is the seconds for streams to end. Raises InvalidInput without `tls` on an address that other
        machines reach."""
        super().__init__("grpc", listen, tls=tls is not None, grace=grace, option="--grpc")
        self._adapter, self._tls = adapter, tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """The server's address, with the actual port if 0 was asked for."""
        return _target(self._listen, self._port)

    def _serve(self) -> None:
        asyncio.run(self._serve_until_told())

    def _end(self) -> None:
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve_until_told(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        bounds = within_files(Bounds(MOST_CONNECTIONS, 0, 0.5))
        options = [*_OPTIONS, ("grpc.max_allowed_incoming_connections", bounds.connections)]
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MOST_STREAMS + _MOST_REFUSED)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, dict(self._adapter.handlers()))])
        self._port = self._bind(server)
        await server.start()
        self._ready()
        await self._stopping.wait()
        self._adapter.drain()
        if self._listen.path:
            self._listen.leave()
        await server.stop(self._grace)
        self._adapter.close()

    def _bind(self, server: Any) -> int:
        if self._listen.path:
            return self._bind_path(server)
        target = _target(self._listen, self._listen.port)
        credentials = _credentials(self._tls) if self._tls is not None else None
        try:
            port = server.add_secure_port(target, credentials) if credentials else server.add_insecure_port(target)
        except RuntimeError as error:
            raise PointsmanError(f"{target}: cannot listen there; is another adapter running? ({error})") from None
        return int(port)

    def _bind_path(self, server: Any) -> int:
        # gRPC would steal the socket of a running server, and set its mode only after it listens.
        try:
            with tempfile.TemporaryDirectory(prefix=".", dir=os.path.dirname(self._listen.path)) as within:
                beside = os.path.join(within, "s")
                server.add_insecure_port(f"unix:{beside}")
                self._listen.name(beside, self._option)
        except (OSError, RuntimeError) as error:
            raise PointsmanError(f"{self._listen}: cannot listen there ({error})") from None
        return 0


def _target(listen: Listen, port: int) -> str:
    """The address in gRPC's syntax."""
    if listen.path:
        return f"unix:{listen.path}"
    return f"[{listen.host}]:{port}" if ":" in listen.host else f"{listen.host}:{port}"


def _credentials(files: TlsFiles) -> Any:
    """Credentials of a server that requires client certificates; changed files are read again.

    Raises PointsmanError if a file cannot be read.
    """
    assert files.client_ca is not None, "Envoys have certificates"
    places = (files.private_key, files.certificate, files.client_ca)

    def read() -> tuple[tuple[int, ...], Any]:
        try:
            stamps = tuple(each.stat().st_mtime_ns for each in places)
            key, chain, ca = (each.read_bytes() for each in places)
        except OSError as error:
            raise PointsmanError(f"TLS: {error.filename}: {error.strerror}") from None
        return stamps, grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=ca)

    seen, first = read()

    def newest() -> Any:
        nonlocal seen
        try:
            stamps, configuration = read()
        except PointsmanError as error:
            _log.warning("what was read before is used on: %s", error)
            return None
        if stamps == seen:
            return None
        seen = stamps
        return configuration

    return grpc.dynamic_ssl_server_credentials(first, newest, require_client_authentication=True)
