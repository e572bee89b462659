"""Instances as producers report them: Consul's health API shape, reduced to the fields that mean something here.

These are all the fields that a subset filter can select (model/filter_schema.py), and what addressing needs. Unknown
fields are passed over, for producers move ahead of us; wrong types are not. Go writes an empty list, map or structure
as null, so null is the same as not given wherever a field is not required.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Required

from pydantic import Field
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on only

from pointsman.model.canonical import canonical
from pointsman.model.names import is_ip

# A constraint, even one that always holds, makes pydantic refuse lone surrogates, which no JSON can carry on.
Text = Annotated[str, Field(strict=True, min_length=0)]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=512)]
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
Weight = Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1)]
Switch = Annotated[bool, Field(strict=True)]
Texts = dict[Text, Text]


class TaggedAddressPart(TypedDict, total=False):
    """A service's address for some of its callers; port 0 means the service's own."""

    Address: Text | None
    Port: Port | None


class WeightsPart(TypedDict, total=False):
    """Shares of traffic, passing and in warning; 1 where not given."""

    Passing: Weight | None
    Warning: Weight | None


class MeshGatewayPart(TypedDict, total=False):
    """A gateway mode."""

    Mode: Text | None


class UpstreamPart(TypedDict, total=False):
    """One upstream of a proxy. It configures nothing here (registrations do): subset filters may look at it."""

    DestinationType: Text | None
    DestinationNamespace: Text | None
    DestinationName: Text | None
    Datacenter: Text | None
    LocalBindAddress: Text | None
    LocalBindPort: Port | None
    MeshGateway: MeshGatewayPart | None


class ProxyPart(TypedDict, total=False):
    """Which service a proxy stands beside."""

    DestinationServiceName: Text | None
    DestinationServiceID: Text | None
    LocalServiceAddress: Text | None
    LocalServicePort: Port | None
    MeshGateway: MeshGatewayPart | None
    Upstreams: list[UpstreamPart] | None


class ConnectPart(TypedDict, total=False):
    """Whether an instance does mutual TLS by itself."""

    Native: Switch | None


class NodePart(TypedDict, total=False):
    """The machine that an instance is on."""

    Node: Required[Name]
    ID: Text | None
    Address: Text | None
    Datacenter: Text | None
    TaggedAddresses: Texts | None
    Meta: Texts | None


class ServicePart(TypedDict, total=False):
    """The instance itself."""

    ID: Required[Name]
    Service: Text | None
    Kind: Text | None
    Address: Text | None
    Port: Port | None
    TaggedAddresses: dict[Text, TaggedAddressPart] | None
    Tags: list[Text] | None
    Meta: Texts | None
    Weights: WeightsPart | None
    EnableTagOverride: Switch | None
    Proxy: ProxyPart | None
    Connect: ConnectPart | None


class CheckPart(TypedDict, total=False):
    """One health check, the instance's own or its node's. Consul has these three statuses of a check and no other."""

    Status: Required[Literal["passing", "warning", "critical"]]
    CheckID: Text | None
    Node: Text | None
    Name: Text | None
    Notes: Text | None
    Output: Text | None
    ServiceID: Text | None
    ServiceName: Text | None
    ServiceTags: list[Text] | None


class InstancePart(TypedDict, total=False):
    """One instance with its own and its node's checks."""

    Node: Required[NodePart]
    Service: Required[ServicePart]
    Checks: list[CheckPart] | None


class RemovedPart(TypedDict):
    """An instance that is gone."""

    Node: Name
    ID: Name


def _given(part: Mapping[str, Any]) -> dict[str, Any]:
    """`part` without the fields that have Go's zero value: left out or written out, they mean the same."""
    return {field: value for field, value in part.items() if value}


def description_of(part: InstancePart) -> dict[str, Any]:
    """What the instance is, apart from its health: {"Node": …, "Service": …}, one form for one meaning."""
    service = _given(part["Service"])
    if tagged := service.get("TaggedAddresses"):
        service["TaggedAddresses"] = {name: _given(address) for name, address in tagged.items()}
    if weights := service.get("Weights"):
        # Written out, for here 0 is not the value of a field that is left out.
        service["Weights"] = {name: _weight(weights.get(name)) for name in ("Passing", "Warning")}
    for field in ("Proxy", "Connect"):
        if inner := _given(service.pop(field, {})):
            service[field] = inner
    if proxy := service.get("Proxy"):
        service["Proxy"] = _proxy(proxy)
    return {"Node": _given(part["Node"]), "Service": service}


def _weight(value: int | None) -> int:
    return 1 if value is None else value


def _proxy(given: dict[str, Any]) -> dict[str, Any]:
    upstreams = [_given({**each, **_mode(each)}) for each in given.get("Upstreams", ())]
    return _given({**given, **_mode(given), "Upstreams": upstreams})


def _mode(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"MeshGateway": _given(part.get("MeshGateway") or {})}


def checks_of(part: InstancePart) -> list[dict[str, Any]]:
    """The instance's checks, each in one form for one meaning, in an order that depends on nothing but themselves."""
    checks = [_given(check) for check in part.get("Checks") or ()]
    if len(checks) > 1:
        checks.sort(key=lambda check: (check.get("ServiceID", ""), check.get("CheckID", ""), canonical(check)))
    return checks


def complaints_of(part: InstancePart) -> Iterator[tuple[str, str]]:
    """(field, reason) of what no endpoint could be made of, where the instance can be one at all."""
    node, service = part["Node"], part["Service"]
    if service.get("Kind") not in ("connect-proxy", "mesh-gateway") and not (service.get("Connect") or {}).get(
        "Native"
    ):
        return
    address = service.get("Address")
    if not service.get("Port"):
        yield "Service.Port", "is required: without it there is no endpoint"
    if not (address or node.get("Address")):
        yield "Service.Address", "is required, here or as Node.Address"
    wan = (service.get("TaggedAddresses") or {}).get("wan") or {}
    used = [("Service.Address", address), ("Service.TaggedAddresses.wan.Address", wan.get("Address"))]
    if not address:
        node_wan = (node.get("TaggedAddresses") or {}).get("wan")
        used += [("Node.Address", node.get("Address")), ("Node.TaggedAddresses.wan", node_wan)]
    for field, value in used:
        if not value:
            continue
        if not is_ip(value):
            yield field, f'"{value}" is not an IP address; Envoy\'s EDS takes only those, so resolve it first'
        elif "%" in value:
            yield field, f'"{value}" has a zone, which means something on one machine only; leave it out'
