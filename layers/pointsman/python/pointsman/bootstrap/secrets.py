"""The source of an Envoy's certificates in its bootstrap: files that it reads once, at its start, or SDS.

Certificates that rotate have to come over SDS: from files, which Envoy reloads when others are renamed to their paths,
or from a server on the same machine, such as a SPIRE agent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, assert_never

from google.protobuf.json_format import MessageToDict

from pointsman.bootstrap.parts import (
    TYPE,
    SecretFiles,
    UnixSocket,
    path_problems,
    secret_problems,
)
from pointsman.delivery.secret_source import SDS_CLUSTER, SdsFiles, SdsServer
from pointsman.xds.cluster import IDENTITY_SECRET, TRUST_SECRET

SPIRE_SOCKET = "/tmp/spire-agent/public/api.sock"
"""Where a SPIRE agent listens by default (https://spiffe.io/docs/latest/deploying/spire_agent/, `socket_path`)."""


@dataclass(frozen=True, slots=True)
class SdsSocket:
    """The SDS server on the unix socket `at`. A SPIRE agent serves every workload its own certificate under the same
    name.

    Delivered clusters have to use the same `names`.
    """

    at: UnixSocket
    names: SdsServer = field(default_factory=SdsServer)


# The sources of certificates.
Secrets: TypeAlias = SecretFiles | SdsFiles | SdsSocket


def secrets_json(secrets: Secrets) -> list[dict[str, Any]]:
    """The secrets that the bootstrap itself defines for delivered clusters; none if they come over SDS."""
    return _of_files(secrets) if isinstance(secrets, SecretFiles) else []


def identity_json(secrets: Secrets) -> dict[str, Any]:
    """The proxy's certificate and key, as an `SdsSecretConfig`."""
    return _reference(secrets, 0, IDENTITY_SECRET)


def trust_json(secrets: Secrets) -> dict[str, Any]:
    """The CAs that the proxy trusts, as an `SdsSecretConfig`."""
    return _reference(secrets, 1, TRUST_SECRET)


def sds_clusters(secrets: Secrets | None) -> list[dict[str, Any]]:
    """The clusters needed for fetching secrets."""
    if not isinstance(secrets, SdsSocket):
        return []
    # The silent loss of an agent is noticed in half a minute; certificates last longer.
    http2 = {"http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}}
    options = {"@type": f"{TYPE}.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": http2}
    return [
        {
            "name": SDS_CLUSTER,
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
            "load_assignment": {
                "cluster_name": SDS_CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": secrets.at.path}}}}]}],
            },
        }
    ]


def secrets_problems(secrets: Secrets) -> Iterator[tuple[str, str]]:
    """The problems of `secrets`: a field and a reason each."""
    match secrets:
        case SecretFiles():
            yield from secret_problems(secrets)
        case SdsFiles(directory):
            yield from path_problems("SDS files", directory)
        case SdsSocket(at, names):
            yield from path_problems("SDS socket", at.path)
            if not names.identity or not names.trust:
                yield "SDS socket", "the names of the certificate and of the CAs must not be empty"
        case _:
            assert_never(secrets)


def _of_files(files: SecretFiles) -> list[dict[str, Any]]:
    pair = {"certificate_chain": {"filename": files.certificate}, "private_key": {"filename": files.private_key}}
    return [
        {"name": IDENTITY_SECRET, "tls_certificate": pair},
        {"name": TRUST_SECRET, "validation_context": {"trusted_ca": {"filename": files.ca}}},
    ]


def _reference(secrets: Secrets, which: int, name: str) -> dict[str, Any]:
    match secrets:
        case SecretFiles():
            return {"name": name}
        case SdsFiles():
            config = secrets.configs()[which]
        case SdsSocket(_, names):
            config = names.configs()[which]
        case _:
            assert_never(secrets)
    found: dict[str, Any] = MessageToDict(config, preserving_proto_field_name=True)
    return found
