"""Builds an Envoy's bootstrap: its identity, how it fetches, whom it trusts, and for a sidecar where it listens.

Pure: arguments in, a bootstrap as a dict in proto3 JSON out (`envoy.config.bootstrap.v3.Bootstrap`; print it with
`json.dumps` or orjson, Envoy reads it with `-c FILE.json`). Everything else an Envoy needs comes by xDS.

The bootstrap defines the secrets `identity` and `trust`, which fetched clusters refer to by name (docs/semantics.md,
section 5), unless they come over SDS.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeAlias, assert_never

from pointsman.bootstrap.function import (
    FetchFunction,
    function_cluster,
    function_dynamic_resources,
    function_problems,
)
from pointsman.bootstrap.grpc import FetchGrpc, grpc_cluster, grpc_dynamic_resources, grpc_problems
from pointsman.bootstrap.http import FetchHttp, http_cluster, http_dynamic_resources, http_problems
from pointsman.bootstrap.parts import (
    Address,
    HostName,
    SecretFiles,
    UnixSocket,
    address_json,
    address_problems,
    path_problems,
)
from pointsman.bootstrap.secrets import (
    SdsSocket,
    Secrets,
    sds_clusters,
    secrets_json,
    secrets_problems,
)
from pointsman.bootstrap.server import AdapterTls
from pointsman.delivery.secret_source import SdsFiles
from pointsman.discovery.node import host_metadata
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.names import DEFAULT_NAMESPACE, is_identifier, is_label
from pointsman.xds.inbound import LONGEST_PATH, Host, IpPort, is_log_path

__all__ = [
    "AdapterTls",
    "Address",
    "Fetch",
    "FetchFiles",
    "FetchFunction",
    "FetchGrpc",
    "FetchHttp",
    "Host",
    "HostName",
    "IpPort",
    "Node",
    "SdsFiles",
    "SdsSocket",
    "SecretFiles",
    "Secrets",
    "UnixSocket",
    "gateway_bootstrap",
    "sidecar_bootstrap",
]

_REGEX_INSTRUCTIONS = 2**20


@dataclass(frozen=True, slots=True)
class Node:
    """The Envoy's identity, by which Pointsman recognizes it however it fetches.

    `id` is unique among the Envoys of the mesh; a gateway's is its registration's ID. `service` becomes
    `node.cluster`; `datacenter` and `namespace` become node metadata.
    """

    id: str
    service: str
    datacenter: str
    namespace: str = DEFAULT_NAMESPACE


@dataclass(frozen=True, slots=True)
class FetchFiles:
    """Fetch from the files that the filesystem adapter keeps in `directory` (absolute): `cds.pb`, `lds.pb`.

    Both must exist before Envoy starts: it refuses a bootstrap whose files are missing.
    """

    directory: str


# The ways for an Envoy to fetch.
Fetch: TypeAlias = FetchFiles | FetchHttp | FetchGrpc | FetchFunction


def sidecar_bootstrap(node: Node, admin: Address, fetch: Fetch, *, secrets: Secrets, host: Host) -> dict[str, Any]:
    """The bootstrap of the sidecar of `node.service` on `host`.

    All its listeners, clusters and endpoints come by `fetch`; those for incoming connections are made for the host,
    which its node names. With files they are made for what is registered.

    Raises InvalidInput, with every problem.
    """
    thing = f"bootstrap of the sidecar {node.id!r}"
    _refuse(thing, [*_node_problems(node), *_common_problems(admin, fetch), *_sidecar_problems(secrets, host)])
    bootstrap = _common(node, admin, fetch)
    bootstrap["node"]["metadata"] |= host_metadata(host)
    found = {"secrets": secrets_json(secrets), "clusters": _fetching(fetch, secrets)}
    if any(found.values()):
        bootstrap["static_resources"] = {name: each for name, each in found.items() if each}
    return bootstrap


def gateway_bootstrap(node: Node, admin: Address, fetch: Fetch) -> dict[str, Any]:
    """The bootstrap of a mesh gateway.

    Its only secrets are those for reaching an adapter, if it needs any: a gateway forwards TLS by the SNI and does not
    end it.

    Raises InvalidInput, with every problem.
    """
    thing = f"bootstrap of the mesh gateway {node.id!r}"
    _refuse(thing, [*_node_problems(node), *_common_problems(admin, fetch)])
    bootstrap = _common(node, admin, fetch)
    clusters = _fetching(fetch, None)
    return {**bootstrap, "static_resources": {"clusters": clusters}} if clusters else bootstrap


def _common(node: Node, admin: Address, fetch: Fetch) -> dict[str, Any]:
    return {
        "node": {
            "id": node.id,
            "cluster": node.service,
            "metadata": {"datacenter": node.datacenter, "namespace": node.namespace},
        },
        "admin": {"address": address_json(admin)},
        "dynamic_resources": _dynamic_resources(fetch),
        # By default Envoy rejects a whole listener for one regular expression of over 100 RE2 instructions, which
        # ordinary routes of a service-router exceed.
        "layered_runtime": {
            "layers": [
                {"name": "base", "static_layer": {"re2.max_program_size.error_level": _REGEX_INSTRUCTIONS}},
                {"name": "admin", "admin_layer": {}},
            ]
        },
    }


def _dynamic_resources(fetch: Fetch) -> dict[str, Any]:
    match fetch:
        case FetchFiles(directory):
            return {
                f"{kind}_config": {
                    "path_config_source": {"path": str(PurePosixPath(directory, f"{kind}.pb"))},
                    "resource_api_version": "V3",
                }
                for kind in ("cds", "lds")
            }
        case FetchHttp():
            return http_dynamic_resources(fetch)
        case FetchGrpc():
            return grpc_dynamic_resources(fetch)
        case FetchFunction():
            return function_dynamic_resources(fetch)
        case _:
            assert_never(fetch)


def _fetching(fetch: Fetch, own: Secrets | None) -> list[dict[str, Any]]:
    """The clusters needed for fetching: for SDS, with the Envoy's `own` secrets and those for the adapter, and for xDS
    itself."""
    tls = fetch.tls if isinstance(fetch, FetchHttp | FetchGrpc) else None
    servers = {each["name"]: each for each in (*sds_clusters(own), *sds_clusters(tls.secrets if tls else None))}
    return [*servers.values(), *_xds_clusters(fetch)]


def _xds_clusters(fetch: Fetch) -> list[dict[str, Any]]:
    match fetch:
        case FetchFiles():
            return []
        case FetchHttp():
            return [http_cluster(fetch)]
        case FetchGrpc():
            return [grpc_cluster(fetch)]
        case FetchFunction():
            return [function_cluster(fetch)]
        case _:
            assert_never(fetch)


def _refuse(thing: str, problems: list[tuple[str, str]]) -> None:
    if problems:
        raise InvalidInput([Problem(thing, field, reason) for field, reason in problems])


def _node_problems(node: Node) -> Iterator[tuple[str, str]]:
    if not is_identifier(node.id):
        yield "id", f"{node.id!r} must be letters, digits and inner . _ : @ -, 128 characters at most"
    for field, name in (
        ("service", node.service),
        ("datacenter", node.datacenter),
        ("namespace", node.namespace),
    ):
        if not is_label(name):
            yield field, f"{name!r} must be a lower-case DNS label: letters, digits and inner hyphens"


def _common_problems(admin: Address, fetch: Fetch) -> Iterator[tuple[str, str]]:
    yield from address_problems("admin", admin)
    match fetch:
        case FetchFiles(directory):
            yield from path_problems("files", directory)
        case FetchHttp():
            yield from http_problems(fetch)
        case FetchGrpc():
            yield from grpc_problems(fetch)
        case FetchFunction():
            yield from function_problems(fetch)
        case _:
            assert_never(fetch)


def _sidecar_problems(secrets: Secrets, host: Host) -> Iterator[tuple[str, str]]:
    yield from secrets_problems(secrets)
    yield from address_problems("public address", Address(*host.public))
    yield from address_problems("local service address", Address(*host.app))
    if host.access_log and not is_log_path(host.access_log):
        yield (
            "access log",
            f"{host.access_log!r} must be an absolute path without `..`, of {LONGEST_PATH} characters at most",
        )
