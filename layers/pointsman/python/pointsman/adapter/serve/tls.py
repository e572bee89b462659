"""TLS of a server that lets in only who shows a certificate, and takes up new files while it runs."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from pointsman.model.errors import PointsmanError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The server's certificate chain and key, and the CAs of its clients' certificates, as PEM files."""

    certificate: Path
    private_key: Path
    client_ca: Path


class ServerTls:
    """A context from files. Certificates of a mesh live for hours: `refresh` takes up those that are new."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises PointsmanError where a file cannot be read or used."""
        self._files = files
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.verify_mode = ssl.CERT_REQUIRED
        self._loaded: tuple[int, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Read the files again if they have changed; connections that stand keep what they have.

        Raises PointsmanError; then everything stays as it was, but a CA that was read stays trusted.
        """
        files = self._files
        try:
            now = tuple(each.stat().st_mtime_ns for each in (files.certificate, files.private_key, files.client_ca))
            if now == self._loaded:
                return
            self.context.load_verify_locations(files.client_ca)
            self.context.load_cert_chain(files.certificate, files.private_key)
        except (OSError, ssl.SSLError) as error:
            what = getattr(error, "filename", None) or f"{files.certificate}, {files.private_key}, {files.client_ca}"
            raise PointsmanError(f"TLS: {what}: {error.strerror or error}") from None
        self._loaded = now
