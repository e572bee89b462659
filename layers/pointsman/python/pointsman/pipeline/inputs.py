"""What a cluster is computed from: the instances, as the catalogs have them and the silent sources mark them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pointsman.failover.measured import Instances
from pointsman.model.instance import Instance
from pointsman.model.keys import datacenter_of, silence_key
from pointsman.model.lease import Silence, marked
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.readings import CatalogReading
from pointsman.pipeline.silences import SilenceReading, read_silence_object
from pointsman.store import keys
from pointsman.store.protocol import Stored


@dataclass(frozen=True, slots=True)
class Found:
    """What was read: `revisions` of all of it by its key, and `etags` in the order in which it was asked for (None:
    absent)."""

    revisions: Mapping[str, int]
    etags: tuple[str | None, ...]
    _instances: Mapping[str, Sequence[Instance]]
    _silences: Mapping[str, Silence]

    def instances(self) -> Instances:
        """The instances that count, by the keys of their catalogs, those of silent sources marked."""
        if not self._silences:
            return self._instances
        return {
            source: marked(each, silence) if (silence := self._silences.get(datacenter_of(source))) else each
            for source, each in self._instances.items()
        }


class InputReadings:
    """What several clusters are computed from, each object read once.

    `objects` are the stored objects, by their keys in the store.
    """

    def __init__(self, engine: Engine, objects: Mapping[str, Stored]) -> None:
        self._engine, self._objects = engine, objects
        self._catalogs: dict[str, CatalogReading] = {}
        self._silences: dict[str, SilenceReading] = {}

    def of(self, sources: Iterable[str], silences: Iterable[str]) -> Found:
        """What was read of the catalogs with the keys `sources`, and of the silent sources of the datacenters
        `silences`. Raises StoreError if one is damaged."""
        catalogs = {source: self._catalog(source) for source in sources}
        revisions = {source: each.catalog.revision for source, each in catalogs.items()}
        etags = [each.etag for each in catalogs.values()]
        silent: dict[str, Silence] = {}
        for datacenter in silences:
            reading = self._silence(datacenter)
            etags.append(reading.etag)
            if reading.silence.revision:
                revisions[silence_key(datacenter)] = reading.silence.revision
            if reading.silence.sources:
                silent[datacenter] = reading.silence
        return Found(revisions, tuple(etags), {source: each.instances for source, each in catalogs.items()}, silent)

    def _catalog(self, source: str) -> CatalogReading:
        found = self._catalogs.get(source)
        if found is None:
            stored = self._objects.get(keys.catalog(source))
            found = self._catalogs[source] = self._engine.readings.read(source, stored)
        return found

    def _silence(self, datacenter: str) -> SilenceReading:
        found = self._silences.get(datacenter)
        if found is None:
            stored = self._objects.get(keys.silence(datacenter))
            found = self._silences[datacenter] = read_silence_object(datacenter, stored)
        return found
