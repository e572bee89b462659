"""Incoming connections as values: what all sidecars of a service have in common, and what each Envoy has for itself."""

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from pointsman.model.names import is_ip, is_plain_text
from pointsman.model.stored import Body, Damaged, mapping, number, shown, text, texts, truth

LONGEST_PATH: Final = 1024
"""Characters of the path of an access log."""

CONNECT_TIMEOUT_MS: Final = 5000
"""Milliseconds that a sidecar waits for its application to take a connection, if nothing else is set."""

PUBLIC: Final = "public_listener"
"""What the name of the listener for the mesh begins with, and its statistics, as in Consul."""

LAST_PORT: Final = 65535
"""The greatest port."""

_DIGITS = 5


class IpPort(NamedTuple):
    """An IP address and a port."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def read_place(text: str) -> IpPort | None:
    """The place that `str` wrote: `10.0.0.5:21000`, `[::1]:21000`. None if it is none."""
    ip, _, port = text.rpartition(":")
    ip = ip[1:-1] if ip.startswith("[") and ip.endswith("]") else "" if ":" in ip else ip
    if not is_ip(ip) or not (port.isascii() and port.isdecimal() and len(port) <= _DIGITS):
        return None
    return IpPort(ip, int(port)) if 0 < int(port) <= LAST_PORT else None


def is_log_path(path: str) -> bool:
    """Whether an Envoy may log to the file `path`: an absolute path without `..`, of LONGEST_PATH characters at
    most."""
    pure = PurePosixPath(path)
    return pure.is_absolute() and ".." not in pure.parts and is_plain_text(path) and len(path) <= LONGEST_PATH


@dataclass(frozen=True, slots=True)
class Host:
    """Where one sidecar listens for the mesh (`public`), where its application is (`app`), and the file that it logs
    incoming connections to ("" for none)."""

    public: IpPort
    app: IpPort
    access_log: str = ""


@dataclass(frozen=True, slots=True)
class ExposedPath:
    """A path that is reached without TLS, on `port` of the sidecar, at `app_port` of the application."""

    path: str
    port: int
    app_port: int
    http2: bool = False


@dataclass(frozen=True, slots=True)
class Inbound:
    """What the sidecars of a service have in common for incoming connections.

    `filters` decide who may enter: serialized filters, of the HTTP connection manager if `protocol` has one, else of
    the listener; none lets in every certificate of the `trust_domain`. `max_connections` are those to the application
    (0: no limit). Timeouts are in milliseconds; `request_timeout_ms` None leaves it to Envoy, 0 is none. `registered`
    is the host in the registration, as far as it names one.
    """

    trust_domain: str
    protocol: str = "tcp"
    filters: tuple[bytes, ...] = ()
    max_connections: int = 0
    connect_timeout_ms: int = CONNECT_TIMEOUT_MS
    request_timeout_ms: int | None = None
    exposed: tuple[ExposedPath, ...] = ()
    registered: Host | None = None


def inbound_json(inbound: Inbound) -> dict[str, Any]:
    """`inbound` as plain JSON values; `read_inbound` is its inverse."""
    body: dict[str, Any] = {
        "trust_domain": inbound.trust_domain,
        "protocol": inbound.protocol,
        "filters": [b64encode(each).decode() for each in inbound.filters],
        "max_connections": inbound.max_connections,
        "connect_timeout_ms": inbound.connect_timeout_ms,
        "exposed": [[each.path, each.port, each.app_port, each.http2] for each in inbound.exposed],
    }
    if inbound.request_timeout_ms is not None:
        body["request_timeout_ms"] = inbound.request_timeout_ms
    if (host := inbound.registered) is not None:
        body["registered"] = {"public": list(host.public), "app": list(host.app), "access_log": host.access_log}
    return body


def read_inbound(body: Body) -> Inbound:
    """What `inbound_json` wrote. Raises Damaged for anything else."""
    try:
        filters = tuple(b64decode(each, validate=True) for each in texts(body, "filters"))
    except (Error, ValueError):
        raise Damaged("its filters are not base64") from None
    return Inbound(
        text(body, "trust_domain"),
        text(body, "protocol"),
        filters,
        number(body, "max_connections"),
        number(body, "connect_timeout_ms"),
        number(body, "request_timeout_ms") if "request_timeout_ms" in body else None,
        tuple(map(_read_exposed, _list(body, "exposed"))),
        _read_host(mapping(body, "registered")) if "registered" in body else None,
    )


def _read_host(body: Body) -> Host:
    return Host(_read_place(body, "public"), _read_place(body, "app"), text(body, "access_log"))


def _read_place(body: Body, field: str) -> IpPort:
    match _list(body, field):
        case [ip, port]:
            found = {"ip": ip, "port": port}
            return IpPort(text(found, "ip"), number(found, "port"))
    raise Damaged(f"its {field} is {shown(body[field])}, which is not an address and a port")


def _read_exposed(found: object) -> ExposedPath:
    match found:
        case [path, port, app_port, http2]:
            each = {"path": path, "port": port, "app_port": app_port, "http2": http2}
            return ExposedPath(text(each, "path"), number(each, "port"), number(each, "app_port"), truth(each, "http2"))
    raise Damaged(f"it exposes {shown(found)}")


def _list(body: Body, field: str) -> Sequence[object]:
    found = body.get(field)
    if type(found) is list:
        return found
    raise Damaged(f"its {field} is {shown(found)}, which is not a list")
