"""Service definitions as hosts have them for Consul's agent: services, their sidecars, and their checks.

The fields are those of Consul's pages "Services configuration reference" and "Health check configuration reference".
Names may have any capitals and underscores, as for Consul's own decoder.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from pointsman.model.complaints import problems_of, shown
from pointsman.model.consul_fields import KINDS_ELSEWHERE
from pointsman.model.duration import Nanoseconds
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.inbound import Expose
from pointsman.model.names import GATEWAY_PATHS, GATEWAYS, is_host_name, is_identifier, is_ip, is_label
from pointsman.model.registration import TaggedAddress, Upstream
from pointsman.model.shape import AnyMap, Block, BlockMap, Shape, StringMap, Whole, bare, value_of
from pointsman.model.upstream_config import MeshGateway

SECOND: Final = 1_000_000_000
SHORTEST_INTERVAL_NS: Final = SECOND
"""Nanoseconds between two runs of a check, at least."""
MOST_SERVICES: Final = 1_000
"""Services of one host."""
MOST_CHECKS: Final = 64
"""Checks of one service, those of its host included."""

KINDS: Final = ("http", "tcp", "udp", "grpc", "args", "ttl", "alias_service")
"""The fields that say what a check does; each check has exactly one."""

Status = Literal["passing", "warning", "critical"]


def _each_a_list(value: Any) -> Any:
    """A mapping of lists, in which one value may stand for a list."""
    if not isinstance(value, Mapping):
        return value
    return {key: inner if isinstance(inner, list) else [inner] for key, inner in value.items()}


class CheckDefinition(Shape):
    """A check, as Consul's agent has it. Times are in nanoseconds, 0 where they are not given."""

    id: str = ""
    name: str = ""
    notes: str = ""
    service_id: str = ""
    status: Status | None = None
    interval: Annotated[Nanoseconds, Field(ge=0)] = 0
    timeout: Annotated[Nanoseconds, Field(ge=0)] = 0
    success_before_passing: Annotated[Whole, Field(ge=0, le=1000)] = 0
    failures_before_warning: Annotated[Whole, Field(ge=0, le=1000)] = 0
    failures_before_critical: Annotated[Whole, Field(ge=0, le=1000)] = 0
    deregister_critical_service_after: Annotated[Nanoseconds, Field(ge=0)] = 0
    http: str = ""
    method: str = "GET"
    header: Annotated[dict[str, list[str]], BeforeValidator(_each_a_list), Block] = {}
    body: str = ""
    disable_redirects: bool = False
    tls_server_name: str = ""
    tls_skip_verify: bool = False
    tcp: str = ""
    tcp_use_tls: bool = False
    udp: str = ""
    grpc: str = ""
    grpc_use_tls: bool = False
    args: list[str] = []
    ttl: Annotated[Nanoseconds, Field(ge=0)] = 0
    alias_service: str = ""

    @property
    def kind(self) -> str:
        """What it does: one of KINDS, "" if nothing or more than one thing."""
        given = [kind for kind in KINDS if getattr(self, kind)]
        return given[0] if len(given) == 1 else ""


class SidecarProxy(Shape):
    """What a sidecar is told of its service and its upstreams."""

    upstreams: list[Upstream] = []
    mesh_gateway: Annotated[MeshGateway, Block] = MeshGateway()
    expose: Annotated[Expose, Block] = Expose()
    config: AnyMap = {}
    local_service_address: str = ""
    local_service_port: Annotated[Whole, Field(ge=0, le=65535)] = 0


class SidecarService(Shape):
    """The sidecar beside a service."""

    port: Annotated[Whole, Field(ge=0, le=65535)] = 0
    address: str = ""
    proxy: Annotated[SidecarProxy, Block] = SidecarProxy()
    check: Annotated[CheckDefinition | None, Block] = None
    checks: list[CheckDefinition] = []
    tags: list[str] | None = None
    meta: StringMap = {}


class Connect(Shape):
    """How a service takes part in the mesh."""

    native: bool = False
    sidecar_service: Annotated[SidecarService | None, Block] = None


class Weights(Shape):
    """Shares of traffic."""

    passing: Annotated[Whole, Field(ge=0, le=65535)] = 1
    warning: Annotated[Whole, Field(ge=0, le=65535)] = 1


class GatewayProxy(Shape):
    """Settings of a mesh gateway."""

    config: AnyMap = {}


def _of_this_host(value: Any) -> Any:
    """Refuse a proxy that stands by itself, by its kind: of its fields nobody here knows any."""
    kind = value_of(value, "Kind") if isinstance(value, Mapping) else ""
    if kind == "connect-proxy":
        reason = "write the sidecar within its service: connect { sidecar_service { port = … } }"
    elif kind in ("api-gateway", "ingress-gateway", "terminating-gateway"):
        reason = KINDS_ELSEWHERE[kind][1]
    else:
        return value
    raise PydanticCustomError("kind", f"{kind} is not supported by Pointsman: {reason}")


class ServiceDefinition(Shape):
    """A service of this host."""

    name: str
    id: str = ""
    kind: Literal["", "mesh-gateway"] = ""
    address: str = ""
    port: Annotated[Whole, Field(ge=0, le=65535)] = 0
    tags: list[str] = []
    meta: StringMap = {}
    tagged_addresses: Annotated[dict[str, TaggedAddress], BlockMap] = {}
    weights: Annotated[Weights, Block] = Weights()
    enable_tag_override: bool = False
    check: Annotated[CheckDefinition | None, Block] = None
    checks: list[CheckDefinition] = []
    connect: Annotated[Connect, Block] = Connect()
    proxy: Annotated[GatewayProxy, Block] = GatewayProxy()

    @property
    def key(self) -> str:
        """Its id, by default its name."""
        return self.id or self.name

    @property
    def own_checks(self) -> list[CheckDefinition]:
        """Its checks, and those of its sidecar."""
        sidecar = self.connect.sidecar_service
        beside = [sidecar.check, *sidecar.checks] if sidecar else []
        return [each for each in (self.check, *self.checks, *beside) if each is not None]

    @property
    def is_in_the_mesh(self) -> bool:
        """Whether it can get traffic from the mesh."""
        return bool(self.kind or self.connect.native or self.connect.sidecar_service)


class _File(Shape):
    service: Annotated[ServiceDefinition | None, BeforeValidator(_of_this_host), Block] = None
    services: list[Annotated[ServiceDefinition, BeforeValidator(_of_this_host)]] = []
    check: Annotated[CheckDefinition | None, Block] = None
    checks: list[CheckDefinition] = []


@dataclass(frozen=True, slots=True)
class Check:
    """A check that runs: its id, unique on the host, the service that it is of ("" for the whole host), and what it
    does."""

    id: str
    service: str
    definition: CheckDefinition


@dataclass(frozen=True, slots=True)
class Definitions:
    """What a host has: its services by id, and all their checks by id. `passed_over` is what of the files is not used,
    one line for each."""

    services: Mapping[str, ServiceDefinition]
    checks: Mapping[str, Check]
    passed_over: tuple[str, ...] = ()

    def checks_of(self, service: str) -> list[Check]:
        """The checks of a service and of the whole host. Those of the host say nothing of gateways elsewhere."""
        known = self.services.get(service)
        own = {service} if known is not None and known.name == GATEWAY_PATHS else {"", service}
        return [each for each in self.checks.values() if each.service in own]


def read_definitions(documents: Sequence[tuple[str, Mapping[str, Any]]], address: str) -> Definitions:
    """The definitions in `documents`, each with the name of its file. Raises InvalidInput with every problem.

    Other settings of an agent's files are passed over, and so are services without a sidecar, which nobody in the mesh
    reaches. A sidecar without a check of its own gets one: whether it listens, at `address` if it names none, every ten
    seconds, as Consul's agent does.
    """
    services: dict[str, ServiceDefinition] = {}
    loose: list[tuple[str, CheckDefinition]] = []
    problems: list[Problem] = []
    passed_over: list[str] = []
    wanted = {bare(field) for field in _File.model_fields}
    for name, document in documents:
        others = [key for key in document if bare(str(key)) not in wanted]
        if {"name", "port"} <= set(map(bare, map(str, others))):
            problems.append(Problem(name, "", "is a service as Consul's API takes it; write it within service { … }"))
            continue
        if others:
            passed_over.append(f"{name}: {', '.join(map(str, others[:10]))}: not about services or checks")
        try:
            file = _File.model_validate({key: document[key] for key in document if key not in others})
        except ValidationError as error:
            problems += problems_of(error, name)
            continue
        for service in [file.service, *file.services]:
            if service is None:
                continue
            if service.key in services:
                problems.append(Problem(name, "id", f"{shown(service.key)} is the id of another service too"))
            elif not service.is_in_the_mesh:
                passed_over.append(f"{name}: {service.key}: no connect block, so nobody in the mesh reaches it")
            else:
                services[service.key] = service
                problems += _complaints(name, service)
        loose += [(name, each) for each in (file.check, *file.checks) if each is not None]
    checks, wrong = _all_checks(services, loose, passed_over, address)
    problems += wrong
    if len(services) > MOST_SERVICES:
        problems.append(Problem("services", "", f"{len(services)} on one host; {MOST_SERVICES} are the most"))
    if problems:
        raise InvalidInput(problems[:20])
    return Definitions(services, checks, tuple(passed_over))


def _complaints(name: str, service: ServiceDefinition) -> Iterator[Problem]:
    thing = f'{name}: service "{service.key[:80]}"'
    if service.name in (GATEWAYS, GATEWAY_PATHS) and not service.kind:
        yield Problem(thing, "name", f"{shown(service.name)} is not a name of a service; rename it")
    if not is_label(service.name):
        yield Problem(thing, "name", f"{shown(service.name)} is not a lower-case DNS label")
    if not is_identifier(service.key):
        yield Problem(thing, "id", f"{shown(service.key)} is not an id (letters, digits and ._:@- inside, 128 at most)")
    sidecar = service.connect.sidecar_service
    addresses = [("address", service.address), ("sidecar_service.address", sidecar.address if sidecar else "")]
    addresses += [(f"tagged_addresses.{name}", each.address) for name, each in service.tagged_addresses.items()]
    for field, address in addresses:
        if service.kind and field == "address" and address and not is_ip(address):
            reason = "is not an IP address: the gateway listens there; what others reach is tagged_addresses.wan"
            yield Problem(thing, field, f"{shown(address)} {reason}")
        elif address and not is_ip(address) and not is_host_name(address):
            yield Problem(thing, field, f"{shown(address)} is neither an IP address nor a host name")
    if sidecar and not sidecar.port:
        yield Problem(
            thing,
            "connect.sidecar_service.port",
            "is required: Envoy listens there for other services; "
            "Consul's agent chooses one from 21000 on if there is none, this one does not",
        )
    if not sidecar and not service.port:
        yield Problem(thing, "port", "is required")


def _all_checks(
    services: Mapping[str, ServiceDefinition],
    loose: Sequence[tuple[str, CheckDefinition]],
    passed_over: list[str],
    address: str,
) -> tuple[dict[str, Check], list[Problem]]:
    found: dict[str, Check] = {}
    problems: list[Problem] = []
    placed = [(f'service "{key}"', key, number, each) for key, one in services.items() for number, each in _own(one)]
    for name, each in loose:
        if each.service_id and each.service_id not in services:
            passed_over.append(f"{name}: a check of {each.service_id}, which is not a service of the mesh here")
        else:
            placed.append((name, each.service_id, 0, each))
    placed += [(f'service "{key}"', key, 0, each) for key, one in services.items() for each in _listening(one, address)]
    counts: dict[str, int] = {}
    for thing, service, number, each in placed:
        id_ = each.id or (f"service:{service}" if service else each.name) + (f":{number}" if number else "")
        problems += _wrong(thing, each, services)
        counts[service] = counts.get(service, 0) + 1
        if not id_:
            problems.append(Problem(thing, "check", "has no id and no name"))
        elif id_ in found:
            problems.append(Problem(thing, "check", f"{shown(id_)} is the id of another check too"))
        found[id_] = Check(id_, service, each)
    for service, count in counts.items():
        if count + (counts.get("", 0) if service else 0) > MOST_CHECKS:
            problems.append(Problem(f'service "{service}"', "checks", f"more than {MOST_CHECKS}"))
    return found, problems


def _listening(service: ServiceDefinition, address: str) -> Iterator[CheckDefinition]:
    sidecar = service.connect.sidecar_service
    if sidecar and sidecar.port and not (sidecar.check or sidecar.checks):
        host = sidecar.address or service.address or address
        yield CheckDefinition(
            id=f"service:{service.key}-sidecar-proxy",
            name="Connect Sidecar Listening",
            tcp=f"[{host}]:{sidecar.port}" if ":" in host else f"{host}:{sidecar.port}",
            interval=10 * SECOND,
        )


def _own(service: ServiceDefinition) -> list[tuple[int, CheckDefinition]]:
    own = service.own_checks
    return list(enumerate(own, 1)) if len(own) > 1 else [(0, each) for each in own]


def _wrong(thing: str, check: CheckDefinition, services: Mapping[str, ServiceDefinition]) -> Iterator[Problem]:
    label = f"{thing}: check {shown(check.id or check.name)}"
    if not check.kind:
        yield Problem(label, "", f"exactly one of {', '.join(KINDS)} is required")
        return
    if check.kind not in ("ttl", "alias_service") and check.interval < SHORTEST_INTERVAL_NS:
        yield Problem(label, "interval", "is required, and at least 1s")
    if check.kind == "ttl" and check.ttl < SHORTEST_INTERVAL_NS:
        yield Problem(label, "ttl", "is at least 1s")
    if check.kind == "alias_service" and check.alias_service not in services:
        yield Problem(label, "alias_service", f"{shown(check.alias_service)} is not a service of the mesh here")
    if check.kind == "http" and not check.http.startswith(("http://", "https://")):
        yield Problem(label, "http", f"{shown(check.http)} is not an http or https URL")
    for kind in ("tcp", "udp", "grpc"):
        place = getattr(check, kind).partition("/")[0] if check.kind == kind else ""
        if place and not _is_place(place):
            yield Problem(label, kind, f"{shown(place)} is not HOST:PORT")


def _is_place(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdecimal() and 0 < int(port) < 65536
