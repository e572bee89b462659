"""A sidecar's upstream listeners and their routes are what the config entries say, and Envoys accept them."""

from pathlib import Path

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from pointsman.chain.plan import sidecar_plans
from pointsman.model.entries import parse_entry
from pointsman.model.errors import InvalidInput
from pointsman.xds.routes import route_configuration

from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, validate
from tests.xds.route_entries import (
    JSON,
    TRUST_DOMAIN,
    as_json,
    chains_and_listeners,
    compiled,
    hashed,
    resolver,
    speaking,
    upstream,
)
from tests.xds.route_situations import SITUATIONS, Situation, destined, matching


def listeners(entries: list[JSON], *upstreams: JSON) -> list[Listener]:
    return [listener for _, listener in chains_and_listeners(entries, *upstreams)]


def filter_of(listener: Listener) -> JSON:
    (chain,) = as_json(listener)["filter_chains"]
    (only,) = chain["filters"]
    config: JSON = only["typed_config"]
    return config


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.name)
def test_the_routes_are_what_the_entries_say(situation: Situation) -> None:
    routes = route_configuration(compiled(situation.entries), "web", TRUST_DOMAIN)

    assert as_json(routes) == {
        "name": "web",
        "virtual_hosts": [{"name": "web", "domains": ["*"], "routes": situation.routes}],
        "validate_clusters": False,
    }


def test_every_cluster_that_is_routed_to_is_one_that_the_sidecar_gets() -> None:
    for situation in SITUATIONS:
        chain = compiled(situation.entries)
        routed = set()
        for route in route_configuration(chain, "web", TRUST_DOMAIN).virtual_hosts[0].routes:
            routed |= {each.name for each in route.route.weighted_clusters.clusters} or {route.route.cluster}
        assert routed == {plan.cluster_name(TRUST_DOMAIN) for plan in sidecar_plans(chain)}, situation.name


def test_a_listener_stands_where_the_application_looks_and_says_for_whom() -> None:
    found = listeners(
        [{"Kind": "namespace", "Name": "team"}],
        upstream(9001),
        upstream(9002, LocalBindAddress="127.0.0.9", Datacenter="dc2"),
        upstream(9002, LocalBindAddress="::1", DestinationNamespace="team"),
        upstream(9003, LocalBindAddress="", DestinationNamespace="default"),
    )

    assert [(each.name, as_json(each)["address"]["socket_address"]) for each in found] == [
        ("web:127.0.0.1:9001", {"address": "127.0.0.1", "port_value": 9001}),
        ("web?dc=dc2:127.0.0.9:9002", {"address": "127.0.0.9", "port_value": 9002}),
        ("team/web:::1:9002", {"address": "::1", "port_value": 9002}),
        ("web:127.0.0.1:9003", {"address": "127.0.0.1", "port_value": 9003}),
    ]
    assert [filter_of(each)["stat_prefix"] for each in found] == [
        "upstream.web.default.dc1",
        "upstream.web.default.dc2",
        "upstream.web.team.dc1",
        "upstream.web.default.dc1",
    ]


def test_an_upstream_without_http_is_proxied_to_where_its_chain_starts() -> None:
    redirect = {**resolver("web"), "Redirect": {"Service": "api", "Datacenter": "dc2"}}

    for protocol in ("tcp", "mysql"):
        (found,) = listeners([*speaking("web", "api", protocol=protocol), redirect], upstream(9001))
        assert filter_of(found) == {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "upstream.web.default.dc1",
            "cluster": f"api.default.dc2.internal.{TRUST_DOMAIN}",
        }


def test_an_upstream_with_http_gets_what_its_protocol_needs() -> None:
    seen = {}
    for protocol in ("http", "http2", "grpc"):
        (found,) = listeners(speaking("web", protocol=protocol), upstream(9001))
        manager = filter_of(found)
        assert manager["route_config"]["virtual_hosts"][0]["routes"] == SITUATIONS[0].routes
        filters = [each["name"].rsplit(".", 1)[1] for each in manager["http_filters"]]
        seen[protocol] = (filters, "http2_protocol_options" in manager, manager.get("upgrade_configs", []))

    assert seen == {
        "http": (["router"], False, [{"upgrade_type": "websocket"}]),
        "http2": (["router"], True, []),
        "grpc": (["grpc_stats", "grpc_http1_bridge", "router"], True, []),
    }


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (destined({"NumRetries": 2**32})[-1], "Routes[0].Destination.NumRetries"),
        (destined({"RequestTimeout": "2562048h"})[-1], "Routes[0].Destination.RequestTimeout"),
        (destined({"RequestTimeout": 2**63})[-1], "Routes[0].Destination.RequestTimeout"),
        (matching({"Methods": ["GET", ""]})[-1], "Routes[0].Match.HTTP.Methods"),
        (
            hashed("web", {"Field": "cookie", "FieldValue": "a", "CookieConfig": {"TTL": "-5s"}}),
            "LoadBalancer.HashPolicies[0].CookieConfig.TTL",
        ),
    ],
)
def test_what_cannot_become_a_route_is_refused_when_it_is_written(entry: JSON, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_entry(entry)

    assert [problem.field for problem in refused.value.problems] == [field]


def test_equal_entries_give_equal_bytes() -> None:
    for situation in SITUATIONS:
        once, again = (
            listeners(entries, upstream(9001))[0] for entries in (situation.entries, situation.entries[::-1])
        )
        assert once.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)


@pytest.mark.envoy
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
def test_envoy_accepts_every_listener(binary: Path, tmp_path: Path) -> None:
    cases = [each.entries for each in SITUATIONS]
    cases += [speaking("web", protocol=protocol) for protocol in ("tcp", "http2", "grpc")]
    found = [listeners(entries, upstream(20000 + i))[0] for i, entries in enumerate(cases)]

    assert validate({"static_resources": {"listeners": [as_json(each) for each in found]}}, tmp_path, binary) == ""
