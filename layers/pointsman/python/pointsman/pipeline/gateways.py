"""The mesh gateways that are known, where other datacenters reach them."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from pointsman.model.keys import gateways_key
from pointsman.pipeline.config import load_root
from pointsman.pipeline.engine import Engine
from pointsman.store import keys

MOST_SHOWN: Final = 1_000
"""Gateways that are shown."""


@dataclass(frozen=True, order=True, slots=True)
class KnownGateway:
    """A mesh gateway of which events tell: its id and node, and where other datacenters reach it."""

    datacenter: str
    id: str
    node: str
    address: str
    port: int

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def known_gateways(engine: Engine) -> list[KnownGateway]:
    """The gateways of all datacenters in which one is registered, in order, at most MOST_SHOWN. Raises StoreError."""
    root = load_root(engine.objects, engine.refresh().root)
    wanted = {gateways_key(datacenter): datacenter for datacenter in root.gateways}
    stored = engine.store.get_many([keys.catalog(each) for each in wanted])
    found = [
        KnownGateway(datacenter, _name(each.raw, "Service", "ID"), _name(each.raw, "Node", "Node"), *each.remote)
        for source, datacenter in wanted.items()
        for each in engine.readings.read(source, stored.get(keys.catalog(source))).instances
    ]
    return sorted(found)[:MOST_SHOWN]


def _name(raw: Any, part: str, field: str) -> str:
    return str(raw.get(part, {}).get(field, ""))
