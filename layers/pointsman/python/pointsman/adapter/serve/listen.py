"""Where a server listens: an address or a unix socket, and whether it is one of this machine alone."""

import errno
import os
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from pointsman.model.errors import InvalidInput, PointsmanError

_SOCKET_MODE = 0o660
_LONGEST = 107
_BACKLOG = 4096
"""An Envoy with a thousand clusters opens a thousand connections at once."""


@dataclass(frozen=True, slots=True)
class Listen:
    """`path` of a unix socket, or `host` and `port` (0: a free one)."""

    host: str
    port: int
    path: str = ""

    @classmethod
    def read(cls, text: str, option: str) -> Self:
        """From IP:PORT or unix:PATH, as `option` has it. Raises InvalidInput."""
        if text.startswith("unix:"):
            path = os.path.abspath(text.removeprefix("unix:"))
            if text == "unix:" or len(path.encode()) > _LONGEST:
                reason = f'"{text}" is not the path of a socket, {_LONGEST} bytes at most; say unix:/run/pointsman.sock'
                raise InvalidInput.single(option, "", reason)
            return cls("", 0, path)
        host, _, port = text.rpartition(":")
        try:
            ip = ip_address(host.strip("[]"))
        except ValueError:
            raise InvalidInput.single(option, "", f'"{text}" is neither IP:PORT nor unix:PATH') from None
        if not port.isdecimal() or int(port) > 65535:
            raise InvalidInput.single(option, "", f'"{text}" has no port between 0 and 65535')
        return cls(str(ip), int(port))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether nobody outside this machine gets there."""
        return bool(self.path) or ip_address(self.host).is_loopback

    def bind(self) -> socket.socket:
        """A socket that listens there. Raises PointsmanError, with the way out."""
        if self.path:
            return self._bind_path()
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._listening(listener, (self.host, self.port))

    def _bind_path(self) -> socket.socket:
        # The socket of one that was killed stays behind; that of one that runs is not taken from it.
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(self.path) == 0:
                raise PointsmanError(f"unix:{self.path}: somebody listens there; is another adapter running?")
        if Path(self.path).is_socket():
            Path(self.path).unlink(missing_ok=True)
        listener = self._listening(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), self.path)
        os.chmod(self.path, _SOCKET_MODE)
        return listener

    def _listening(self, listener: socket.socket, place: str | tuple[str, int]) -> socket.socket:
        try:
            listener.bind(place)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            in_use = "it is in use; is another adapter running? Choose another with --listen"
            reason = in_use if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
            raise PointsmanError(f"{place if self.path else f'{self.host}:{self.port}'}: {reason}") from None
        return listener
