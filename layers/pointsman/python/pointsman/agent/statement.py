"""What an agent says: the events about the services of its host."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pointsman.agent.definition import SECOND, Check, Definitions, ServiceDefinition
from pointsman.agent.verdict import Verdict
from pointsman.model.duration import duration_text
from pointsman.model.names import DEFAULT_NAMESPACE

GATEWAYS = ""
"""In place of a service's name: the host's mesh gateways."""


@dataclass(frozen=True, slots=True)
class Host:
    """Where an agent is, and who it is. `lease_ns` is its lease in nanoseconds, `sender` the name of this process,
    which no other one has."""

    datacenter: str
    node: str
    address: str
    lease_ns: int
    sender: str = ""

    @property
    def source(self) -> str:
        """The source of its events."""
        return f"agent/{self.node}"

    def event(self, kind: str, index: int, detail: Mapping[str, Any], *, lease_ns: int | None = None) -> dict[str, Any]:
        """One event of it."""
        lease = duration_text(self.lease_ns if lease_ns is None else lease_ns)
        said = {"Source": self.source, "Index": index, "Datacenter": self.datacenter, "Lease": lease}
        said |= {"Sender": self.sender} if self.sender else {}
        return {"detail-type": kind, "id": f"{self.source}-{index}", "detail": said | dict(detail)}


def names(definitions: Definitions) -> list[str]:
    """The names of all services, and GATEWAYS if there are some: of each there is one list of instances."""
    return sorted({GATEWAYS if each.kind else each.name for each in definitions.services.values()})


def alive(host: Host, index: int) -> dict[str, Any]:
    """The event that does nothing but renew the lease."""
    return host.event("Source Alive", index, {})


def gone(host: Host, index: int) -> dict[str, Any]:
    """The event that ends the lease."""
    return host.event("Source Alive", index, {}, lease_ns=0)


def is_known(definitions: Definitions, verdicts: Mapping[str, Verdict], name: str) -> bool:
    """Whether every check of every instance of the service `name` has a status."""
    return all(
        verdicts[check.id].status is not None
        for service in definitions.services.values()
        if _is_of(service, name)
        for check in definitions.checks_of(service.key)
    )


def statement(
    host: Host, definitions: Definitions, verdicts: Mapping[str, Verdict], name: str, index: int, now: float
) -> dict[str, Any]:
    """The event with all instances of the service `name` on this host, or of its gateways.

    `now` is the agent's clock in seconds. What was critical for its `deregister_critical_service_after` is left out.
    """
    instances = [
        {"Node": _node(host), "Service": _described(service, host), "Checks": checks}
        for service in definitions.services.values()
        if _is_of(service, name) and (checks := _checks(host, service, definitions, verdicts, now)) is not None
    ]
    said: dict[str, Any] = {"Namespace": DEFAULT_NAMESPACE, "Instances": instances}
    said |= {"Kind": "service", "Service": name} if name else {"Kind": "mesh-gateway"}
    return host.event("Service Health Changed", index, said)


def _is_of(service: ServiceDefinition, name: str) -> bool:
    return (GATEWAYS if service.kind else service.name) == name


def nothing(host: Host, name: str, index: int) -> dict[str, Any]:
    """The event that the host has no instance of the service `name` any more."""
    return statement(host, Definitions({}, {}), {}, name, index, 0.0)


def _node(host: Host) -> dict[str, Any]:
    return {"Node": host.node, "Address": host.address, "Datacenter": host.datacenter}


def _described(service: ServiceDefinition, host: Host) -> dict[str, Any]:
    """What gets the traffic: the sidecar, the gateway, or the service itself."""
    sidecar = service.connect.sidecar_service
    common = {
        "Tags": service.tags if sidecar is None or sidecar.tags is None else sidecar.tags,
        "Meta": dict((sidecar and sidecar.meta) or service.meta),
        "Weights": {"Passing": service.weights.passing, "Warning": service.weights.warning},
    }
    tagged = {
        name: each.model_dump(by_alias=True, exclude_defaults=True) for name, each in service.tagged_addresses.items()
    }
    if sidecar is None:
        kind = {"Kind": service.kind} if service.kind else {"Connect": {"Native": True}}
        return (
            common
            | kind
            | {
                "ID": service.key,
                "Service": service.name,
                "Address": service.address or host.address,
                "Port": service.port,
                "TaggedAddresses": tagged,
            }
        )
    return common | {
        "Kind": "connect-proxy",
        "ID": f"{service.key}-sidecar-proxy",
        "Service": f"{service.name}-sidecar-proxy",
        "Address": sidecar.address or service.address or host.address,
        "Port": sidecar.port,
        "Proxy": {
            "DestinationServiceName": service.name,
            "DestinationServiceID": service.key,
            "LocalServiceAddress": sidecar.proxy.local_service_address or "127.0.0.1",
            "LocalServicePort": sidecar.proxy.local_service_port or service.port,
            "Upstreams": [each.model_dump(by_alias=True, exclude_defaults=True) for each in sidecar.proxy.upstreams],
        },
    }


def _checks(
    host: Host, service: ServiceDefinition, definitions: Definitions, verdicts: Mapping[str, Verdict], now: float
) -> list[dict[str, Any]] | None:
    """The checks of an instance, None if it is to be left out."""
    found: list[dict[str, Any]] = []
    for check in definitions.checks_of(service.key):
        verdict = verdicts[check.id]
        if _is_over(check, verdict, now):
            return None
        of = {"ServiceID": service.key, "ServiceName": service.name} if check.service else {}
        found.append(
            of
            | {
                "Node": host.node,
                "CheckID": check.id,
                "Name": check.definition.name or check.id,
                "Notes": check.definition.notes,
                "Status": verdict.status,
                "Output": verdict.output,
            }
        )
    return found


def _is_over(check: Check, verdict: Verdict, now: float) -> bool:
    after = check.definition.deregister_critical_service_after / SECOND
    return bool(after) and verdict.critical_since is not None and now - verdict.critical_since >= after
