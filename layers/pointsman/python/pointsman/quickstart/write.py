"""Writes the mesh into a directory: the files of `mesh/` with other ports, and new certificates."""

import errno
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.names import DEFAULT_NAMESPACE, Target

PORT_BASE = 24200
"""The first port in the files of `mesh/`. It is below Linux's ports for outgoing connections."""

PORTS = 11
"""How many consecutive ports the mesh uses."""

HIGHEST_BASE = 65535 - PORTS + 1

ADDRESSES = ("127.0.0.1", "127.0.0.2")
"""The addresses of dc1 and dc2."""

TRUST_DOMAIN = "mesh.example"
SIDECARS = (("s1", "dc1"), ("s2", "dc1"), ("s2", "dc2"))
"""The services and datacenters that get a certificate. A mesh gateway needs none."""

_TEMPLATES = Path(__file__).parent / "mesh"
_PORT = re.compile(rb"\b242(\d\d)\b")


def write_mesh(directory: Path, port_base: int = PORT_BASE) -> None:
    """Write the mesh into `directory`, which must be missing or empty.

    Raises InvalidInput if it is not empty or a port is in use, PointsmanError if the package `cryptography` is not
    installed, and OSError. In the first three cases nothing is written.
    """
    try:
        from pointsman.quickstart.authority import ThrowawayAuthority
    except ModuleNotFoundError as error:
        raise PointsmanError(
            f"quickstart makes certificates, and there is no package {error.name}: pip install cryptography"
        ) from None
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        reason = "is there and is not an empty directory; name a new one, or remove it"
        raise InvalidInput.single(f"quickstart {directory}", "", reason)
    if taken := next(_taken(port_base), None):
        reason = f"{taken}; give another N: N to N+{PORTS - 1} have to be free on {' and '.join(ADDRESSES)}"
        raise InvalidInput.single("quickstart", "--port-base", reason)

    for path, content in _files(port_base):
        # All scripts are executable except mesh.sh, which the others source.
        mode = 0o755 if path.suffix == ".sh" and path.name != "mesh.sh" else 0o644
        _write(directory / path, content, mode)
    authority = ThrowawayAuthority(TRUST_DOMAIN)
    certificates = directory / "certs"
    _write(certificates / "ca.pem", authority.certificate, 0o644)
    for service, datacenter in SIDECARS:
        name = f"{service}-{datacenter}"
        identity = authority.issue(name, Target(service, "", DEFAULT_NAMESPACE, datacenter).spiffe_id(TRUST_DOMAIN))
        _write(certificates / f"{name}.pem", identity.certificate, 0o644)
        _write(certificates / f"{name}.key", identity.private_key, 0o600)


def _files(port_base: int) -> Iterator[tuple[Path, bytes]]:
    """Every file of the mesh except the certificates: its path in the directory, and its content."""

    def moved(match: re.Match[bytes]) -> bytes:
        return str(port_base + int(match[1])).encode()

    for path in sorted(_TEMPLATES.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(_TEMPLATES), _PORT.sub(moved, path.read_bytes())


def _taken(port_base: int) -> Iterator[str]:
    """For each port that cannot be listened on, the reason."""
    for ip in ADDRESSES:
        for port in range(port_base, port_base + PORTS):
            with socket.socket() as tried:
                # Connections in TIME_WAIT do not count as using a port.
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    tried.bind((ip, port))
                except OSError as error:
                    taken = error.errno == errno.EADDRINUSE
                    yield f"{ip}:{port} {'is taken' if taken else f'cannot be used: {error.strerror}'}"


def _write(path: Path, content: bytes, mode: int) -> None:
    """Create a new file, with its mode from the start, so that a private key is never readable by others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
