"""A sidecar's own listeners and clusters are what its registration and the entries of its service say."""

from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from google.protobuf.json_format import MessageToDict
from pointsman.chain.entryset import EntrySet
from pointsman.model.entries import parse_entry
from pointsman.model.errors import InvalidInput
from pointsman.model.inbound_bounds import LARGEST_COUNT, MOST_EXPOSED
from pointsman.model.registration import parse_registration
from pointsman.xds.inbound import (
    LONGEST_PATH,
    ExposedPath,
    Host,
    Inbound,
    IpPort,
    inbound_json,
    is_log_path,
    read_inbound,
    read_place,
)
from pointsman.xds.inbound_of import inbound_of
from pointsman.xds.public_listener import own_clusters, own_listeners

HOST = Host(IpPort("10.0.0.5", 21000), IpPort("127.0.0.1", 8080))
SECRETS = (SdsSecretConfig(name="identity"), SdsSecretConfig(name="trust"))
PATH = {"Path": "/health/live", "ListenerPort": 9000, "LocalPathPort": 8081, "Protocol": "HTTP2"}

JSON = dict[str, Any]


def made(*entries: JSON, host: Host = HOST, **proxy: Any) -> Inbound:
    """What the sidecars of web have in common."""
    service = {
        "Kind": "connect-proxy",
        "Address": host.public.ip,
        "Port": host.public.port,
        "Proxy": {"DestinationServiceName": "web", "LocalServicePort": host.app.port, **proxy},
    }
    registration = parse_registration({"Datacenter": "dc1", "Service": service})
    return inbound_of(EntrySet.of(map(parse_entry, entries)), registration, "mesh.example")


def defaults(**fields: Any) -> JSON:
    return {"Kind": "service-defaults", "Name": "web", **fields}


def general(**fields: Any) -> JSON:
    return {"Kind": "proxy-defaults", "Name": "global", **fields}


def listeners(inbound: Inbound, host: Host = HOST) -> dict[str, JSON]:
    found = [MessageToDict(each, preserving_proto_field_name=True) for each in own_listeners(inbound, host, SECRETS)]
    return {each["name"]: each for each in found}


def clusters(inbound: Inbound, host: Host = HOST) -> dict[str, JSON]:
    found = [MessageToDict(each, preserving_proto_field_name=True) for each in own_clusters(inbound, host)]
    return {each["name"]: each for each in found}


def public(inbound: Inbound) -> list[JSON]:
    """The filters of the listener for the mesh."""
    (chain,) = listeners(inbound)["public_listener:10.0.0.5:21000"]["filter_chains"]
    filters: list[JSON] = chain["filters"]
    return filters


def test_a_sidecar_lets_in_only_who_shows_a_certificate_of_its_trust_domain() -> None:
    listener = listeners(made())["public_listener:10.0.0.5:21000"]
    (chain,) = listener["filter_chains"]
    tls = chain["transport_socket"]["typed_config"]
    assert tls["require_client_certificate"] is True
    assert tls["common_tls_context"]["combined_validation_context"] == {
        "default_validation_context": {
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": "spiffe://mesh.example/"}}]
        },
        "validation_context_sds_secret_config": {"name": "trust"},
    }
    assert tls["common_tls_context"]["tls_certificate_sds_secret_configs"] == [{"name": "identity"}]
    assert listener["enable_reuse_port"] is False
    assert [each["name"] for each in listener["listener_filters"]] == ["envoy.filters.listener.tls_inspector"]
    assert "SO_KEEPALIVE" in {each["description"] for each in listener["socket_options"]}


def test_what_nobody_sets_limits_nothing() -> None:
    (proxy,) = public(made())
    assert proxy["typed_config"]["cluster"] == "local_app"
    (app,) = clusters(made()).values()
    (threshold,) = app["circuit_breakers"]["thresholds"]
    assert {threshold[each] for each in ("max_connections", "max_pending_requests", "max_requests")} == {2**32 - 1}
    assert app["connect_timeout"] == "5s"
    assert "typed_extension_protocol_options" not in app


@pytest.mark.parametrize(
    ("protocol", "filters"),
    [
        ("http", ["rbac", "router"]),
        ("http2", ["rbac", "router"]),
        ("grpc", ["grpc_stats", "grpc_http1_bridge", "rbac", "router"]),
    ],
)
def test_requests_are_filtered_and_go_to_the_application_in_its_protocol(protocol: str, filters: list[str]) -> None:
    source = {"Name": "batch", "Action": "deny"}
    inbound = made(
        defaults(Protocol=protocol, LocalRequestTimeoutMs=1500),
        {"Kind": "service-intentions", "Name": "web", "Sources": [source]},
    )
    (manager,) = (each["typed_config"] for each in public(inbound))
    assert [each["name"].rpartition(".")[2] for each in manager["http_filters"]] == filters
    (route,) = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert route == {"match": {"prefix": "/"}, "route": {"cluster": "local_app", "timeout": "1.500s"}}
    assert manager["forward_client_cert_details"] == "SANITIZE_SET"
    assert manager["normalize_path"] is manager["merge_slashes"] is True
    assert ("typed_extension_protocol_options" in clusters(inbound)["local_app"]) is (protocol != "http")


def test_connections_of_any_other_protocol_are_filtered_before_they_are_passed_on() -> None:
    rule = {"Kind": "service-intentions", "Name": "web", "Sources": [{"Name": "batch", "Action": "deny"}]}
    assert [each["name"].rpartition(".")[2] for each in public(made(defaults(Protocol="TCP"), rule))] == [
        "rbac",
        "tcp_proxy",
    ]


def test_without_intentions_paths_stay_as_they_are() -> None:
    (manager,) = (each["typed_config"] for each in public(made(defaults(Protocol="http"))))
    assert "normalize_path" not in manager
    assert "timeout" not in manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]  # Envoy's


def test_the_registration_wins_over_its_services_defaults_and_these_over_those_of_all() -> None:
    everywhere = general(
        Config={"max_inbound_connections": "30", "local_connect_timeout_ms": 3000, "local_request_timeout_ms": 0}
    )
    own = defaults(MaxInboundConnections=20, LocalConnectTimeoutMs=2000)
    config = {"max_inbound_connections": 10}
    found = made(everywhere, own, Config=config)
    assert (found.max_connections, found.connect_timeout_ms, found.request_timeout_ms) == (10, 2000, 0)
    found = made(everywhere, defaults(LocalRequestTimeoutMs=1))
    assert (found.max_connections, found.connect_timeout_ms, found.request_timeout_ms) == (30, 3000, 1)
    assert clusters(found)["local_app"]["circuit_breakers"]["thresholds"][0]["max_connections"] == 30
    # What an older Pointsman let pass sets nothing.
    assert made(Config={"max_inbound_connections": "many", "local_request_timeout_ms": True}) == made()


def test_a_path_is_exposed_alone_and_without_tls() -> None:
    beside = {"Path": "/metrics", "ListenerPort": 9001, "LocalPathPort": 8080}
    inbound = made(general(Expose={"Paths": [beside]}), defaults(Expose={"Paths": [PATH, beside]}))
    found = listeners(inbound)
    assert set(found) == {
        "public_listener:10.0.0.5:21000",
        "exposed_path_healthlive:10.0.0.5:9000",
        "exposed_path_metrics:10.0.0.5:9001",
    }
    (chain,) = found["exposed_path_healthlive:10.0.0.5:9000"]["filter_chains"]
    assert "transport_socket" not in chain
    (route,) = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    assert route == {"match": {"path": "/health/live"}, "route": {"cluster": "exposed_cluster_8081"}}
    (chain,) = found["exposed_path_metrics:10.0.0.5:9001"]["filter_chains"]
    (route,) = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    assert route["route"] == {"cluster": "local_app"}
    assert set(clusters(inbound)) == {"local_app", "exposed_cluster_8081"}
    assert "typed_extension_protocol_options" in clusters(inbound)["exposed_cluster_8081"]
    assert made(general(Expose={"Paths": [beside]}), Expose={"Paths": [PATH]}).exposed == (
        ExposedPath("/health/live", 9000, 8081, http2=True),
    )


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([{**PATH, "Path": "health"}], 'Expose.Paths[0].Path: "health" is not a path'),
        ([PATH, {**PATH, "Path": "/b"}], "Expose.Paths[1].ListenerPort: 9000 is that of Expose.Paths[0] already"),
        ([{**PATH, "ListenerPort": 0}], "ListenerPort: must be at least 1"),
        ([{**PATH, "Protocol": "tcp"}], "Protocol: must be"),
        ([PATH] * (MOST_EXPOSED + 1), f"Expose.Paths: has {MOST_EXPOSED + 1} paths, {MOST_EXPOSED} are the most"),
    ],
)
def test_a_path_that_cannot_be_exposed_is_refused_with_the_reason(paths: list[JSON], said: str) -> None:
    for entry in (defaults(Expose={"Paths": paths}), general(Expose={"Paths": paths})):
        with pytest.raises(InvalidInput) as refused:
            parse_entry(entry)
        assert said in str(refused.value)
    with pytest.raises(InvalidInput) as refused:
        made(Expose={"Paths": paths})
    assert said in str(refused.value)


def test_the_bounds_of_incoming_connections() -> None:
    ports = [{**PATH, "ListenerPort": 9000 + number} for number in range(MOST_EXPOSED)]
    assert len(made(defaults(Expose={"Paths": ports})).exposed) == MOST_EXPOSED
    assert made(defaults(MaxInboundConnections=LARGEST_COUNT)).max_connections == LARGEST_COUNT
    with pytest.raises(InvalidInput, match="MaxInboundConnections: must be at most"):
        parse_entry(defaults(MaxInboundConnections=LARGEST_COUNT + 1))
    with pytest.raises(InvalidInput, match=r"Expose.Paths\[0\].ListenerPort: 21000 is that of Service.Port already"):
        made(Expose={"Paths": [{**PATH, "ListenerPort": 21000}]})
    assert is_log_path("/" * LONGEST_PATH)
    assert not is_log_path("/" * (LONGEST_PATH + 1))


def test_it_is_stored_and_read_as_it_was() -> None:
    logged = Host(IpPort("::", 1), IpPort("::1", 65535), "/var/log/in.json")
    everything = Inbound("mesh.example", "grpc", (b"\x00a",), 3, 10, 0, (ExposedPath("/x", 1, 2, http2=True),), logged)
    for each in (everything, made(), Inbound("m")):
        assert read_inbound(inbound_json(each)) == each
    assert made().registered == HOST
    assert made(LocalServiceAddress="app.local").registered is None


@pytest.mark.parametrize(
    "text", ["10.0.0.5", "10.0.0.5:0", "10.0.0.5:65536", "app:1", "::1:80", "[::1]", ":1", "", "1.1.1.1:٣"]
)
def test_what_is_no_place_is_none(text: str) -> None:
    assert read_place(text) is None


@pytest.mark.parametrize("place", [IpPort("10.0.0.5", 1), IpPort("::", 65535)])
def test_a_place_is_read_as_it_was_written(place: IpPort) -> None:
    assert read_place(str(place)) == place
