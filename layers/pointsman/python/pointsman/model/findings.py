"""Findings: what does not fit together in what Pointsman is told, each with what to do about it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from pointsman.model.instance import Instance
from pointsman.model.keys import datacenter_of, gateways_key, is_gateways_key, service_in, service_key
from pointsman.model.names import GATEWAY_PATHS, is_ip
from pointsman.model.trouble import Trouble, What

if TYPE_CHECKING:
    from pointsman.model.registration import Registration

_EVERY_ADDRESS: Final = ("", "0.0.0.0", "::")


class Severity(StrEnum):
    """How much a finding matters: a `warning` needs somebody, a `note` may be as it is meant."""

    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` was found (a word for programs) `where` (a key, or the datacenter and the name of a source); what it
    `says`, and what to `do`, as sentences."""

    what: str
    severity: Severity
    where: str
    says: str
    do: str

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "what": self.what,
            "severity": self.severity.value,
            "where": self.where,
            "says": self.says,
            "do": self.do,
        }


@dataclass(frozen=True, slots=True)
class Told:
    """What Pointsman is told, and by whom.

    `registrations` are by their keys. `health` has, by the keys of catalogs, the instances that can get traffic.
    `called` are the keys of the catalogs that some cluster is computed from. `silent` are the sources that are silent,
    as (datacenter, source, since), `troubles` what was wrong with what sources sent. `cut` are the places of mesh
    gateways that nobody in a datacenter reaches, as (datacenter, address, port).
    """

    registrations: "Mapping[str, Registration]"
    health: Mapping[str, Sequence[Instance]]
    called: Collection[str]
    silent: Iterable[tuple[str, str, str]] = ()
    troubles: Iterable[Trouble] = ()
    cut: Iterable[tuple[str, str, int]] = ()


def findings(told: Told) -> list[Finding]:
    """What does not fit together, the warnings first."""
    found = [
        *(_trouble(each) for each in told.troubles),
        *(_silent(*each) for each in told.silent),
        *(_cut(datacenter, (address, port)) for datacenter, address, port in told.cut),
        *_elsewhere(told),
        *_unheard(told),
        *_unregistered(told),
    ]
    return sorted(found, key=lambda each: (each.severity is Severity.NOTE, each.where, each.what, each.says))


_WAYS_OUT: Final[Mapping[What, tuple[Severity, str]]] = {
    What.STALE: (
        Severity.NOTE,
        "a few are normal where events come late; if all of a source are stale, raise its Epoch (docs/events.md#stale)",
    ),
    What.DOUBTED: (Severity.WARNING, "correct the producer, then raise its Epoch (docs/events.md#order)"),
    What.SHARED: (Severity.WARNING, "give each producer a Source of its own (docs/events.md#two-producers-one-name)"),
}


def _trouble(trouble: Trouble) -> Finding:
    severity, do = _WAYS_OUT[trouble.what]
    where = f"{trouble.datacenter} {trouble.source}"
    return Finding(trouble.what.value, severity, where, f"{trouble.words} (last at {trouble.last})", do)


def _silent(datacenter: str, source: str, since: str) -> Finding:
    says = f'"{source}" was not heard for its lease, and is silent since {since}'
    do = f"does it run? If it is gone for good: pointsman source forget {source} --dc {datacenter}"
    return Finding("silent", Severity.WARNING, f"{datacenter} {source}", says, do)


def _cut(datacenter: str, place: tuple[str, int]) -> Finding:
    says = f"nobody in {datacenter} reaches the mesh gateway at {_place(place)}"
    do = f"is the path cut, or the gateway dead? Who says so: pointsman instances {GATEWAY_PATHS} --dc {datacenter}"
    return Finding("cut", Severity.WARNING, f"{datacenter} {_place(place)}", says, do)


def _catalog_of(registration: "Registration") -> str:
    if registration.is_gateway:
        return gateways_key(registration.datacenter)
    return service_key(registration.datacenter, registration.destination)


def _elsewhere(told: Told) -> Iterator[Finding]:
    """Instances whose registration says another address or port than their health."""
    for key, registration in sorted(told.registrations.items()):
        address, port = registration.listen
        for instance in told.health.get(_catalog_of(registration), ()):
            node, id_ = _name(instance)
            if id_ != registration.service.id or (registration.node and node != registration.node):
                continue
            if not is_ip(instance.local[0]):
                continue  # a load balancer's name; what the gateway itself listens on is another thing
            there = (address if address not in _EVERY_ADDRESS else instance.local[0], port or instance.local[1])
            if instance.local != there:
                says = (
                    f'"{id_}" is registered at {_place(there)}, and "{instance.source}" tells of its health at '
                    f"{_place(instance.local)}, where Envoys connect"
                )
                yield Finding("elsewhere", Severity.WARNING, key, says, "correct whichever of the two is wrong")


def _unheard(told: Told) -> Iterator[Finding]:
    """Registrations of services that somebody calls, and of gateways, of which nobody tells."""
    seen: set[str] = set()
    for key, registration in sorted(told.registrations.items()):
        catalog = _catalog_of(registration)
        if told.health.get(catalog) or catalog in seen or (catalog not in told.called):
            continue
        seen.add(catalog)
        what = "a mesh gateway" if registration.is_gateway else f'"{registration.destination.name}"'
        says = (
            f"{what} is registered in {registration.datacenter}, and nobody tells of its health, so it gets no traffic"
        )
        yield Finding("unheard", Severity.NOTE, key, says, "send events about it, or delete the registration")


def _unregistered(told: Told) -> Iterator[Finding]:
    """Services and gateways of which somebody tells and that nobody registered, in datacenters that have registrations:
    without any, another control plane has them."""
    datacenters = {each.datacenter for each in told.registrations.values()}
    registered = {_catalog_of(each) for each in told.registrations.values()}
    for catalog, instances in sorted(told.health.items()):
        datacenter = datacenter_of(catalog)
        if catalog in registered or datacenter not in datacenters or all(map(_is_native, instances)):
            continue
        service = service_in(catalog)
        if service is None and not is_gateways_key(catalog):
            continue
        what = "mesh gateways" if service is None else f'the sidecars of "{service.name}"'
        sources = ", ".join(sorted({each.source for each in instances})[:3])
        says = f"{what} in {datacenter} are told of by {sources} and not registered, so their Envoys get nothing here"
        yield Finding("unregistered", Severity.NOTE, catalog, says, "register them, if their Envoys are to fetch here")


def _name(instance: Instance) -> tuple[str, str]:
    return (instance.raw.get("Node") or {}).get("Node") or "", (instance.raw.get("Service") or {}).get("ID") or ""


def _is_native(instance: Instance) -> bool:
    return bool(((instance.raw.get("Service") or {}).get("Connect") or {}).get("Native"))


def _place(place: tuple[str, int]) -> str:
    address, port = place
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
