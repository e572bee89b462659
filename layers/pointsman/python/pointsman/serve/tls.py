"""TLS of a server, which may require client certificates, and reloads its files while it runs."""

import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointsman.model.errors import PointsmanError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The server's certificate chain and key, and the CAs of its clients' certificates, as PEM files. Without CAs
    clients need no certificate, with them all do, unless that is `optional`."""

    certificate: Path
    private_key: Path
    client_ca: Path | None = None
    optional: bool = False

    def __iter__(self) -> Iterator[Path]:
        """All of them."""
        return (each for each in (self.certificate, self.private_key, self.client_ca) if each is not None)


def stamps(files: Iterable[Path]) -> tuple[int, ...]:
    """What differs when one of the files has changed. Raises OSError."""
    found = [each.stat() for each in files]
    return tuple(number for each in found for number in (each.st_mtime_ns, each.st_ino, each.st_size))


class _Peer(ssl.SSLObject):
    """asyncio reads the names in every client's certificate, and fails if one of them is not UTF-8."""

    def getpeercert(self, binary_form: bool = False) -> Any:
        try:
            return super().getpeercert(binary_form)
        except UnicodeDecodeError:
            return {}


class ServerTls:
    """A server's TLS context, made from files. Certificates of a mesh live for hours: `refresh` loads new ones, and
    drops CAs that are gone."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises PointsmanError if a file cannot be read or used."""
        self._files = files
        self._loaded: tuple[int, ...] = ()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """The context of the next handshake. It is replaced when the files change: a context cannot drop a CA, and
        would go on resuming sessions of its clients."""
        self.refresh()

    def refresh(self) -> None:
        """Read the files again if they have changed; open connections are not affected.

        Raises PointsmanError; then the old context stays.
        """
        files = self._files
        try:
            now = stamps(files)
            if now == self._loaded:
                return
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if files.client_ca is not None:
                context.verify_mode = ssl.CERT_OPTIONAL if files.optional else ssl.CERT_REQUIRED
                context.sslobject_class = _Peer
                context.load_verify_locations(files.client_ca)
            context.load_cert_chain(files.certificate, files.private_key)
        except (OSError, ssl.SSLError) as error:
            what = getattr(error, "filename", None) or ", ".join(map(str, files))
            raise PointsmanError(f"TLS: {what}: {error.strerror or error}") from None
        self.context, self._loaded = context, now
