"""Queries an Envoy's admin (https://www.envoyproxy.io/docs/envoy/latest/operations/admin)."""

from typing import Any, Self

from pointsman.model.errors import InvalidInput
from pointsman.serve.ask import NoAnswer, ask, get_json
from pointsman.serve.listen import Listen


class Admin:
    """One Envoy's admin, on this machine. Safe for several threads."""

    def __init__(self, place: Listen) -> None:
        self._place = place

    @classmethod
    def read(cls, text: str, option: str = "--envoy-admin") -> Self:
        """Parse IP:PORT or unix:PATH, given as `option`. Raises InvalidInput, also for another machine's address:
        anyone who reaches an Envoy's admin can stop it, so it should not be reachable from here at all."""
        place = Listen.read(text, option)
        if not place.local:
            raise InvalidInput.single(option, "", f'"{text}" is not on this machine; name a loopback address')
        if not place.path and not place.port:
            raise InvalidInput.single(option, "", f'"{text}" has no port')
        return cls(place)

    def __str__(self) -> str:
        return str(self._place)

    def get(self, path: str) -> Any:
        """The JSON under `path`; None if the Envoy does not have it. Raises NoAnswer."""
        return get_json(self._place, path)

    def body(self, path: str, *, timeout: float) -> bytes:
        """What is under `path`, as it is. `timeout` is in seconds, for the whole exchange. Raises NoAnswer."""
        host = "localhost" if self._place.path else str(self._place)
        status, body = ask(self._place, "GET", path, timeout=timeout, headers={"host": host})
        if status != 200:
            raise NoAnswer(f"{self}: {path} was answered {status}")
        return body
