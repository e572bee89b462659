"""Asks an HTTP server for JSON, over TCP, TLS or a unix socket, within limits of time and size."""

import http.client
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pointsman.model.errors import PointsmanError
from pointsman.serve.listen import Listen

MOST_ANSWER_BYTES = 64 * 1024 * 1024
"""Bytes of an answer. A thousand clusters have three thousand of our counters, in half a megabyte."""

CONNECT_SECONDS = 10.0
"""Seconds until a connection is there. An answer may take longer, a machine that is away is not waited for."""

_PIECE = 256 * 1024


class NoAnswer(PointsmanError):
    """The server did not answer, or not as expected."""


def get_json(place: Listen, path: str, timeout: float = 2.0) -> Any:
    """The JSON under `path`; None for a 4xx answer.

    `timeout` is in seconds, for the whole exchange. Raises NoAnswer.
    """
    host = "localhost" if place.path else str(place)
    status, body = ask(place, "GET", path, timeout=timeout, headers={"host": host})
    if 400 <= status < 500:
        return None
    if status != 200:
        raise NoAnswer(f"{place}: {path} was answered {status}")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NoAnswer(f"{place}: {path} was not answered with JSON: {error}") from None


def ask(
    place: Listen | tuple[str, int],
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    timeout: float,
    headers: dict[str, str],
    tls: ssl.SSLContext | None = None,
) -> tuple[int, bytes]:
    """Status and body of the answer to one request, as `exchange` has it."""
    answer = exchange(place, method, path, body, timeout=timeout, headers=headers, tls=tls)
    return answer.status, answer.body


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer over HTTP; the names of `headers` are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes


def exchange(
    place: Listen | tuple[str, int],
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    timeout: float,
    headers: dict[str, str],
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """The answer to one request; `place` may be a name with its port.

    `timeout` is in seconds, for the whole exchange. Raises NoAnswer, with its cause, also for an answer of more than
    MOST_ANSWER_BYTES.
    """
    if isinstance(place, tuple):
        host, port = place
        where, unix = f"{host}:{port}", ""
    else:
        host, port, where, unix = place.host, place.port, str(place), place.path
    connection = _Connection(host or "localhost", port or None, unix=unix, deadline=time.monotonic() + timeout, tls=tls)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = bytearray()
        while piece := answer.read(_PIECE):
            found += piece
            if len(found) > MOST_ANSWER_BYTES:
                raise NoAnswer(f"{where}: {path} was answered with more than {MOST_ANSWER_BYTES} bytes")
        said = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, said, bytes(found))
    except TimeoutError:
        raise NoAnswer(f"{where}: no complete answer within {timeout:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"{where}: {getattr(error, 'strerror', None) or error or type(error).__name__}") from error
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection that fails at `deadline` (by `time.monotonic`), however slowly data arrives."""

    def __init__(self, host: str, port: int | None, *, unix: str, deadline: float, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self._unix, self._deadline, self._tls = unix, deadline, tls

    def connect(self) -> None:
        self.sock = self._connected()
        if self._tls is not None:
            self._tls.sslsocket_class = _UntilTls
            self.sock.settimeout(_left(self._deadline))
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)
        self.sock.deadline = self._deadline  # type: ignore[attr-defined]

    def _connected(self) -> socket.socket:
        if self._unix:
            sock: socket.socket = _Until(socket.AF_UNIX)
            sock.settimeout(_left(self._deadline))
            sock.connect(self._unix)
            return sock
        problem: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            sock = _Until(family, kind, protocol)
            try:
                sock.settimeout(min(_left(self._deadline), CONNECT_SECONDS))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
            except TimeoutError:
                sock.close()
                _left(self._deadline)
                problem = OSError(f"no connection within {CONNECT_SECONDS:g} s")
            except OSError as error:
                sock.close()
                problem = error
        raise problem or OSError("it has no address")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


# What both kinds of sockets below are; a plain base, where it runs.
if TYPE_CHECKING:
    _Socket = socket.socket
else:
    _Socket = object


class _Timed(_Socket):
    """A socket whose every operation is limited to the time left."""

    deadline = float("inf")

    def sendall(self, *args: Any) -> None:
        self.settimeout(_left(self.deadline))
        super().sendall(*args)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left(self.deadline))
        return super().recv_into(*args, **kwargs)


class _Until(_Timed, socket.socket):
    """Over TCP, or a unix socket."""


class _UntilTls(_Timed, ssl.SSLSocket):
    """Over TLS."""
