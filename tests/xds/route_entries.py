"""Config entries of a mesh with HTTP, written down briefly, and what Pointsman makes of them for a sidecar in dc1."""

from typing import Any

from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Chain
from pointsman.chain.upstream import upstream_chain
from pointsman.chain.validate import validate
from pointsman.model.entries import key_of, parse_entry
from pointsman.model.names import ServiceName
from pointsman.model.registration import Registration, parse_registration
from pointsman.xds.sidecar_listeners import upstream_listener

TRUST_DOMAIN = "td"
JSON = dict[str, Any]


def state_of(entries: list[JSON]) -> EntrySet:
    """The state that `entries` make, which have to be acceptable."""
    parsed = [parse_entry(entry) for entry in entries]
    state = EntrySet.of(parsed)
    assert validate(state, [key_of(entry) for entry in parsed]) == []
    return state


def compiled(entries: list[JSON]) -> Chain:
    """The chain of `web` in dc1 under `entries`."""
    return compile_chain(state_of(entries), ServiceName("default", "web"), "dc1", "dc1")


def cluster(target: str) -> str:
    """The name of the cluster of the target `web`, or `v1.web`, of dc1."""
    return f"{target}.default.dc1.internal.{TRUST_DOMAIN}"


def sidecar(*upstreams: JSON) -> Registration:
    """The registration of a sidecar in dc1."""
    proxy = {"DestinationServiceName": "client", "Upstreams": list(upstreams)}
    return parse_registration({"Datacenter": "dc1", "Service": {"Kind": "connect-proxy", "Proxy": proxy}})


def upstream(port: int, **more: Any) -> JSON:
    """`web` as an upstream, on `port`."""
    return {"DestinationName": "web", "LocalBindPort": port, **more}


def chains_and_listeners(entries: list[JSON], *upstreams: JSON) -> list[tuple[Chain, Listener]]:
    """For each upstream of a sidecar in dc1 its chain and its listener."""
    registration, state = sidecar(*upstreams), state_of(entries)
    found = []
    for each in registration.service.proxy.upstreams:
        chain = upstream_chain(state, registration, each)
        found.append((chain, upstream_listener(chain, each, TRUST_DOMAIN)))
    return found


def as_json(message: Message) -> JSON:
    """`message` in proto3 JSON, with the field names of the protobufs."""
    found: JSON = MessageToDict(message, preserving_proto_field_name=True)
    return found


def speaking(*services: str, protocol: str = "http") -> list[JSON]:
    return [{"Kind": "service-defaults", "Name": each, "Protocol": protocol} for each in services]


def router(*routes: JSON) -> JSON:
    return {"Kind": "service-router", "Name": "web", "Routes": list(routes)}


def splitter(name: str, *splits: JSON) -> JSON:
    return {"Kind": "service-splitter", "Name": name, "Splits": list(splits)}


def resolver(name: str, *subsets: str, **more: Any) -> JSON:
    return {"Kind": "service-resolver", "Name": name, "Subsets": {each: {} for each in subsets}, **more}


def hashed(name: str, *policies: JSON) -> JSON:
    return resolver(name, LoadBalancer={"Policy": "maglev", "HashPolicies": list(policies)})
