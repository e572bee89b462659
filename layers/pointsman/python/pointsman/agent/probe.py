"""Runs one check once: over HTTP, TCP, UDP, gRPC, or a command. Each takes at most its timeout."""

import asyncio
import os
import signal
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import aiohttp

from pointsman.agent.definition import SECOND, CheckDefinition
from pointsman.agent.verdict import MOST_OUTPUT, Result

if TYPE_CHECKING:
    import grpc.aio

DEFAULT_TIMEOUT_S: Final = 10.0
"""Seconds of a run over the network, if the check does not say."""
COMMAND_TIMEOUT_S: Final = 30.0
"""Seconds of a run of a command, if the check does not say."""
MOST_AT_ONCE: Final = 64
"""Runs at a time; the others wait, and their time begins when they do not."""

_WARNING_STATUS: Final = 429
_UDP_SILENCE_S: Final = 1.0
"""Seconds without an answer after which a UDP port counts as open: nobody said that it is closed."""


def reason(error: Exception) -> str:
    """Why a connection failed, in a few words."""
    of_system = getattr(error, "os_error", error)
    return str(getattr(of_system, "strerror", None) or error or type(error).__name__)


class Prober:
    """Runs checks with one HTTP client. `close` ends it."""

    def __init__(self) -> None:
        # Each run opens a connection of its own: that the port takes one is half of what is checked.
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MOST_AT_ONCE, force_close=True))
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._kinds: dict[str, Callable[[CheckDefinition], Awaitable[Result]]] = {
            "http": self._over_http,
            "tcp": _over_tcp,
            "udp": _over_udp,
            "grpc": _over_grpc,
            "args": _command,
        }

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of checks that it can run."""
        return frozenset(self._kinds)

    async def run(self, check: CheckDefinition) -> Result:
        """The result of one run; whatever goes wrong is a critical one."""
        timeout = check.timeout / SECOND or (COMMAND_TIMEOUT_S if check.args else DEFAULT_TIMEOUT_S)
        async with self._slots:
            try:
                async with asyncio.timeout(timeout):
                    return await self._kinds[check.kind](check)
            except TimeoutError:
                return Result("critical", f"no result within {timeout:g} s")
            except Exception as error:
                # Whatever it is, the check did not find that all is well.
                return Result("critical", reason(error))

    async def close(self) -> None:
        """Close the HTTP client."""
        await self._http.close()

    async def _over_http(self, check: CheckDefinition) -> Result:
        headers = [(name, value) for name, values in check.header.items() for value in values]
        async with self._http.request(
            check.method or "GET",
            check.http,
            data=check.body or None,
            headers=headers,
            allow_redirects=not check.disable_redirects,
            ssl=not check.tls_skip_verify,
            server_hostname=check.tls_server_name or None,
        ) as answer:
            text = (await answer.content.read(MOST_OUTPUT)).decode(errors="replace")
            said = f"HTTP {check.method or 'GET'} {check.http}: {answer.status} {answer.reason} Output: {text}"
            if 200 <= answer.status < 300:
                return Result("passing", said)
            return Result("warning" if answer.status == _WARNING_STATUS else "critical", said)


async def _over_tcp(check: CheckDefinition) -> Result:
    host, _, port = check.tcp.rpartition(":")
    tls = _tls(check) if check.tcp_use_tls else None
    name = (check.tls_server_name or host.strip("[]")) if tls else None
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls, server_hostname=name)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return Result("passing", f"TCP connect {check.tcp}: Success")


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done():
            self.answer.set_result("answered")

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _over_udp(check: CheckDefinition) -> Result:
    host, _, port = check.udp.rpartition(":")
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(_Datagrams, remote_addr=(host.strip("[]"), int(port)))
    try:
        transport.sendto(b"\0")
        said = await asyncio.wait_for(protocol.answer, _UDP_SILENCE_S)
    except TimeoutError:
        said = "no answer, and nothing said that the port is closed"
    finally:
        transport.close()
    return Result("passing", f"UDP {check.udp}: {said}")


async def _over_grpc(check: CheckDefinition) -> Result:
    # Imported here: few hosts have such checks, and it takes a while.
    import grpc
    import grpc.aio
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    place, _, service = check.grpc.partition("/")
    async with _channel(place, check) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        except grpc.aio.AioRpcError as error:
            return Result("critical", f"gRPC {check.grpc}: {error.code().name}: {error.details()}")
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    said = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return Result("passing" if serving else "critical", f"gRPC {check.grpc}: {said}")


def _channel(place: str, check: CheckDefinition) -> "grpc.aio.Channel":
    import grpc
    import grpc.aio

    if not check.grpc_use_tls:
        return grpc.aio.insecure_channel(place)
    name = (("grpc.ssl_target_name_override", check.tls_server_name),) if check.tls_server_name else ()
    return grpc.aio.secure_channel(place, grpc.ssl_channel_credentials(), options=name)


def _tls(check: CheckDefinition) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if check.tls_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _command(check: CheckDefinition) -> Result:
    """Exit code 0 is passing, 1 a warning, any other critical. All that it started ends with it."""
    process = await asyncio.create_subprocess_exec(
        *check.args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        output = bytearray()
        while piece := await process.stdout.read(MOST_OUTPUT):
            output += piece[: MOST_OUTPUT - len(output)]
        code = await process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.returncode is None:
            await asyncio.shield(process.wait())
    text = output.decode(errors="replace")
    if code in (0, 1):
        return Result("passing" if code == 0 else "warning", text)
    return Result("critical", f"exit code {code}: {text}")
