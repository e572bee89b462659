"""The parts of bootstraps, addresses and certificates, and the checks of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Any

TYPE = "type.googleapis.com/envoy.extensions"
NO_LIMIT = 2**32 - 1

LONGEST_NAME = 253
"""Characters of a DNS name, its own bound."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?")


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address (not a name) and a TCP port."""

    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class HostName:
    """A DNS name, which Envoy resolves again and again, and a TCP port."""

    name: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A unix socket by its absolute path."""

    path: str


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """Certificate chain, private key and trusted CAs as PEM files (absolute paths). Envoy reads them at its start."""

    certificate: str
    private_key: str
    ca: str


def address_json(address: Address) -> dict[str, Any]:
    """`address` as an `envoy.config.core.v3.Address`."""
    return {"socket_address": {"address": address.ip, "port_value": address.port}}


def is_loopback(ip: str) -> bool:
    """Whether only this machine can reach `ip`. False if it is not an IP address."""
    try:
        return ip_address(ip).is_loopback
    except ValueError:
        return False


def secret_problems(files: SecretFiles) -> Iterator[tuple[str, str]]:
    """The problems of `files`: a field and a reason each."""
    yield from path_problems("certificate", files.certificate)
    yield from path_problems("private key", files.private_key)
    yield from path_problems("CA", files.ca)


def address_problems(field: str, address: Address) -> Iterator[tuple[str, str]]:
    """The problems of `address`: `field` and a reason each."""
    try:
        ip_address(address.ip)
    except ValueError:
        yield field, f"{address.ip!r} must be an IP address: a listener and a static endpoint take no names"
    yield from _port_problems(field, address.port)


def name_problems(field: str, host: HostName) -> Iterator[tuple[str, str]]:
    """The problems of `host`: `field` and a reason each."""
    if len(host.name) > LONGEST_NAME or not _NAME.fullmatch(host.name):
        yield field, f"{host.name!r} must be a DNS name: letters, digits, hyphens and dots"
    yield from _port_problems(field, host.port)


def _port_problems(field: str, port: int) -> Iterator[tuple[str, str]]:
    if not 1 <= port <= 65535:
        yield field, f"port {port} must be between 1 and 65535"


def path_problems(field: str, path: str) -> Iterator[tuple[str, str]]:
    """The problems of `path`: `field` and a reason each."""
    # Envoy would resolve a relative path against its current directory.
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts or "\0" in path:
        yield field, f"{path!r} must be an absolute path without `..`"
