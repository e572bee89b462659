"""What a cluster is computed from: the instances, as the catalogs have them and the silent sources mark them, and the
orders."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from pointsman.chain.plan import Plan, SidecarPlan
from pointsman.failover.measured import Instances
from pointsman.failover.ordered import Frozen, ordered
from pointsman.failover.rank import NO_FACTS, Facts
from pointsman.model.instance import Instance
from pointsman.model.keys import datacenter_of, silence_key
from pointsman.model.lease import Silence, marked
from pointsman.model.orders import Order, Orders
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.orders import frozen_by, read_orders_object
from pointsman.pipeline.readings import CatalogReading
from pointsman.pipeline.silences import SilenceReading, read_silence_object
from pointsman.store import keys
from pointsman.store.protocol import Stored


class Found(NamedTuple):
    """What was read: `revisions` of all of it by its key, and `etags` in the order in which it was asked for (None:
    absent). `orders` are those in force, the newest last, with the `frozen` targets, `silences` those that are not
    empty, by datacenter."""

    revisions: Mapping[str, int]
    etags: tuple[str | None, ...]
    orders: tuple[Order, ...]
    frozen: Frozen
    catalogs: Mapping[str, CatalogReading]
    silences: Mapping[str, Silence]

    def facts(self, plan: Plan) -> Facts:
        """What else ranks the targets of `plan`, of which these are the inputs."""
        return ordered(plan, self.orders, self.frozen) if isinstance(plan, SidecarPlan) else NO_FACTS

    def instances(self) -> Instances:
        """The instances that count, by the keys of their catalogs, those of silent sources marked."""
        found: Mapping[str, Sequence[Instance]]
        found = {source: each.counting.instances for source, each in self.catalogs.items()}
        if not self.silences:
            return found
        return {
            source: marked(each, silence) if (silence := self.silences.get(datacenter_of(source))) else each
            for source, each in found.items()
        }


class InputReadings:
    """What several clusters are computed from, each object read once.

    `objects` are the stored objects, by their keys in the store.
    """

    def __init__(self, engine: Engine, objects: Mapping[str, Stored]) -> None:
        self._engine, self._objects = engine, objects
        self._catalogs: dict[str, CatalogReading] = {}
        self._silences: dict[str, SilenceReading] = {}
        self._orders: Orders | None = None

    def of(self, sources: Iterable[str], silences: Iterable[str], scopes: Collection[str] = ()) -> Found:
        """What was read of the catalogs with the keys `sources`, of the silent sources of the datacenters `silences`,
        and of the orders about `scopes`. Raises StoreError if one is damaged."""
        catalogs = {source: self._catalogs.get(source) or self._catalog(source) for source in sources}
        revisions = {source: each.catalog.revision for source, each in catalogs.items()}
        etags = [each.etag for each in catalogs.values()]
        silent: dict[str, Silence] = {}
        for datacenter in silences:
            reading = self._silences.get(datacenter) or self._silence(datacenter)
            etags.append(reading.etag)
            if reading.silence.revision:
                revisions[silence_key(datacenter)] = reading.silence.revision
            if reading.silence.sources:
                silent[datacenter] = reading.silence
        orders: tuple[Order, ...] = ()
        if scopes:
            known = self._all_orders()
            revisions |= known.revisions(scopes)
            orders = known.of(scopes)
        return Found(
            revisions,
            tuple(etags),
            orders,
            frozen_by(self._engine, orders),
            catalogs,
            silent,
        )

    def _all_orders(self) -> Orders:
        if self._orders is None:
            self._orders = read_orders_object(self._objects.get(keys.ORDERS)).orders
        return self._orders

    def _catalog(self, source: str) -> CatalogReading:
        stored = self._objects.get(keys.catalog(source))
        found = self._catalogs[source] = self._engine.readings.read(source, stored)
        return found

    def _silence(self, datacenter: str) -> SilenceReading:
        stored = self._objects.get(keys.silence(datacenter))
        found = self._silences[datacenter] = read_silence_object(datacenter, stored)
        return found
