"""What is supposed to be down, and the instances as they would be then."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pointsman.failover.measured import Instances
from pointsman.model.errors import InvalidInput
from pointsman.model.instance import Instance
from pointsman.model.keys import datacenter_of, service_in
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_label


@dataclass(frozen=True, slots=True)
class Down:
    """A datacenter with all that runs there, its mesh gateways included, or one service there."""

    datacenter: str
    service: ServiceName | None = None

    def has(self, source: str) -> bool:
        """Whether the instances with the key `source` are down."""
        return datacenter_of(source) == self.datacenter and self.service in (None, service_in(source))

    def __str__(self) -> str:
        if self.service is None:
            return self.datacenter
        is_plain = self.service.namespace == DEFAULT_NAMESPACE
        return f"{self.datacenter}/{self.service.name if is_plain else self.service}"


def read_down(text: str) -> Down:
    """What `text` says is down: `dc1`, `dc1/web` or `dc1/namespace/web`. Raises InvalidInput."""
    datacenter, *service = text.split("/")
    if len(service) > 2 or not all(map(is_label, [datacenter, *service])):
        reason = "is no datacenter and no service in one: write dc1, dc1/web or dc1/namespace/web"
        raise InvalidInput.single("what is down", "", f'"{text}" {reason}')
    return Down(datacenter, ServiceName(*([DEFAULT_NAMESPACE, *service][-2:])) if service else None)


class Fallen:
    """Instances as they would be if what is `down` were: critical, as if their checks had failed.

    Each list is changed once, however many plans read it.
    """

    def __init__(self, down: Sequence[Down]) -> None:
        self._down = down
        self._critical: dict[str, tuple[Sequence[Instance], list[Instance]]] = {}

    def touches(self, sources: Iterable[str]) -> bool:
        """Whether instances with any of these keys are down."""
        return any(each.has(source) for each in self._down for source in sources)

    def of(self, instances: Instances) -> Instances:
        """`instances`, those that are down critical."""
        return {
            source: self._ill(source, each) if self.touches([source]) else each for source, each in instances.items()
        }

    def _ill(self, source: str, instances: Sequence[Instance]) -> list[Instance]:
        known = self._critical.get(source)
        if known is None or known[0] is not instances:
            ill = [replace(each, critical=True, all_passing=False, since=0) for each in instances]
            known = self._critical[source] = instances, ill
        return known[1]
