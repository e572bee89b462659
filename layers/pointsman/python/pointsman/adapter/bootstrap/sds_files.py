"""SDS files made of certificates in PEM, for Envoys to take up while they run.

A file holds what it is about, not the name of another file: certificate and key then change in one step. Where an
SDS file names two files that are replaced one after the other, an Envoy that looks in between may keep a certificate
with another one's key for good (seen with 1.40: "KEY_VALUES_MISMATCH", and no further try).
"""

import contextlib
import os
import ssl
from pathlib import Path
from typing import Any

import orjson

from pointsman.adapter.bootstrap.parts import TYPE, SecretFiles
from pointsman.model.errors import InvalidInput
from pointsman.xds.cluster import IDENTITY_SECRET, TRUST_SECRET
from pointsman.xds.secret_source import SdsFiles

_SECRET = f"{TYPE}.transport_sockets.tls.v3.Secret"


def write_sds_files(files: SecretFiles, sds: SdsFiles) -> list[str]:
    """Put what is in `files` where `sds` says, the CAs first: the paths of what changed.

    Who may read the key may read what is made of it. Raises InvalidInput where certificate and key do not belong
    together, or a file is not PEM, and OSError; then nothing was changed, or only the CAs were.
    """
    check_pem(files)
    key = os.stat(files.private_key)
    pair = {"certificate_chain": _text(files.certificate), "private_key": _text(files.private_key)}
    secrets = [
        (TRUST_SECRET, {"validation_context": {"trusted_ca": _text(files.ca)}}),
        (IDENTITY_SECRET, {"tls_certificate": pair}),
    ]
    documents = {sds.path(name): {"resources": [{"@type": _SECRET, "name": name, **of}]} for name, of in secrets}
    return [path for path, document in documents.items() if _replace(Path(path), orjson.dumps(document), key)]


def check_pem(files: SecretFiles) -> None:
    """Raise InvalidInput where certificate and key do not belong together, or a file is not PEM; OSError where it is
    not there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.private_key)
    except ssl.SSLError as error:
        reason = f"and {files.private_key} are not a certificate and its key in PEM: {error.reason or error}"
        raise InvalidInput.single(files.certificate, "", reason) from None
    try:
        context.load_verify_locations(files.ca)
    except ssl.SSLError as error:
        raise InvalidInput.single(files.ca, "", f"has no certificates in PEM: {error.reason or error}") from None


def _text(path: str) -> dict[str, Any]:
    return {"inline_string": Path(path).read_text(encoding="ascii")}


def _replace(path: Path, data: bytes, like: os.stat_result) -> bool:
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        with contextlib.suppress(PermissionError):  # only root gives files away
            os.fchown(fd, like.st_uid, like.st_gid)
        os.fchmod(fd, like.st_mode & 0o660)
        file.write(data)
        file.flush()
        os.fsync(fd)
    os.replace(beside, path)
    return True
