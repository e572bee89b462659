"""The registrations of an import: one for all instances of a service in a datacenter, one for each mesh gateway."""

from collections import Counter
from typing import Any, Final

from pointsman.importers.consul_units import INSTANCES, Unit
from pointsman.importers.pieces import Ledger, Piece
from pointsman.model.canonical import canonical
from pointsman.model.complaints import brief
from pointsman.model.names import is_identifier
from pointsman.model.registration import Registration, parse_registration, registration_json
from pointsman.model.shape import bare

JSON = dict[str, Any]

_ONCE: Final = "import only what holds"
_ALIKE: Final = "make the sidecars of a service in a datacenter alike, or give those that differ another service's name"


class Sidecars:
    """Collects registrations as Consul has them, one for each instance."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._of: dict[str, list[tuple[Registration, Unit]]] = {}

    def add(self, registration: Registration, unit: Unit) -> None:
        """Add one instance."""
        key = registration.key
        if registration.is_gateway:  # whose ids are those of a node in Consul
            key = f"{key}/{registration.node}"
        self._of.setdefault(key, []).append((registration, unit))

    def instances(self) -> list[Registration]:
        """All that were added."""
        return [each for found in self._of.values() for each, _ in found]

    def registrations(self) -> list[Registration]:
        """The registrations that come of it; tells the ledger of all that was added."""
        ids = Counter(found[0][0].key for found in self._of.values() if found[0][0].is_gateway)
        made = []
        for found in self._of.values():
            first = found[0][0]
            if first.is_gateway and ids[first.key] > 1:
                found = [(self._with_own_id(each, where), where) for each, where in found]
            made.append(self._one(found))
        return sorted(made, key=lambda each: each.key)

    def _with_own_id(self, gateway: Registration, unit: Unit) -> Registration:
        """A gateway whose id is that of another one, too, on another node."""
        wanted = f"{gateway.node}-{gateway.service.id}"
        if not gateway.node or not is_identifier(wanted):
            return gateway
        self._ledger.remark(
            unit.whole, f'"{brief(gateway.service.id)}" is the ID of several gateways, and this one is {wanted} here'
        )
        return gateway.model_copy(update={"service": gateway.service.model_copy(update={"id": wanted})})

    def _one(self, found: list[tuple[Registration, Unit]]) -> Registration:
        """What most of them say; the others are named."""
        said = [(_essence(each), each, unit) for each, unit in found]
        most = Counter(canonical(essence) for essence, _, _ in said).most_common(1)[0][0]
        same = [(essence, each, unit) for essence, each, unit in said if canonical(essence) == most]
        registration = _common([registration_json(each) for _, each, _ in same])
        essential, _, model = same[0]
        for essence, each, unit in said:
            if canonical(essence) != most:
                fields = ", ".join(_differing(essence, essential))
                where = f"{model.whole.file} {model.whole.path}".rstrip()
                reason = f"its {fields} is not what most say of {each.key}, as {where}"
                self._ledger.name(unit.whole, reason, _ONCE if each.is_gateway else _ALIKE)
        for _, _, unit in same:
            self._tell(unit, registration)
        return registration

    def _tell(self, unit: Unit, registration: Registration) -> None:
        kept = registration_json(registration)
        for key, piece in unit.body.value.items():
            if bare(key) != "service":
                self._decide(piece, key, kept, registration)
        services = unit.body.value["Service"].value
        for service in services if isinstance(services, list) else [unit.body.value["Service"]]:
            for key, piece in service.value.items():
                self._decide(piece, key, kept["Service"], registration)

    def _decide(self, piece: Piece, key: str, kept: JSON, registration: Registration) -> None:
        if any(each == key or bare(each) == bare(key) for each in kept) or bare(key) in ("kind", "proxy"):
            self._ledger.convert(piece, f"registration {registration.key}")
        else:
            self._ledger.pass_over(piece, INSTANCES)


def _essence(registration: Registration) -> JSON:
    """What all that have one registration have in common: of sidecars the proxy, without the instance that it stands
    beside."""
    whole = registration_json(registration)
    if registration.is_gateway:
        return {**whole, **whole["Service"]}
    return {key: each for key, each in whole["Service"].get("Proxy", {}).items() if key != "DestinationServiceID"}


def _common(all_of_them: list[JSON]) -> Registration:
    """What all say."""
    return parse_registration(_intersection(all_of_them))


def _intersection(found: list[JSON]) -> JSON:
    out = {}
    for key, value in found[0].items():
        if isinstance(value, dict) and key in ("Service", "Proxy"):
            out[key] = _intersection([each.get(key, {}) for each in found])
        elif all(each.get(key) == value for each in found):
            out[key] = value
    return out


def _differing(one: JSON, other: JSON) -> list[str]:
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
