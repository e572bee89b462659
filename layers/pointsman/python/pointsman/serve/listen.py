"""The addresses of servers: IP and port or a unix socket, and whether only this machine can reach them."""

import contextlib
import errno
import os
import re
import secrets
import socket
import tempfile
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from pointsman.model.errors import InvalidInput, PointsmanError

_SOCKET_MODE = 0o660
_ANOTHER = "is another adapter running, or `pointsman up`? Choose another with"
_TRIES = 3
"""Attempts to replace the socket of a dead server, while others may be trying as well."""

_LONGEST = 107
_BACKLOG = 4096
"""An Envoy with a thousand clusters opens a thousand connections at once."""


@dataclass(frozen=True, slots=True)
class Listen:
    """An address: `path` of a unix socket and its `mode`, or `host` and `port` (0: any free one)."""

    host: str
    port: int
    path: str = ""
    mode: int = _SOCKET_MODE

    @classmethod
    def read(cls, text: str, option: str) -> Self:
        """Parse IP:PORT or unix:PATH, optionally with ?mode=MODE, given as `option`. Raises InvalidInput."""
        if text.startswith("unix:"):
            text, with_mode, mode = text.partition("?mode=")
            path = os.path.abspath(text.removeprefix("unix:"))
            if text == "unix:" or len(path.encode()) > _LONGEST:
                reason = f'"{text}" is not the path of a socket, {_LONGEST} bytes at most; say unix:/run/pointsman.sock'
                raise InvalidInput.single(option, "", reason)
            return cls("", 0, path, _read_mode(mode, option) if with_mode else _SOCKET_MODE)
        host, _, port = text.rpartition(":")
        try:
            ip = ip_address(host.strip("[]"))
        except ValueError:
            raise InvalidInput.single(option, "", f'"{text[:80]}" is neither IP:PORT nor unix:PATH') from None
        if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
            raise InvalidInput.single(option, "", f'"{text[:80]}" has no port between 0 and 65535')
        return cls(str(ip), int(port))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the address."""
        return bool(self.path) or ip_address(self.host).is_loopback

    def bind(self, option: str) -> socket.socket:
        """A socket that listens at the address, which was given as `option`. Raises PointsmanError, with the way
        out."""
        if self.path:
            return self._bind_path(option)
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind((self.host, self.port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise self._cannot(error, option) from None
        return listener

    def leave(self) -> None:
        """Remove the unix socket's name. Call it while the listener is still open: later the name may belong to another
        server."""
        if self.path:
            Path(self.path).unlink(missing_ok=True)

    def name(self, beside: str, option: str) -> None:
        """Give the unix socket that listens at `beside` its mode and its final name, unless another server listens
        there.

        Because it already listens, nobody can connect before it has its mode, and a socket under the final name that
        refuses connections must be dead. Raises PointsmanError or OSError.
        """
        os.chmod(beside, self.mode)
        for _ in range(_TRIES):
            with contextlib.suppress(FileExistsError):
                os.link(beside, self.path)
                return
            self._clear(option)
        raise self._in_use(option)

    def _bind_path(self, option: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Created in a directory that nobody else may enter.
            with tempfile.TemporaryDirectory(prefix=".", dir=os.path.dirname(self.path)) as within:
                listener.bind(os.path.join(within, "s"))
                listener.listen(_BACKLOG)
                self.name(os.path.join(within, "s"), option)
        except OSError as error:
            listener.close()
            raise self._cannot(error, option) from None
        except BaseException:
            listener.close()
            raise
        return listener

    def _clear(self, option: str) -> None:
        """Remove the socket of a killed server. Raises PointsmanError if a server listens there, or if it is not a
        socket."""
        if not Path(self.path).is_socket():
            if os.path.lexists(self.path):
                raise PointsmanError(f"{self}: exists and is not a socket; remove it or choose another path")
            return
        if answers(self.path):
            raise self._in_use(option)
        # Renamed first: another server may have put its own socket there in the meantime.
        aside = os.path.join(os.path.dirname(self.path), f".{secrets.token_hex(4)}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, aside)
            try:
                if answers(aside):
                    os.link(aside, self.path)
                    raise self._in_use(option)
            finally:
                os.unlink(aside)

    def _in_use(self, option: str) -> PointsmanError:
        return PointsmanError(f"{self}: another process listens there; {_ANOTHER} {option}")

    def _cannot(self, error: OSError, option: str) -> PointsmanError:
        if error.errno == errno.EADDRINUSE:
            return PointsmanError(f"{self}: the port is in use; {_ANOTHER} {option}")
        return PointsmanError(f"{self}: {error.strerror or error}")


def answers(path: str) -> bool:
    """Whether a server listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) in (0, errno.EAGAIN)


def _read_mode(text: str, option: str) -> int:
    if not re.fullmatch("0?[0-7]{3}", text):
        raise InvalidInput.single(option, "", f'"{text}" is no mode of a socket, such as 0660')
    return int(text, 8)
