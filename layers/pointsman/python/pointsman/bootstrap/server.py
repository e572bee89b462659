"""The part of a bootstrap that leads to an adapter over a network or a unix socket."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pointsman.bootstrap.parts import (
    NO_LIMIT,
    TYPE,
    Address,
    SecretFiles,
    UnixSocket,
    address_json,
    address_problems,
    is_loopback,
    path_problems,
)
from pointsman.bootstrap.secrets import Secrets, identity_json, secrets_problems, trust_json
from pointsman.delivery.endpoint_source import XDS_CLUSTER


@dataclass(frozen=True, slots=True)
class AdapterTls:
    """Mutual TLS to an adapter: the Envoy's certificates and CAs, and the SAN (a URI or a DNS name) expected of the
    adapter."""

    secrets: Secrets
    expected: str


def adapter_cluster(
    at: Address | UnixSocket, tls: AdapterTls | None, http_options: Mapping[str, Any], alpn: str
) -> dict[str, Any]:
    """The cluster for the adapter itself, with `explicit_http_config` as its HTTP version."""
    options = {"@type": f"{TYPE}.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": http_options}
    cluster: dict[str, Any] = {
        "name": XDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "circuit_breakers": no_limits(),
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _place(at)}}]}],
        },
    }
    if tls is not None:
        context = _upstream_tls(tls.secrets, tls.expected, alpn)
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return cluster


def no_limits() -> dict[str, Any]:
    """Circuit breakers that never open: Envoy's defaults of 1,024 must not reject its own fetches."""
    return {"thresholds": [dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), NO_LIMIT)]}


def adapter_problems(field: str, at: Address | UnixSocket, tls: AdapterTls | None) -> Iterator[tuple[str, str]]:
    """The problems of fetching there: a field and a reason each."""
    if isinstance(at, UnixSocket):
        yield from path_problems(field, at.path)
    else:
        yield from address_problems(field, at)
    if tls is not None:
        yield from secrets_problems(tls.secrets)
        if not tls.expected:
            yield "TLS", "the adapter's name, a SAN of its certificate, must not be empty"
    elif isinstance(at, Address) and not is_loopback(at.ip):
        yield field, f"{at.ip!r} is not a loopback address: the adapter there wants TLS with a certificate"


def _upstream_tls(secrets: Secrets, expected: str, alpn: str) -> dict[str, Any]:
    kind = "URI" if "://" in expected else "DNS"
    names = {"match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": expected}}]}
    common: dict[str, Any] = {"alpn_protocols": [alpn]}
    if isinstance(secrets, SecretFiles):
        # As files, not by the secrets' names: a mesh gateway's bootstrap defines no secrets.
        chain, key = {"filename": secrets.certificate}, {"filename": secrets.private_key}
        common["tls_certificates"] = [{"certificate_chain": chain, "private_key": key}]
        common["validation_context"] = {"trusted_ca": {"filename": secrets.ca}, **names}
    else:
        common["tls_certificate_sds_secret_configs"] = [identity_json(secrets)]
        common["combined_validation_context"] = {
            "default_validation_context": names,
            "validation_context_sds_secret_config": trust_json(secrets),
        }
    context: dict[str, Any] = {
        "@type": f"{TYPE}.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": common,
    }
    if kind == "DNS":
        context["sni"] = expected
    return context


def _place(at: Address | UnixSocket) -> dict[str, Any]:
    return {"pipe": {"path": at.path}} if isinstance(at, UnixSocket) else address_json(at)
