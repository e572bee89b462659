"""The part of a bootstrap that leads to adapters over a network or unix sockets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pointsman.bootstrap.parts import (
    NO_LIMIT,
    TYPE,
    Address,
    HostName,
    SecretFiles,
    UnixSocket,
    address_json,
    address_problems,
    is_loopback,
    name_problems,
    path_problems,
)
from pointsman.bootstrap.secrets import Secrets, identity_json, secrets_problems, trust_json
from pointsman.delivery.endpoint_source import XDS_CLUSTER

Place: TypeAlias = Address | HostName | UnixSocket
"""Where an adapter listens."""

MOST_PLACES = 16
"""Addresses of adapters in one bootstrap."""

LEFT_S = 5
"""Seconds for which an Envoy leaves an adapter that failed it, where there is another one."""

LOOKED_UP_S = 5
"""Seconds after which an Envoy looks up the names of adapters again, if the DNS says no other time."""

_NAMES_ITSELF = "pointsman.place"


@dataclass(frozen=True, slots=True)
class AdapterTls:
    """Mutual TLS to adapters: the Envoy's certificates and CAs, and the SAN (a URI or a DNS name) expected of every
    adapter; with "" each one's certificate must have the name, or the IP address, by which it is reached."""

    secrets: Secrets
    expected: str = ""


def adapter_cluster(
    places: Sequence[Place], tls: AdapterTls | None, http_options: Mapping[str, Any], alpn: str
) -> dict[str, Any]:
    """The cluster for the adapters themselves, with `explicit_http_config` as their HTTP version.

    Each place is a priority of its own: an Envoy goes to the first one, and while that fails to the next one.
    """
    options = {"@type": f"{TYPE}.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": http_options}
    cluster: dict[str, Any] = {
        "name": XDS_CLUSTER,
        "type": "STRICT_DNS" if any(isinstance(each, HostName) for each in places) else "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "circuit_breakers": no_limits(),
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [_tier(rank, each) for rank, each in enumerate(places)],
        },
    }
    if cluster["type"] == "STRICT_DNS":
        # A second family is no second adapter: each of its addresses would be tried and left on its own.
        cluster |= {"dns_lookup_family": "V4_PREFERRED", "dns_refresh_rate": f"{LOOKED_UP_S}s", "respect_dns_ttl": True}
    if are_several(places):
        cluster |= _leaving()
    if tls is not None:
        contexts = {_expected(each, tls): _upstream_tls(tls.secrets, each, tls, alpn) for each in places}
        if len(contexts) == 1:
            cluster["transport_socket"] = _tls_socket(next(iter(contexts.values())))
        else:
            cluster["transport_socket_matches"] = [
                {"name": name, "match": {_NAMES_ITSELF: name}, "transport_socket": _tls_socket(context)}
                for name, context in contexts.items()
            ]
            for tier, each in zip(cluster["load_assignment"]["endpoints"], places, strict=True):
                match = {"envoy.transport_socket_match": {_NAMES_ITSELF: _expected(each, tls)}}
                tier["lb_endpoints"][0]["metadata"] = {"filter_metadata": match}
    return cluster


def are_several(places: Sequence[Place]) -> bool:
    """Whether there may be another adapter to go to: a name may have several addresses."""
    return len(places) > 1 or any(isinstance(each, HostName) for each in places)


def is_remote(places: Sequence[Place]) -> bool:
    """Whether any of them is reached over TCP."""
    return any(not isinstance(each, UnixSocket) for each in places)


def no_limits() -> dict[str, Any]:
    """Circuit breakers that never open: Envoy's defaults of 1,024 must not reject its own fetches."""
    return {"thresholds": [dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), NO_LIMIT)]}


def adapter_problems(field: str, places: Sequence[Place], tls: AdapterTls | None) -> Iterator[tuple[str, str]]:
    """The problems of fetching there: a field and a reason each."""
    if not places:
        yield field, "name the address of an adapter"
    if len(places) > MOST_PLACES:
        yield field, f"{len(places)} addresses; {MOST_PLACES} are the most: give a name that has several"
    for each in dict.fromkeys(each for each in places if places.count(each) > 1):
        yield field, f"{_text(each)} is there twice"
    if any(isinstance(each, HostName) for each in places) and any(isinstance(each, UnixSocket) for each in places):
        yield field, "a name and a unix socket cannot be in one cluster; give an IP address in place of the name"
    for each in places:
        yield from _place_problems(field, each)
        if tls is None and _needs_tls(each):
            yield field, f"{_host(each)!r} is not a loopback address: the adapter there wants TLS with a certificate"
    if tls is not None:
        yield from secrets_problems(tls.secrets)
        if not tls.expected and any(isinstance(each, UnixSocket) for each in places):
            yield "TLS", "the adapter's name, a SAN of its certificate, must not be empty for a unix socket"


def _place_problems(field: str, place: Place) -> Iterator[tuple[str, str]]:
    match place:
        case UnixSocket():
            yield from path_problems(field, place.path)
        case HostName():
            yield from name_problems(field, place)
        case Address():
            yield from address_problems(field, place)


def _needs_tls(place: Place) -> bool:
    match place:
        case UnixSocket():
            return False
        case HostName():
            return place.name != "localhost"
        case Address():
            return not is_loopback(place.ip)


def _leaving() -> dict[str, Any]:
    """How an Envoy leaves an adapter: at the first failure, which is a connection that does not come about or ends, or
    a refusal with 503 or UNAVAILABLE."""
    return {
        "outlier_detection": {
            "consecutive_5xx": 1,
            "interval": "1s",
            "base_ejection_time": f"{LEFT_S}s",
            "max_ejection_time": f"{LEFT_S}s",
            "max_ejection_percent": 100,
            "enforcing_success_rate": 0,
        },
        # Where all have failed, any may be asked again; with the default of 50 % also while a half has.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
    }


def _tier(rank: int, place: Place) -> dict[str, Any]:
    endpoint = {"address": {"pipe": {"path": place.path}} if isinstance(place, UnixSocket) else _address(place)}
    tier: dict[str, Any] = {"lb_endpoints": [{"endpoint": endpoint}]}
    return tier | ({"priority": rank} if rank else {})


def _address(place: Address | HostName) -> dict[str, Any]:
    return address_json(place if isinstance(place, Address) else Address(place.name, place.port))


def _host(place: Place) -> str:
    match place:
        case UnixSocket():
            return place.path
        case HostName():
            return place.name
        case Address():
            return place.ip


def _text(place: Place) -> str:
    return place.path if isinstance(place, UnixSocket) else f"{_host(place)}:{place.port}"


def _expected(place: Place, tls: AdapterTls) -> str:
    return tls.expected or _host(place)


def _tls_socket(context: dict[str, Any]) -> dict[str, Any]:
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _upstream_tls(secrets: Secrets, place: Place, tls: AdapterTls, alpn: str) -> dict[str, Any]:
    expected = _expected(place, tls)
    kind = "URI" if "://" in expected else "DNS"
    if not tls.expected and isinstance(place, Address):
        kind = "IP_ADDRESS"
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
