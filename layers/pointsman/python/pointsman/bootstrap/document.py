"""Builds an Envoy's bootstrap: its identity, how it fetches, whom it trusts, and for a sidecar its public listener.

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
    NO_LIMIT,
    TYPE,
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
    identity_json,
    sds_clusters,
    secrets_json,
    secrets_problems,
    trust_json,
)
from pointsman.bootstrap.server import AdapterTls
from pointsman.delivery.secret_source import SdsFiles
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.names import DEFAULT_NAMESPACE, is_identifier, is_label, is_trust_domain

__all__ = [
    "AdapterTls",
    "Address",
    "Fetch",
    "FetchFiles",
    "FetchFunction",
    "FetchGrpc",
    "FetchHttp",
    "HostName",
    "Keepalive",
    "Node",
    "PublicListener",
    "SdsFiles",
    "SdsSocket",
    "SecretFiles",
    "Secrets",
    "UnixSocket",
    "gateway_bootstrap",
    "sidecar_bootstrap",
]

LOCAL_APP_CLUSTER = "local_app"

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


@dataclass(frozen=True, slots=True)
class Keepalive:
    """TCP keepalive: first probe after `idle` seconds of silence, then every `interval` seconds, `probes` times.

    Open TCP connections stay open whatever CDS and EDS say: only keepalives and idle timeouts end those with a dead
    peer. The defaults find it within a minute and a half.
    """

    idle: int = 60
    interval: int = 10
    probes: int = 3


@dataclass(frozen=True, slots=True)
class PublicListener:
    """A sidecar's listener for the mesh: mutual TLS on `address`, forwarded as plain TCP to the service at `local_app`.

    It accepts only clients with a certificate of a CA in `trust`; with `trust_domain`, only those with a SPIFFE id of
    that trust domain. `access_log` (an absolute path) gets one line of JSON per connection.
    """

    address: Address
    local_app: Address
    trust_domain: str | None = None
    access_log: str | None = None
    keepalive: Keepalive | None = Keepalive()


def sidecar_bootstrap(
    node: Node, admin: Address, fetch: Fetch, *, secrets: Secrets, public: PublicListener
) -> dict[str, Any]:
    """The bootstrap of the sidecar of `node.service`.

    The public listener and its cluster are static, so incoming traffic depends on nothing that has to be fetched: a
    sidecar serves from its start, even without an adapter. Upstream listeners, clusters and endpoints come by `fetch`.

    Raises InvalidInput, with every problem.
    """
    thing = f"bootstrap of the sidecar {node.id!r}"
    _refuse(thing, [*_node_problems(node), *_common_problems(admin, fetch), *_sidecar_problems(secrets, public)])
    bootstrap = _common(node, admin, fetch)
    bootstrap["static_resources"] = {
        "secrets": secrets_json(secrets),
        "listeners": [_public_listener(public, secrets)],
        "clusters": [_local_app(public.local_app), *_fetching(fetch, secrets)],
    }
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


def _public_listener(public: PublicListener, secrets: Secrets) -> dict[str, Any]:
    proxy: dict[str, Any] = {
        "@type": f"{TYPE}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "public",
        "cluster": LOCAL_APP_CLUSTER,
    }
    if public.access_log is not None:
        proxy["access_log"] = [_access_log(public.access_log)]
    listener: dict[str, Any] = {
        "name": "public",
        "address": address_json(public.address),
        "traffic_direction": "INBOUND",
        # By default Envoy lets a second process listen on the same port, and the kernel divides the connections between
        # them, which would mix up two services. Without it the second process fails to start.
        "enable_reuse_port": False,
        # TLS works without this inspector, but it puts the requested server name into access logs even if the handshake
        # fails, which is when it is needed.
        "listener_filters": [
            {
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": {"@type": f"{TYPE}.filters.listener.tls_inspector.v3.TlsInspector"},
            }
        ],
        "filter_chains": [
            {
                "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}],
                "transport_socket": {
                    "name": "envoy.transport_sockets.tls",
                    "typed_config": _mutual_tls(public.trust_domain, secrets),
                },
            }
        ],
    }
    if public.keepalive is not None:
        listener["socket_options"] = _keepalive(public.keepalive)
    return listener


def _mutual_tls(trust_domain: str | None, secrets: Secrets) -> dict[str, Any]:
    """Envoy's DownstreamTlsContext with the two secrets; see PublicListener for which clients it accepts."""
    context: dict[str, Any] = {"tls_certificate_sds_secret_configs": [identity_json(secrets)]}
    if trust_domain is None:
        context["validation_context_sds_secret_config"] = trust_json(secrets)
    else:
        # The slash ends the trust domain: without it `mesh` would also match `mesh.elsewhere`.
        spiffe = {"san_type": "URI", "matcher": {"prefix": f"spiffe://{trust_domain}/"}}
        context["combined_validation_context"] = {
            "default_validation_context": {"match_typed_subject_alt_names": [spiffe]},
            "validation_context_sds_secret_config": trust_json(secrets),
        }
    return {
        "@type": f"{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": context,
        "require_client_certificate": True,
    }


def _access_log(path: str) -> dict[str, Any]:
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{TYPE}.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {
                "json_format": {
                    "start_time": "%START_TIME%",
                    "sni": "%REQUESTED_SERVER_NAME%",
                    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
                    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
                    "upstream_host": "%UPSTREAM_HOST%",
                    "downstream": "%DOWNSTREAM_REMOTE_ADDRESS%",
                    "flags": "%RESPONSE_FLAGS%",
                }
            },
        },
    }


def _keepalive(keepalive: Keepalive) -> list[dict[str, Any]]:
    # Envoy has no listener field for keepalive. These are the numbers in Linux's <sys/socket.h> and <netinet/tcp.h>.
    # Accepted connections inherit them from the listening socket.
    sol_socket, so_keepalive = 1, 9
    ipproto_tcp, tcp_keepidle, tcp_keepintvl, tcp_keepcnt = 6, 4, 5, 6
    return [
        {"description": "SO_KEEPALIVE", "level": sol_socket, "name": so_keepalive, "int_value": 1},
        {"description": "TCP_KEEPIDLE", "level": ipproto_tcp, "name": tcp_keepidle, "int_value": keepalive.idle},
        {"description": "TCP_KEEPINTVL", "level": ipproto_tcp, "name": tcp_keepintvl, "int_value": keepalive.interval},
        {"description": "TCP_KEEPCNT", "level": ipproto_tcp, "name": tcp_keepcnt, "int_value": keepalive.probes},
    ]


def _local_app(address: Address) -> dict[str, Any]:
    return {
        "name": LOCAL_APP_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "5s",
        # A failover brings another datacenter's connections all at once: Envoy's default of 1,024 would reject what the
        # service itself may be able to take.
        "circuit_breakers": {"thresholds": [{"max_connections": NO_LIMIT, "max_pending_requests": NO_LIMIT}]},
        "load_assignment": {
            "cluster_name": LOCAL_APP_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address_json(address)}}]}],
        },
    }


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


def _sidecar_problems(secrets: Secrets, public: PublicListener) -> Iterator[tuple[str, str]]:
    yield from secrets_problems(secrets)
    yield from address_problems("public address", public.address)
    yield from address_problems("local service address", public.local_app)
    if public.trust_domain is not None and not is_trust_domain(public.trust_domain):
        yield "trust domain", f"{public.trust_domain!r} must be lower-case letters, digits and inner . _ -"
    if public.access_log is not None:
        yield from path_problems("access log", public.access_log)
    keepalive = public.keepalive
    if keepalive is not None and min(keepalive.idle, keepalive.interval, keepalive.probes) < 1:
        yield "keepalive", "idle, interval and probes must each be 1 or more; leave it out to have none"
