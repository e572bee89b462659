"""Asking an Envoy's admin (https://www.envoyproxy.io/docs/envoy/latest/operations/admin)."""

import http.client
import socket
from typing import Any, Self

import orjson

from pointsman.adapter.serve.listen import Listen
from pointsman.model.errors import InvalidInput, PointsmanError

_LARGEST = 64 * 1024 * 1024
"""Bytes of an answer. A thousand clusters have three thousand counters of ours, in half a megabyte."""


class AdminError(PointsmanError):
    """The admin did not answer, or not as an Envoy's does."""


class Admin:
    """One Envoy's admin, on this machine. Safe for several threads."""

    def __init__(self, place: Listen, timeout: float = 2.0) -> None:
        """`timeout` is in seconds, for every step of a request."""
        self._place, self._timeout = place, timeout

    @classmethod
    def read(cls, text: str, option: str = "--envoy-admin") -> Self:
        """From IP:PORT or unix:PATH, as `option` has it. Raises InvalidInput, also for an address elsewhere: who
        reaches an Envoy's admin can end it, so it should not be reachable from here at all."""
        place = Listen.read(text, option)
        if not place.local:
            raise InvalidInput.single(option, "", f'"{text}" is not on this machine; name a loopback address')
        if not place.path and not place.port:
            raise InvalidInput.single(option, "", f'"{text}" has no port')
        return cls(place)

    def __str__(self) -> str:
        return f"unix:{self._place.path}" if self._place.path else f"{self._place.host}:{self._place.port}"

    def get(self, path: str) -> Any:
        """The JSON that stands under `path`; None if the Envoy has no such thing. Raises AdminError."""
        connection = _Connection(self._place, self._timeout)
        try:
            connection.request("GET", path, headers={"host": "pointsman"})
            answer = connection.getresponse()
            body = answer.read(_LARGEST)
            if 400 <= answer.status < 500:
                return None
            if answer.status != 200:
                raise AdminError(f"{self}: {path} was answered {answer.status}")
            return orjson.loads(body)
        except (OSError, http.client.HTTPException) as error:
            raise AdminError(f"{self}: {getattr(error, 'strerror', None) or error or type(error).__name__}") from None
        except orjson.JSONDecodeError as error:
            raise AdminError(f"{self}: {path} was not answered with JSON: {error}") from None
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, place: Listen, timeout: float) -> None:
        super().__init__(place.host or "localhost", place.port or None, timeout=timeout)
        self._path = place.path

    def connect(self) -> None:
        if not self._path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
