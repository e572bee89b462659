"""Registrations: what no proxy could be is refused, with the field and the reason."""

from typing import Any

import pytest
from pointsman.model.errors import InvalidInput
from pointsman.model.registration import parse_registration


def sidecar(**service: Any) -> dict[str, Any]:
    """A sidecar of web."""
    proxy = {"DestinationServiceName": "web", "Upstreams": [{"DestinationName": "api", "LocalBindPort": 9191}]}
    given = {"Kind": "connect-proxy", "ID": "web-1", "Address": "0.0.0.0", "Port": 21000}
    return {"Datacenter": "dc1", "Service": {**given, "Proxy": proxy | service.pop("Proxy", {}), **service}}


def gateway(**service: Any) -> dict[str, Any]:
    """A mesh gateway."""
    given = {"Kind": "mesh-gateway", "ID": "gw1", "Service": "mesh-gateway", "Address": "0.0.0.0", "Port": 8443}
    return {"Datacenter": "dc1", "Service": {**given, **service}}


REFUSED: dict[str, tuple[Any, str]] = {
    "a gateway called as all of them": (
        gateway(ID="mesh"),
        'Service.ID: is "mesh", which stands for all mesh gateways',
    ),
    "a sidecar of the gateways": (
        sidecar(Proxy={"DestinationServiceName": "mesh-gateway"}),
        'Service.Proxy.DestinationServiceName: is "mesh-gateway", the name of mesh gateways',
    ),
    "a port that is true": (gateway(Port=True), "Service.Port: must be a number, not true"),
    "the application's port that is true": (
        sidecar(Proxy={"LocalServicePort": True}),
        "Service.Proxy.LocalServicePort: must be a number, not true",
    ),
    "an upstream's port that is true": (
        sidecar(Proxy={"Upstreams": [{"DestinationName": "api", "LocalBindPort": True}]}),
        "Service.Proxy.Upstreams[0].LocalBindPort: must be a number, not true",
    ),
    "a timeout that is true": (
        sidecar(
            Proxy={"Upstreams": [{"DestinationName": "a", "LocalBindPort": 1, "Config": {"connect_timeout_ms": True}}]}
        ),
        "Upstreams[0].Config.ConnectTimeoutMs: must be a number, not true",
    ),
    "a gateway's timeout that is true": (gateway(Proxy={"Config": {"connect_timeout_ms": True}}), "connect_timeout_ms"),
    "a tagged port that is false": (
        sidecar(TaggedAddresses={"wan": {"Address": "192.0.2.1", "Port": False}}),
        "Service.TaggedAddresses.wan.Port: must be a number, not false",
    ),
    "a listener on a group": (gateway(Address="224.0.0.1"), 'Service.Address: "224.0.0.1" is a group of machines'),
    "a gateway on a name": (
        gateway(Address="nlb.example"),
        'Service.Address: "nlb.example" is not an IP address: the gateway listens there; its address for others, in',
    ),
    "a prepared query": (
        sidecar(
            Proxy={"Upstreams": [{"DestinationType": "prepared_query", "DestinationName": "near", "LocalBindPort": 1}]}
        ),
        "Upstreams[0].DestinationType: is not supported by Pointsman: there are no prepared queries; name the service",
    ),
    "an upstream on everybody": (
        sidecar(
            Proxy={"Upstreams": [{"DestinationName": "api", "LocalBindPort": 1, "LocalBindAddress": "255.255.255.255"}]}
        ),
        "Upstreams[0].LocalBindAddress: ",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_proxy_could_be_is_refused(name: str) -> None:
    raw, reason = REFUSED[name]
    with pytest.raises(InvalidInput) as refused:
        parse_registration(raw)
    assert reason in str(refused.value)


def test_where_others_reach_a_gateway_may_have_a_name() -> None:
    named = {"wan": {"Address": "nlb.example", "Port": 443}}
    assert parse_registration(gateway(TaggedAddresses=named)).listen == ("0.0.0.0", 8443)


def test_a_proxy_may_listen_on_every_address_and_ports_may_be_quoted() -> None:
    assert parse_registration(sidecar()).listen == ("0.0.0.0", 21000)
    assert parse_registration(gateway(Port="8443", Address="::")).listen == ("::", 8443)
