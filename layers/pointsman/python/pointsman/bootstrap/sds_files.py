"""SDS files made of certificates in PEM, for Envoys to take up while they run.

A file holds what it is about, not the name of another file: certificate and key then change in one step. Where an
SDS file names two files that are replaced one after the other, an Envoy that looks in between may keep a certificate
with another one's key for good (seen with 1.40: "KEY_VALUES_MISMATCH", and no further try).
"""

import contextlib
import os
import re
import ssl
import stat
from pathlib import Path
from typing import Any

import orjson

from pointsman.bootstrap.parts import TYPE, SecretFiles
from pointsman.delivery.secret_source import SdsFiles
from pointsman.disk.access import Access, NotOurs
from pointsman.disk.operations import FileOperations
from pointsman.model.errors import InvalidInput
from pointsman.xds.cluster import IDENTITY_SECRET, TRUST_SECRET

LARGEST_PEM_BYTES = 1024 * 1024
"""Bytes of one file of certificates: the whole set of a public root program has a quarter of it."""

_PEM_BLOCK = re.compile(rb"-----BEGIN [^\n]*+\n(?:(?!-----)[^\n]*+\n)*+-----END [^\r\n]*+")
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
    operations = FileOperations(_as_readable_as(key))
    documents = {sds.path(name): {"resources": [{"@type": _SECRET, "name": name, **of}]} for name, of in secrets}
    return [path for path, document in documents.items() if _replace(operations, Path(path), orjson.dumps(document))]


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
    """The PEM blocks of a file, without what tools write between them, which is in any encoding."""
    with Path(path).open("rb") as file:
        content = file.read(LARGEST_PEM_BYTES + 1)
    if len(content) > LARGEST_PEM_BYTES:
        raise InvalidInput.single(path, "", f"is longer than {LARGEST_PEM_BYTES} bytes; leave out what no proxy needs")
    try:
        return {"inline_string": "".join(f"{block.decode('ascii')}\n" for block in _PEM_BLOCK.findall(content))}
    except UnicodeDecodeError:
        raise InvalidInput.single(path, "", "is not PEM: what is between BEGIN and END is not ASCII") from None


def _as_readable_as(key: os.stat_result) -> Access:
    """For whoever may read the key, and nobody else: only root gives files away, and others give them to their groups
    alone. A group that cannot be given the file must not make another one of it."""
    root = os.geteuid() == 0
    group = key.st_gid if root or key.st_gid in (os.getegid(), *os.getgroups()) else None
    mode = key.st_mode & (0o660 if group is not None else 0o600)
    return Access(mode, 0o750 if mode & stat.S_IRGRP else 0o700, group, key.st_uid if root else None)


def _replace(operations: FileOperations, path: Path, data: bytes) -> bool:
    with contextlib.suppress(FileNotFoundError, NotOurs):
        if operations.read(path) == data:
            return False
    operations.make_directory(path.parent)
    operations.replace(path, data)
    return True
