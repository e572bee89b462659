"""Asking a server of this machine for JSON, over TCP or a unix socket."""

import http.client
import socket
from typing import Any

import orjson

from pointsman.adapter.serve.listen import Listen
from pointsman.model.errors import PointsmanError

_LARGEST = 64 * 1024 * 1024
"""Bytes of an answer. A thousand clusters have three thousand counters of ours, in half a megabyte."""


class NoAnswer(PointsmanError):
    """Nobody answered, or not what was asked for."""


def get_json(place: Listen, path: str, timeout: float = 2.0) -> Any:
    """The JSON that stands under `path`; None if there is no such thing there (4xx).

    `timeout` is in seconds, for every step. Raises NoAnswer.
    """
    connection = _Connection(place, timeout)
    try:
        connection.request("GET", path, headers={"host": "pointsman"})
        answer = connection.getresponse()
        body = answer.read(_LARGEST)
        if 400 <= answer.status < 500:
            return None
        if answer.status != 200:
            raise NoAnswer(f"{place}: {path} was answered {answer.status}")
        return orjson.loads(body)
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"{place}: {getattr(error, 'strerror', None) or error or type(error).__name__}") from None
    except orjson.JSONDecodeError as error:
        raise NoAnswer(f"{place}: {path} was not answered with JSON: {error}") from None
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
