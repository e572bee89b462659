"""Instances as producers report them: the shape of Consul's health API, reduced to the fields used here.

These are all the fields that a subset filter can select (model/filters/schema.py), and what addressing needs. Unknown
fields are ignored, because producers may be newer than Pointsman; wrong types are refused. Go writes an empty list, map
or structure as null, so null means that an optional field is missing.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Required

from pydantic import BeforeValidator, FailFast, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic takes the one of `typing` from Python 3.12 on only

from pointsman.model.canonical import canonical
from pointsman.model.names import (
    GATEWAY_PATHS,
    GATEWAYS,
    GATEWAYS_REASON,
    SHARED_GATEWAY_ID,
    SHARED_GATEWAY_REASON,
    is_host_name,
    is_ip,
    unreachable,
)

MOST_TEXT: Final = 4096
"""Characters of one string of an instance, as in Consul, whose longest are the outputs of checks."""

MOST_ENTRIES: Final = 1024
"""Entries of one list or map of an instance: checks, tags, meta, upstreams."""


def _few(value: Any) -> Any:
    """A map of at most MOST_ENTRIES: pydantic reads every entry of a map before it reports the first error."""
    if isinstance(value, Mapping) and len(value) > MOST_ENTRIES:
        raise PydanticCustomError("too_many", f"has {len(value)} entries; {MOST_ENTRIES} are the most")
    return value


# A constraint, even one that is always true, makes pydantic refuse lone surrogates, which JSON cannot encode.
Text = Annotated[str, Field(strict=True, max_length=MOST_TEXT)]
LongText = Annotated[str, Field(strict=True, min_length=0)]
"""A string that is cut to MOST_TEXT: the output of a check decides nothing."""

Name = Annotated[str, Field(strict=True, min_length=1, max_length=512)]
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
Weight = Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1)]
Switch = Annotated[bool, Field(strict=True)]
Texts = Annotated[dict[Text, Text], BeforeValidator(_few)]
_Several = Field(max_length=MOST_ENTRIES)


class _FirstFault(FailFast):
    """Pydantic's own cannot be hashed, as Python 3.11 does with what an optional type is made of."""

    def __hash__(self) -> int:
        return hash(self.fail_fast)


FIRST_FAULT: Final = _FirstFault()
"""A list is read up to its first error: later ones are not reported and cost nothing."""

TextList = Annotated[list[Text], FIRST_FAULT, _Several]


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
    """One upstream of a proxy, for subset filters only: registrations configure upstreams."""

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
    Upstreams: Annotated[list[UpstreamPart], FIRST_FAULT, _Several] | None


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
    TaggedAddresses: Annotated[dict[Text, TaggedAddressPart], BeforeValidator(_few)] | None
    Tags: TextList | None
    Meta: Texts | None
    Weights: WeightsPart | None
    EnableTagOverride: Switch | None
    Proxy: ProxyPart | None
    Connect: ConnectPart | None


class CheckPart(TypedDict, total=False):
    """One health check, the instance's own or its node's. Consul has only these three statuses."""

    Status: Required[Literal["passing", "warning", "critical"]]
    CheckID: Text | None
    Node: Text | None
    Name: Text | None
    Notes: LongText | None
    Output: LongText | None
    ServiceID: Text | None
    ServiceName: Text | None
    ServiceTags: TextList | None


class InstancePart(TypedDict, total=False):
    """One instance with its own and its node's checks."""

    Node: Required[NodePart]
    Service: Required[ServicePart]
    Checks: Annotated[list[CheckPart], FIRST_FAULT, _Several] | None


class RemovedPart(TypedDict):
    """An instance that is gone."""

    Node: Name
    ID: Name


def _given(part: Mapping[str, Any]) -> dict[str, Any]:
    """`part` without the fields that have Go's zero value, which mean the same as missing ones."""
    return {field: value for field, value in part.items() if value}


def description_of(part: InstancePart) -> dict[str, Any]:
    """The instance without its health: {"Node": …, "Service": …}, in canonical form."""
    service = _given(part["Service"])
    if tagged := service.get("TaggedAddresses"):
        service["TaggedAddresses"] = {name: _given(address) for name, address in tagged.items()}
    if weights := service.get("Weights"):
        # Written out, because here a missing field does not mean 0.
        service["Weights"] = {name: _weight(weights.get(name)) for name in ("Passing", "Warning")}
    for field in ("Proxy", "Connect"):
        if field in service:
            service[field] = _given(service[field])
            if not service[field]:
                del service[field]
    if proxy := service.get("Proxy"):
        service["Proxy"] = _proxy(proxy)
    return {"Node": _given(part["Node"]), "Service": service}


def _weight(value: int | None) -> int:
    return 1 if value is None else value


def _proxy(given: dict[str, Any]) -> dict[str, Any]:
    if "Upstreams" in given:
        given = {**given, "Upstreams": [_given(_with_mode(each)) for each in given["Upstreams"]]}
    return _given(_with_mode(given))


def _with_mode(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """`part` with its gateway mode, if it has one, in canonical form."""
    return {**part, "MeshGateway": _given(part["MeshGateway"] or {})} if "MeshGateway" in part else part


def checks_of(part: InstancePart) -> list[dict[str, Any]]:
    """The instance's checks in canonical form, in an order that depends only on the checks."""
    checks = [_short(_given(check)) for check in part.get("Checks") or ()]
    if len(checks) > 1:
        checks.sort(key=lambda check: (check.get("ServiceID", ""), check.get("CheckID", ""), canonical(check)))
    return checks


def _short(check: dict[str, Any]) -> dict[str, Any]:
    for name in ("Notes", "Output"):
        if name in check and len(check[name]) > MOST_TEXT:
            check = check | {name: check[name][:MOST_TEXT]}
    return check


def complaints_of(part: InstancePart) -> Iterator[tuple[str, str]]:
    """(field, reason) of everything that prevents an endpoint, if the instance can get traffic at all."""
    node, service = part["Node"], part["Service"]
    kind = service.get("Kind")
    if not _gets_traffic(service):
        return
    if kind == "mesh-gateway" and service["ID"] == SHARED_GATEWAY_ID:
        yield "Service.ID", SHARED_GATEWAY_REASON
    beside = (service.get("Proxy") or {}).get("DestinationServiceName")
    if kind == "connect-proxy" and beside == GATEWAYS:
        yield "Service.Proxy.DestinationServiceName", GATEWAYS_REASON
    if not service.get("Port"):
        yield "Service.Port", "is required: without it there is no endpoint"
    if not (service.get("Address") or node.get("Address")):
        yield "Service.Address", "is required, here or as Node.Address"
    for field, value in _addresses(part):
        if not value:
            continue
        if is_ip(value):
            if reason := unreachable(value):
                yield field, f'"{value}" {reason}'
        elif not is_host_name(value):
            yield field, f'"{value[:64]}" is not an IP address'
        elif field in _NEAR and not _may_be_named(service):
            yield field, f'"{value[:64]}" is not an IP address; Envoy\'s EDS takes only those, so resolve it first'


def is_at_a_name(part: InstancePart) -> bool:
    """Whether the instance gets traffic and is refused for its address, which is a host name."""
    service = part["Service"]
    near = (value for field, value in _addresses(part) if value and field in _NEAR)
    named = (is_host_name(value) and not is_ip(value) for value in near)
    return _gets_traffic(service) and not _may_be_named(service) and any(named)


def _gets_traffic(service: ServicePart) -> bool:
    native = (service.get("Connect") or {}).get("Native")
    return service.get("Kind") in ("connect-proxy", "mesh-gateway") or bool(native)


_NEAR: Final = ("Service.Address", "Node.Address")
"""Where an instance is for its own datacenter; the others have another address only for those elsewhere."""


def _may_be_named(service: ServicePart) -> bool:
    """Whether it may have a host name in its own datacenter: a mesh gateway, or what an observer tells of one."""
    return service.get("Kind") == "mesh-gateway" or service.get("Service") == GATEWAY_PATHS


def _addresses(part: InstancePart) -> list[tuple[str, str | None]]:
    """The addresses at which others reach the instance, if they are given, each with its field."""
    node, service = part["Node"], part["Service"]
    wan = (service.get("TaggedAddresses") or {}).get("wan") or {}
    address = service.get("Address")
    used = [("Service.Address", address), ("Service.TaggedAddresses.wan.Address", wan.get("Address"))]
    if not address:
        node_wan = (node.get("TaggedAddresses") or {}).get("wan")
        used += [("Node.Address", node.get("Address")), ("Node.TaggedAddresses.wan", node_wan)]
    return used
