"""Writes certificates in PEM as SDS files, which Envoys reload while they run.

An SDS file contains the certificate and the key themselves, so that both change in one step. If it named two files that
are replaced one after the other, an Envoy that reads in between might keep a certificate with the wrong key for good
(seen with 1.40: "KEY_VALUES_MISMATCH", without another attempt).
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
"""Bytes of one file of certificates: all CAs of a public root program take a quarter of it."""

_PEM_BLOCK = re.compile(rb"-----BEGIN [^\n]*+\n(?:(?!-----)[^\n]*+\n)*+-----END [^\r\n]*+")
_SECRET = f"{TYPE}.transport_sockets.tls.v3.Secret"


def write_sds_files(files: SecretFiles, sds: SdsFiles) -> list[str]:
    """Write `files` to the paths of `sds`, the CAs first. Returns the paths that changed.

    The new files are readable by those who may read the key. Raises InvalidInput if certificate and key do not match or
    a file is not PEM, and OSError; then nothing or only the CAs were changed.
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
    """Raise InvalidInput if certificate and key do not match or a file is not PEM; OSError if one is missing."""
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
    """The PEM blocks of a file, without the text that tools write between them, which may be in any encoding."""
    with Path(path).open("rb") as file:
        content = file.read(LARGEST_PEM_BYTES + 1)
    if len(content) > LARGEST_PEM_BYTES:
        raise InvalidInput.single(path, "", f"is longer than {LARGEST_PEM_BYTES} bytes; leave out what no proxy needs")
    try:
        return {"inline_string": "".join(f"{block.decode('ascii')}\n" for block in _PEM_BLOCK.findall(content))}
    except UnicodeDecodeError:
        raise InvalidInput.single(path, "", "is not PEM: what is between BEGIN and END is not ASCII") from None


def _as_readable_as(key: os.stat_result) -> Access:
    """Access for those who may read the key: only root can change a file's owner, and others only to their own groups.
    If the file cannot be given to the key's group, no other group may read it."""
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
