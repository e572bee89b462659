"""Asking an Envoy's admin (https://www.envoyproxy.io/docs/envoy/latest/operations/admin)."""

from typing import Any, Self

from pointsman.model.errors import InvalidInput
from pointsman.serve.ask import get_json
from pointsman.serve.listen import Listen


class Admin:
    """One Envoy's admin, on this machine. Safe for several threads."""

    def __init__(self, place: Listen) -> None:
        self._place = place

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
        return str(self._place)

    def get(self, path: str) -> Any:
        """The JSON that stands under `path`; None if the Envoy has no such thing. Raises NoAnswer."""
        return get_json(self._place, path)
