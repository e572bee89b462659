"""What traffic sees of a listener: where it listens, and what becomes of each kind of connection."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from envoy.config.core.v3.base_pb2 import TrafficDirection, TransportSocket
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.json_format import ParseDict

from pointsman.shadow.authorization import Rules, is_authorization, rules_of
from pointsman.shadow.backend import place_text
from pointsman.shadow.held import Held
from pointsman.shadow.plain import Plain, leaves, plain, settled, text_of, type_of
from pointsman.shadow.route import Routes, Way, read_routes, weighted
from pointsman.shadow.settings import listener_settings, manager_settings, tcp_settings
from pointsman.shadow.tls import read_tls

_MANAGER = HttpConnectionManager.DESCRIPTOR.full_name
_TCP = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_SNI = "envoy.extensions.filters.network.sni_cluster.v3.SniCluster"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_STATS = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"

HTTP, TCP, BY_NAME, OTHER = "HTTP", "TCP", "TCP by server name", "something else"


@dataclass(frozen=True, slots=True)
class Chain:
    """What becomes of the connections that `match` describes ("" for all).

    `kind` is HTTP, TCP, BY_NAME (to the cluster that has the connection's server name) or OTHER. TCP goes the `ways`,
    HTTP by the `routes` (None: not in the dump). `filters` are by what they are, with their settings as text; `rules`
    say who may call.
    """

    match: str
    kind: str
    ways: tuple[Way, ...]
    routes: Routes | None
    filters: Mapping[str, str]
    rules: Rules
    names: frozenset[str]
    settings: Mapping[str, Any]
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Front:
    """A listener by where it listens. `inbound` is whether it takes what others send to the service, `outbound` whether
    it says that it takes what the service sends to others."""

    name: str
    place: str
    inbound: bool
    outbound: bool
    chains: tuple[Chain, ...]
    settings: Mapping[str, Any]


def read_front(listener: Listener, held: Held) -> Front:
    """The meaning of a listener, with the routes that it asks for."""
    value = plain(listener)
    chains = [_chain(each, held) for each in value.get("filter_chains", [])]
    if "default_filter_chain" in value and all(each.match for each in chains):
        chains.append(_chain({**value["default_filter_chain"], "filter_chain_match": {}}, held))
    return Front(
        str(listener.name),
        place_text(listener.address),
        listener.traffic_direction == TrafficDirection.INBOUND
        or any(each.settings.get("tls.require_client_certificate") for each in chains),
        listener.traffic_direction == TrafficDirection.OUTBOUND,
        tuple(chains),
        dict(leaves(listener_settings(value))),
    )


def _chain(value: Mapping[str, Any], held: Held) -> Chain:
    filters: dict[str, str] = {}
    rules: Rules = ()
    kind, missing = OTHER, ""
    ways: tuple[Way, ...] = ()
    routes: Routes | None = None
    settings: Plain = {}
    for each in value.get("filters", []):
        config = each.get("typed_config", {})
        what = type_of(config)
        if what == _MANAGER:
            kind = HTTP
            routes, missing = _routes(config, held)
            settings |= manager_settings(config)
            found, more = _http_filters(config)
            filters |= found
            rules += more
        elif what == _TCP:
            kind = BY_NAME if kind == BY_NAME else TCP
            ways = tuple(_ways(config)) if kind == TCP else ()
            settings |= tcp_settings(config)
        elif what == _SNI:
            kind = BY_NAME
        elif is_authorization(what):
            rules += rules_of(config)
        else:
            _add(filters, each, config)
    tls, names = _downstream(value)
    settings |= tls
    settings |= settled(
        {name: value[name] for name in ("use_proxy_proto", "transport_socket_connect_timeout") if name in value}, {}
    )
    return Chain(
        _matched(value.get("filter_chain_match", {})),
        kind,
        ways,
        routes,
        filters,
        rules,
        names,
        dict(leaves(settled(settings, {}))),
        missing,
    )


def _downstream(value: Mapping[str, Any]) -> tuple[Plain, frozenset[str]]:
    found = read_tls(ParseDict(value.get("transport_socket", {}), TransportSocket()))
    return found.rest, found.names


def _matched(match: Mapping[str, Any]) -> str:
    """Which connections a chain takes, in words; "" for all."""
    rest = {name: each for name, each in match.items() if name != "name"}
    parts = []
    if names := rest.pop("server_names", None):
        parts.append("server name " + " or ".join(sorted(names)))
    for name, each in sorted(settled(rest, {}).items()):
        parts.append(f"{name} {text_of(sorted(each, key=text_of) if isinstance(each, list) else each)}")
    return ", ".join(parts)


def _ways(config: Mapping[str, Any]) -> Iterator[Way]:
    if "weighted_clusters" in config:
        yield from weighted(config["weighted_clusters"])
    else:
        yield Way(config.get("cluster", ""), Fraction(1), {})


def _routes(config: Mapping[str, Any], held: Held) -> tuple[Routes | None, str]:
    """The routes of a connection manager; None, and why, if they are not there."""
    if "route_config" in config:
        return read_routes(ParseDict(config["route_config"], RouteConfiguration())), ""
    name = (config.get("rds") or {}).get("route_config_name", "")
    if name in held.routes:
        return read_routes(held.routes[name]), ""
    if "scoped_routes" in config:
        return None, "scoped ones, which are not compared"
    return None, f"{name}, which the dump does not have"


def _http_filters(config: Mapping[str, Any]) -> tuple[dict[str, str], Rules]:
    filters: dict[str, str] = {}
    rules: Rules = ()
    for each in config.get("http_filters", []):
        if each.get("disabled"):
            continue
        inner = each.get("typed_config", {})
        what = type_of(inner)
        if what == _STATS:
            continue
        if is_authorization(what):
            rules += rules_of(inner)
            continue
        if what != _ROUTER or settled({**inner}, {}).keys() != {"@type"}:
            _add(filters, each, inner)
    return filters, rules


def _add(filters: dict[str, str], each: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Add a filter with its settings; of several of a kind, those of all."""
    name = type_of(config) or str(each.get("name", ""))
    filters[name] = " ".join(filter(None, (filters.get(name), text_of(settled({**config}, {})))))
