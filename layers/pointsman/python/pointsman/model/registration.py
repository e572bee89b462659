"""Registrations of sidecars, with their upstreams, and of mesh gateways, in Consul's register shape."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from pointsman.model.complaints import brief, cut, problems_of, shown
from pointsman.model.duration import LONGEST_MS
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.inbound import Expose, Port
from pointsman.model.keys import gateway_key, sidecar_key
from pointsman.model.names import (
    DEFAULT_NAMESPACE,
    GATEWAY_PATHS,
    GATEWAY_PATHS_REASON,
    GATEWAYS,
    GATEWAYS_REASON,
    SHARED_GATEWAY_ID,
    SHARED_GATEWAY_REASON,
    ServiceName,
    is_group,
    is_identifier,
    is_ip,
    is_label,
)
from pointsman.model.owner import Owned
from pointsman.model.shape import AnyMap, Block, BlockMap, InNamespace, Shape, StringMap, Whole, value_of
from pointsman.model.size import check_size
from pointsman.model.upstream_config import MeshGateway, UpstreamSettings

_LISTENS = (
    ": the gateway listens there; its address for others, in Service.TaggedAddresses.wan of its health, may be a name"
)


def _of_service(value: Any) -> Any:
    """Refuse an upstream that is a prepared query."""
    if value == "prepared_query":
        reason = "there are no prepared queries; name the service itself: its service-resolver has its Failover"
        raise PydanticCustomError("query", f"is not supported by Pointsman: {reason}")
    return value


class Upstream(Shape):
    """One service that a sidecar's application calls, and the address where the sidecar listens for it."""

    destination_type: Annotated[Literal["", "service"], BeforeValidator(_of_service)] = ""
    destination_name: str
    destination_namespace: str = ""
    datacenter: str = ""
    local_bind_address: str = "127.0.0.1"
    local_bind_port: Port
    config: Annotated[UpstreamSettings, Block] = UpstreamSettings()
    mesh_gateway: Annotated[MeshGateway, Block] = MeshGateway()


class Proxy(Shape):
    """The proxy part of a registration."""

    destination_service_name: str = ""
    destination_service_id: str = ""
    local_service_address: str = "127.0.0.1"
    local_service_port: Annotated[Whole, Field(ge=0, le=65535)] = 0
    upstreams: list[Upstream] = []
    mesh_gateway: Annotated[MeshGateway, Block] = MeshGateway()
    expose: Annotated[Expose, Block] = Expose()
    config: AnyMap = {}


class TaggedAddress(Shape):
    """An address of a service for some of its callers; port 0 means the service's own."""

    address: str = ""
    port: Annotated[Whole, Field(ge=0, le=65535)] = 0


class RegisteredService(Shape):
    """The service part of a registration."""

    kind: Literal["connect-proxy", "mesh-gateway"]
    service: str = ""
    id: str = ""
    namespace: InNamespace = DEFAULT_NAMESPACE
    address: str = ""
    port: Annotated[Whole, Field(ge=0, le=65535)] = 0
    tagged_addresses: Annotated[dict[str, TaggedAddress], BlockMap] = {}
    tags: list[str] | None = None
    meta: StringMap | None = None
    weights: AnyMap | None = None
    proxy: Annotated[Proxy, Block] = Proxy()


class Registration(Owned):
    """One sidecar per (datacenter, namespace, service), or one mesh gateway per (datacenter, id).

    Instances and their health come from events. `Checks` and the node's data are accepted, so that you can write what
    Consul's catalog returns, but not used.
    """

    datacenter: str
    node: str = ""
    address: str = ""
    tagged_addresses: StringMap | None = None
    node_meta: StringMap | None = None
    service: Annotated[RegisteredService, Block]
    checks: list[dict[str, Any]] | None = None

    @property
    def is_gateway(self) -> bool:
        """Whether it registers a mesh gateway."""
        return self.service.kind == "mesh-gateway"

    @property
    def destination(self) -> ServiceName:
        """The service that a sidecar stands beside."""
        return ServiceName(self.service.namespace, self.service.proxy.destination_service_name)

    @property
    def key(self) -> str:
        """Its key; a later registration with the same one replaces it: `dc1/sidecar/default/web`, `dc1/gateway/ID`."""
        if self.is_gateway:
            return gateway_key(self.datacenter, self.service.id)
        return sidecar_key(self.datacenter, self.destination)

    @property
    def listen(self) -> tuple[str, int]:
        """Where the proxy listens for others."""
        return self.service.address or self.address, self.service.port

    @property
    def gateway_connect_timeout_ms(self) -> int:
        """A gateway's own `connect_timeout_ms`, 0 for the default."""
        value = self.service.proxy.config.get("connect_timeout_ms", 0)
        return value if isinstance(value, int) else 0

    @property
    def access_log_path(self) -> str:
        """The file that the proxy logs incoming connections to, "" for none."""
        return str(self.service.proxy.config.get("access_log_path") or "")


def is_registration(raw: Mapping[str, Any]) -> bool:
    """Whether a document is meant as a registration rather than as a config entry: it has a service and no kind."""
    return value_of(raw, "Kind") is None and value_of(raw, "Service") is not None


def registration_thing(raw: Mapping[str, Any]) -> str:
    """How messages name a registration."""
    service = value_of(raw, "Service")
    body: Mapping[str, Any] = service if isinstance(service, Mapping) else {}
    name = value_of(body, "ID") or value_of(body, "Service") or "?"
    where = value_of(raw, "Datacenter")
    return f'registration "{brief(name)}"' + (f" in {brief(where)}" if where else "")


def parse_registration(raw: Mapping[str, Any]) -> Registration:
    """The registration in `raw` (Consul's JSON shape), valid by itself. Raises InvalidInput with every problem."""
    thing = registration_thing(raw)
    check_size(raw, thing)
    if not value_of(raw, "Datacenter"):
        reason = "is required; Consul's agent leaves it out: add it, or name it for all with `pointsman apply --dc`"
        raise InvalidInput.single(thing, "Datacenter", reason)
    try:
        registration = Registration.model_validate(raw)
    except ValidationError as error:
        raise InvalidInput(problems_of(error, thing)) from None
    problems = [Problem(thing, field, reason) for field, reason in _complaints(registration)]
    if problems:
        raise InvalidInput(cut(problems))
    return registration


def registration_json(registration: Registration) -> dict[str, Any]:
    """`registration` in Consul's JSON shape, without fields at their default: the same for equal registrations."""
    return registration.model_dump(by_alias=True, exclude_defaults=True)


def _complaints(registration: Registration) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    service = registration.service

    def label(field: str, value: str) -> None:
        if not is_label(value):
            out.append((field, f"{shown(value)} is not a lower-case DNS label"))

    def address(field: str, value: str) -> None:
        if value and not is_ip(value):
            here = _LISTENS if registration.is_gateway else "; Envoy takes only those here"
            out.append((field, f"{shown(value)} is not an IP address{here}"))
        elif value and is_group(value):
            out.append((field, f'"{value}" is a group of machines; nothing can listen on it'))

    label("Datacenter", registration.datacenter)
    label("Service.Namespace", service.namespace)
    address("Address", registration.address)
    address("Service.Address", service.address)
    if registration.is_gateway:
        if not is_identifier(service.id):
            out.append(
                ("Service.ID", f"{shown(service.id)} is not an id (letters, digits and ._:@- inside, 128 at most)")
            )
        if service.id == SHARED_GATEWAY_ID:
            out.append(("Service.ID", SHARED_GATEWAY_REASON))
        if not registration.listen[0]:
            out.append(("Service.Address", "is required for a mesh gateway: its listener binds to it"))
        if not service.port:
            out.append(("Service.Port", "is required for a mesh gateway"))
        timeout = service.proxy.config.get("connect_timeout_ms", 0)
        if isinstance(timeout, bool) or not isinstance(timeout, int) or not 0 <= timeout <= LONGEST_MS:
            out.append(("Service.Proxy.Config.connect_timeout_ms", f"{shown(timeout)} is not a number of milliseconds"))
        path = service.proxy.config.get("access_log_path", "")
        if not isinstance(path, str) or (path and not path.startswith("/")):
            out.append(("Service.Proxy.Config.access_log_path", f"{shown(path)} is not an absolute path"))
        if service.proxy.expose.paths:
            out.append(("Service.Proxy.Expose", "is for sidecars; a mesh gateway has no application"))
    else:
        taken = {service.port: "Service.Port"} if service.port else {}
        out += [(f"Service.Proxy.{field}", reason) for field, reason in service.proxy.expose.check(taken)]
        label("Service.Proxy.DestinationServiceName", service.proxy.destination_service_name)
        if service.proxy.destination_service_name == GATEWAYS:
            out.append(("Service.Proxy.DestinationServiceName", GATEWAYS_REASON))
        if service.proxy.destination_service_name == GATEWAY_PATHS:
            out.append(("Service.Proxy.DestinationServiceName", GATEWAY_PATHS_REASON))
    bound: dict[tuple[str, int], int] = {}
    for i, upstream in enumerate(service.proxy.upstreams):
        at = f"Service.Proxy.Upstreams[{i}]"
        label(f"{at}.DestinationName", upstream.destination_name)
        for field, value in (
            ("DestinationNamespace", upstream.destination_namespace),
            ("Datacenter", upstream.datacenter),
        ):
            if value:
                label(f"{at}.{field}", value)
        address(f"{at}.LocalBindAddress", upstream.local_bind_address)
        place = (upstream.local_bind_address, upstream.local_bind_port)
        if place in bound:
            out.append((f"{at}.LocalBindPort", f"{place[1]} is taken by Upstreams[{bound[place]}] already"))
        bound.setdefault(place, i)
    return out
