"""Whether the files that a bootstrap names are on this machine: an Envoy without them does not start."""

import os
from collections.abc import Iterator
from pathlib import Path

from pointsman.adapter.bootstrap.parts import SecretFiles
from pointsman.adapter.bootstrap.sds_files import check_pem
from pointsman.adapter.bootstrap.secrets import Secrets
from pointsman.model.errors import InvalidInput, Problem
from pointsman.xds.cluster import IDENTITY_SECRET, TRUST_SECRET
from pointsman.xds.secret_source import SdsFiles


def check_here(thing: str, secrets: Secrets | None, ca_bundle: str = "", access_log: str = "") -> None:
    """Raise InvalidInput, which names `thing` and every missing or unusable file; nothing is written.

    Certificates that come from a socket are not looked for: an agent may start after Envoy.
    """
    problems = [Problem(thing, field, reason) for field, reason in _problems(secrets, ca_bundle, access_log)]
    if problems:
        raise InvalidInput(problems)
    if isinstance(secrets, SecretFiles):
        check_pem(secrets)


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
