"""Instances as producers report them: Consul's health API shape, reduced to the fields that mean something here."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AliasGenerator, BaseModel, BeforeValidator, ConfigDict, Field

from pointsman.model.registration import is_ip
from pointsman.model.shape import camel


def _null_is_unset(value: Any) -> Any:
    # Go writes an empty map or list as null.
    return {key: inner for key, inner in value.items() if inner is not None} if isinstance(value, dict) else value


class Reported(BaseModel):
    """A structure of an event: unknown fields are passed over (producers move ahead of us), wrong types are not."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        alias_generator=AliasGenerator(validation_alias=camel, serialization_alias=camel),
    )


Port = Annotated[int, Field(ge=0, le=65535, strict=True)]
Text = Annotated[str, Field(strict=True)]


class TaggedAddress(Reported):
    """A service's address for some of its callers."""

    address: Text = ""
    port: Port = 0


class Weights(Reported):
    """Shares of traffic, passing and in warning."""

    passing: Annotated[int, Field(strict=True)] = 1
    warning: Annotated[int, Field(strict=True)] = 1


class MeshGateway(Reported):
    """A proxy's gateway mode."""

    mode: Text = ""


class ProxyPart(Reported):
    """Which service a proxy stands beside."""

    destination_service_name: Text = ""
    destination_service_id: Text = Field(
        default="", validation_alias="DestinationServiceID", serialization_alias="DestinationServiceID"
    )
    local_service_address: Text = ""
    local_service_port: Port = 0
    mesh_gateway: MeshGateway = MeshGateway()


class ConnectPart(Reported):
    """Whether an instance does mutual TLS by itself."""

    native: bool = False


class NodePart(Reported):
    """The machine that an instance is on."""

    id: Text = ""
    node: Text
    address: Text = ""
    datacenter: Text = ""
    tagged_addresses: dict[str, Text] = {}
    meta: dict[str, Text] = {}


class ServicePart(Reported):
    """The instance itself."""

    id: Text
    service: Text = ""
    kind: Text = ""
    namespace: Text = ""
    address: Text = ""
    port: Port = 0
    tagged_addresses: dict[str, TaggedAddress] = {}
    tags: list[Text] = []
    meta: dict[str, Text] = {}
    weights: Weights | None = None
    enable_tag_override: bool = False
    proxy: Annotated[ProxyPart, BeforeValidator(_null_is_unset)] = ProxyPart()
    connect: Annotated[ConnectPart, BeforeValidator(_null_is_unset)] = ConnectPart()


class CheckPart(Reported):
    """One health check."""

    node: Text = ""
    check_id: Text = Field(default="", validation_alias="CheckID", serialization_alias="CheckID")
    name: Text = ""
    status: Text
    notes: Text = ""
    output: Text = ""
    service_id: Text = Field(default="", validation_alias="ServiceID", serialization_alias="ServiceID")
    service_name: Text = ""
    service_tags: list[Text] = []


class InstancePart(Reported):
    """One instance with its own and its node's checks."""

    node: Annotated[NodePart, BeforeValidator(_null_is_unset)]
    service: Annotated[ServicePart, BeforeValidator(_null_is_unset)]
    checks: list[Annotated[CheckPart, BeforeValidator(_null_is_unset)]] = []

    def description(self) -> dict[str, Any]:
        """What the instance is, apart from its health; canonical, unset fields left out."""
        return {
            "Node": self.node.model_dump(by_alias=True, exclude_defaults=True),
            "Service": self.service.model_dump(by_alias=True, exclude_defaults=True),
        }

    def check_list(self) -> list[dict[str, Any]]:
        """Its checks, canonical, in the order of their ids."""
        checks = [check.model_dump(by_alias=True, exclude_defaults=True) for check in self.checks]
        return sorted(checks, key=lambda check: (check.get("ServiceID", ""), check.get("CheckID", ""), check["Status"]))

    def complaints(self) -> Iterator[tuple[str, str]]:
        """(field, reason) of what no endpoint could be made of, where the instance can be one at all."""
        if self.service.kind not in ("connect-proxy", "mesh-gateway") and not self.service.connect.native:
            return
        if not self.service.port:
            yield "Service.Port", "is required: without it there is no endpoint"
        if not (self.service.address or self.node.address):
            yield "Service.Address", "is required, here or as Node.Address"
        wan = self.service.tagged_addresses.get("wan")
        for field, address in (
            ("Service.Address", self.service.address),
            ("Service.TaggedAddresses.wan.Address", wan.address if wan else ""),
            ("Node.Address", self.node.address if not self.service.address else ""),
            ("Node.TaggedAddresses.wan", self.node.tagged_addresses.get("wan", "")),
        ):
            if address and not is_ip(address):
                yield field, f'"{address}" is not an IP address; Envoy\'s EDS takes only those, so resolve it first'
