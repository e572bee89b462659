"""Reads what the mesh gateways of a datacenter forward to, each version once."""

from dataclasses import dataclass
from functools import cached_property

from pointsman.model.names import ServiceName
from pointsman.model.stored import Damaged, number, parse
from pointsman.pipeline.kept import Kept
from pointsman.pipeline.objects import number_beyond
from pointsman.store.protocol import Stored
from pointsman.xds.manifest import GatewaysManifest, read_manifest


@dataclass(frozen=True)
class RosterReading:
    """A roster as it was read (None: there is none, or it cannot be read), with its serial and etag."""

    manifest: GatewaysManifest | None
    serial: int
    etag: str | None

    def covers(self, service: ServiceName | None, remote: str) -> bool:
        """Whether the gateways already know the service (None: the gateways of the datacenter `remote`)."""
        if self.manifest is None or self.manifest.retired:
            return False
        return str(service) in self._services if service is not None else remote in self.manifest.datacenters

    @cached_property
    def _services(self) -> frozenset[str]:
        return frozenset(self.manifest.services if self.manifest else ())


class RosterReadings:
    """The parsed rosters of a process. Safe for several threads."""

    def __init__(self) -> None:
        self._kept = Kept[str, RosterReading]()

    def read(self, stored: Stored | None, now: str) -> RosterReading:
        """The roster in `stored`. Raises NewerSchema if a newer Pointsman wrote it."""
        if stored is None:
            return RosterReading(None, 0, None)
        kept = self._kept.get(stored.key)
        if kept is not None and kept.etag == stored.etag:
            return kept
        try:
            body = parse(stored.data)
            manifest, serial = read_manifest(body), number(body, "serial")
        except Damaged:
            return RosterReading(None, number_beyond(now), stored.etag)
        reading = RosterReading(manifest if isinstance(manifest, GatewaysManifest) else None, serial, stored.etag)
        return self._kept.keep(stored.key, reading, len(stored.data))
