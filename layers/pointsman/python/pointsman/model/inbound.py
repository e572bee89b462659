"""Settings of a service's incoming connections: in `service-defaults`, `proxy-defaults` and registrations."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from pointsman.model.complaints import shown
from pointsman.model.duration import LONGEST_MS
from pointsman.model.inbound_bounds import LARGEST_COUNT, MOST_EXPOSED
from pointsman.model.names import is_plain_text
from pointsman.model.shape import Shape, Whole

Port = Annotated[Whole, Field(ge=1, le=65535)]
Connections = Annotated[Whole, Field(ge=0, le=LARGEST_COUNT)]
Milliseconds = Annotated[Whole, Field(ge=0, le=LONGEST_MS)]

CONNECT_TIMEOUT: Final = "local_connect_timeout_ms"
REQUEST_TIMEOUT: Final = "local_request_timeout_ms"
CONNECTIONS: Final = "max_inbound_connections"

CONFIG_NUMBERS: Final = {CONNECT_TIMEOUT: LONGEST_MS, REQUEST_TIMEOUT: LONGEST_MS, CONNECTIONS: LARGEST_COUNT}
"""The numbers that a `Config` may have, each with its greatest value."""


class ExposePath(Shape):
    """A path of the application, at `local_path_port`, that is reached without TLS at the sidecar's
    `listener_port`."""

    path: str
    listener_port: Port
    local_path_port: Port
    protocol: Annotated[
        Literal["", "http", "http2"], BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
    ] = ""


class Expose(Shape):
    """The paths of an application that are reached without TLS."""

    paths: list[ExposePath] = []

    def check(self, taken: Mapping[int, str]) -> Iterator[tuple[str, str]]:
        """What is wrong with it. `taken` are ports of the sidecar, each with what has it."""
        if len(self.paths) > MOST_EXPOSED:
            yield "Expose.Paths", f"has {len(self.paths)} paths, {MOST_EXPOSED} are the most"
        ports = dict(taken)
        for i, each in enumerate(self.paths[:MOST_EXPOSED]):
            at = f"Expose.Paths[{i}]"
            if not each.path.startswith("/") or not is_plain_text(each.path):
                yield f"{at}.Path", f"{shown(each.path)} is not a path: it begins with / and has no control characters"
            if each.listener_port in ports:
                yield f"{at}.ListenerPort", f"{each.listener_port} is that of {ports[each.listener_port]} already"
            ports.setdefault(each.listener_port, at)


def whole(config: Mapping[str, Any], name: str) -> int | None:
    """The number `name` in a `Config`; None if it is not there, or is not one that may be."""
    value = config.get(name)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len(str(LARGEST_COUNT)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= CONFIG_NUMBERS[name]:
        return None
    return value


def config_problems(config: Mapping[str, Any], at: str) -> Iterable[tuple[str, str]]:
    """What is wrong with the numbers in the `Config` at this place.

    What is written is refused for it; what an older Pointsman wrote is read without.
    """
    return [
        (f"{at}.{name}", f"{shown(config[name])} is not a whole number from 0 to {most}")
        for name, most in CONFIG_NUMBERS.items()
        if name in config and whole(config, name) is None
    ]
