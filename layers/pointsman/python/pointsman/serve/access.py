"""With what a client is let in by a server: a token, or a certificate of its own; and who vouches for the server."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from pointsman.model.errors import InvalidInput
from pointsman.serve.tls import stamps


@dataclass(frozen=True, slots=True)
class Access:
    """A `token`; a PEM file with the CAs that vouch for the server, `ca` (without it those of the system); the client's
    `certificate` chain and `private_key`, as PEM files. "" stands for none."""

    token: str = field(default="", repr=False)
    ca: str = ""
    certificate: str = ""
    private_key: str = ""

    def headers(self) -> dict[str, str]:
        """The headers that a request has for it."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def check(self, option: str, url: str, *, tls: bool) -> None:
        """Raise InvalidInput if something of it would be needed for `url`, given as `option`, and is not safe or not
        complete."""
        if bool(self.certificate) != bool(self.private_key):
            raise InvalidInput.single("--cert", "", "needs --key, and --key needs it: a certificate has a private key")
        if not tls and (self.token or self.certificate):
            what = "a token is" if self.token else "a certificate is"
            raise InvalidInput.single(option, "", f"{url}: {what} sent over https alone")


NO_ACCESS = Access()
"""Nothing: for a server on this machine."""


class ClientTls:
    """A client's TLS context, made from the files of an `Access`.

    Certificates of a mesh live for hours: `refresh` loads new ones."""

    def __init__(self, access: Access) -> None:
        """Raises InvalidInput if a file cannot be read or used."""
        self._access = access
        self._files = [Path(each) for each in (access.ca, access.certificate, access.private_key) if each]
        self._loaded: tuple[int, ...] | None = None
        self.context = ssl.create_default_context()
        """The context of the next connection. It is replaced when the files change."""
        self.refresh()

    def refresh(self) -> None:
        """Read the files again if they have changed. Raises InvalidInput; then the old context stays."""
        access, option, files = self._access, "--ca", self._access.ca
        try:
            now = stamps(self._files)
            if now == self._loaded:
                return
            context = ssl.create_default_context(cafile=access.ca or None)
            if access.certificate:
                option, files = "--cert", f"{access.certificate}, {access.private_key}"
                context.load_cert_chain(access.certificate, access.private_key, password=_no_password)
        except (OSError, ValueError) as error:
            where = str(getattr(error, "filename", None) or files)
            given = {access.ca: "--ca", access.certificate: "--cert", access.private_key: "--key"}
            raise InvalidInput.single(
                given.get(where, option), "", f"{where}: {getattr(error, 'strerror', None) or error}"
            ) from None
        self.context, self._loaded = context, now


def _no_password() -> bytes:
    """Called for a key that is encrypted: without it OpenSSL would ask on the terminal, or wait there for ever."""
    raise ValueError("the key is encrypted; give one without a passphrase")
