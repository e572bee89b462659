"""Checks that the files and ports in a bootstrap are usable on this machine: otherwise Envoy does not start."""

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from pointsman.bootstrap.document import Fetch, FetchFiles
from pointsman.bootstrap.parts import Address, SecretFiles
from pointsman.bootstrap.sds_files import check_pem
from pointsman.bootstrap.secrets import Secrets
from pointsman.delivery.secret_source import SdsFiles
from pointsman.model.errors import InvalidInput, Problem
from pointsman.xds.cluster import IDENTITY_SECRET, TRUST_SECRET


def check_here(thing: str, secrets: Secrets | None, ca_bundle: str = "", access_log: str = "") -> None:
    """Raise InvalidInput with `thing` and every missing or unusable file. It writes nothing.

    Certificates from a socket are not checked: an agent may start after Envoy.
    """
    problems = [Problem(thing, field, reason) for field, reason in _problems(secrets, ca_bundle, access_log)]
    if problems:
        raise InvalidInput(problems)
    if isinstance(secrets, SecretFiles):
        check_pem(secrets)


def remarks_here(fetch: Fetch, listens: Mapping[str, Address]) -> Iterator[str]:
    """A line for everything that would keep Envoy from starting now, but may be fixed when it starts.

    `listens` are its listening addresses, by the options that set them.
    """
    if isinstance(fetch, FetchFiles):
        for path in (Path(fetch.directory, name) for name in ("cds.pb", "lds.pb")):
            if not path.is_file():
                yield f"--files: {path} is not there yet; start `pointsman up --files` before this Envoy"
    for option, address in listens.items():
        reason = _unusable(address)
        if reason:
            yield f"{option}: {reason}"


def _unusable(address: Address) -> str:
    """Why Envoy could not listen on `address`; "" if it can."""
    at = f"{address.ip}:{address.port}"
    with socket.socket(socket.AF_INET6 if ":" in address.ip else socket.AF_INET) as tried:
        # As Envoy does: connections in TIME_WAIT do not block a port.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((address.ip, address.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"{at} is in use on this machine, maybe by another Envoy; give this one another port"
            if error.errno == errno.EADDRNOTAVAIL:
                return f"{at} is not an address of this machine; if Envoy runs on another one, give --elsewhere"
            return f"{at} cannot be used for listening here: {error.strerror}"
    return ""


def _problems(secrets: Secrets | None, ca_bundle: str, access_log: str) -> Iterator[tuple[str, str]]:
    files: dict[str, str] = {"--ca-bundle": ca_bundle} if ca_bundle else {}
    if isinstance(secrets, SecretFiles):
        files |= {"--certificate": secrets.certificate, "--private-key": secrets.private_key, "--ca": secrets.ca}
    for option, path in files.items():
        if not os.path.isfile(path):
            yield option, f"there is no file {path}"
        elif not os.access(path, os.R_OK):
            yield option, f"{path} cannot be read here"
    if isinstance(secrets, SdsFiles):
        for name in (IDENTITY_SECRET, TRUST_SECRET):
            if not os.path.isfile(secrets.path(name)):
                yield "--sds", f"there is no file {secrets.path(name)}; `pointsman secrets` writes it"
    if access_log and not Path(access_log).parent.is_dir():
        yield "--access-log", f"there is no directory {Path(access_log).parent}"
