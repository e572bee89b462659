"""The gRPC server before the ADS adapter: where it listens, whom it trusts, how it ends."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import grpc  # type: ignore[import-untyped]

from pointsman.adapter.ads import AdsAdapter
from pointsman.model.errors import InvalidInput, PointsmanError

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

_OPTIONS = [
    # Two adapters on one port by accident would each get some of the Envoys.
    ("grpc.so_reuseport", 0),
    # A node is 77 KB, and an Envoy that comes back tells the version of every resource.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    # Streams are silent for days; whoever is gone is noticed within a minute and a half.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # The Envoys' own keepalive comes every 30 s; by default gRPC takes more than one in five minutes for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
]


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The server's certificate chain and key, and the CAs of its clients' certificates, as PEM files."""

    certificate: Path
    private_key: Path
    client_ca: Path

    def credentials(self) -> grpc.ServerCredentials:
        """For a server that lets in only who shows a certificate; the files are read again when they change.

        Raises PointsmanError where a file cannot be read.
        """
        seen = self._stamps()
        current = self._configuration()

        def newest() -> grpc.ServerCertificateConfiguration | None:
            nonlocal seen
            try:
                now = self._stamps()
                if now == seen:
                    return None
                configuration = self._configuration()
            except PointsmanError:
                return None  # in the middle of being replaced: the next connection looks again
            seen = now
            return configuration

        return grpc.dynamic_ssl_server_credentials(current, newest, require_client_authentication=True)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        key, chain, ca = (_read(file) for file in (self.private_key, self.certificate, self.client_ca))
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=ca)

    def _stamps(self) -> list[int]:
        try:
            return [each.stat().st_mtime_ns for each in (self.certificate, self.private_key, self.client_ca)]
        except OSError as error:
            raise PointsmanError(f"{error.filename}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a server listens: an address as gRPC has it, and whether it is one of this machine alone."""

    target: str
    local: bool

    @classmethod
    def read(cls, text: str, option: str = "--grpc") -> Self:
        """From IP:PORT or unix:PATH. Raises InvalidInput."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path:
                raise InvalidInput.single(option, "", f'"{text}" names no file; say unix:/run/pointsman.sock')
            # The kernel takes 107 bytes of it.
            absolute = str(Path(path).absolute())
            if len(absolute.encode()) > 107:
                raise InvalidInput.single(option, "", f'"{absolute}" is longer than the 107 bytes of a socket\'s path')
            return cls(f"unix:{absolute}", True)
        host, _, port = text.rpartition(":")
        try:
            ip = ip_address(host.strip("[]"))
        except ValueError:
            raise InvalidInput.single(option, "", f'"{text}" is neither IP:PORT nor unix:PATH') from None
        if not port.isdecimal() or int(port) > 65535:
            raise InvalidInput.single(option, "", f'"{text}" has no port between 0 and 65535')
        return cls(f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}", ip.is_loopback)


class AdsServer:
    """Serves an adapter from a thread of its own, while the `with` block lasts or from `start` to `stop`."""

    def __init__(
        self, adapter: AdsAdapter, listen: Listen, tls: ServerTls | None = None, *, grace: float = 5.0
    ) -> None:
        """`grace` is the seconds that streams get to end. Raises InvalidInput without `tls` on a foreign address."""
        if tls is None and not listen.local:
            reason = f'"{listen.target}" is not a loopback address: whoever reaches it reads the mesh'
            way_out = "give --tls-cert, --tls-key and --client-ca, or listen on loopback or unix:PATH"
            raise InvalidInput.single("--grpc", "", f"{reason}; {way_out}")
        self._adapter, self._listen, self._tls, self._grace = adapter, listen, tls, grace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._problem: BaseException | None = None
        self._port = 0
        self._thread = threading.Thread(target=self._run, name="grpc", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where it listens, with the port that was picked for 0."""
        if self._listen.target.startswith("unix:"):
            return self._listen.target
        return f"{self._listen.target.rpartition(':')[0]}:{self._port}"

    def start(self) -> None:
        """Listen; returns when connections are taken. Raises PointsmanError if that is not possible."""
        self._thread.start()
        self._started.wait()
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        """Turn new streams away, end those that are open, and return when that is done."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(self._grace + 5.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._problem = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, dict(self._adapter.handlers()))])
        self._port = self._bind(server)
        await server.start()
        self._started.set()
        await self._stopping.wait()
        self._adapter.drain()
        await server.stop(self._grace)
        self._adapter.close()

    def _bind(self, server: Any) -> int:
        target = self._listen.target
        unix = target.startswith("unix:")
        add: Callable[[], int] = lambda: server.add_insecure_port(target)  # noqa: E731
        if self._tls is not None and not unix:
            credentials = self._tls.credentials()
            add = lambda: server.add_secure_port(target, credentials)  # noqa: E731
        try:
            return add()
        except RuntimeError as error:
            raise PointsmanError(f"{target}: cannot listen there; is another adapter running? ({error})") from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise PointsmanError(f"{file}: {error.strerror}") from None
