"""Caches parsed catalogs, once per version."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from pointsman.model.catalog import EMPTY, Catalog, read_catalog
from pointsman.model.instance import Instance
from pointsman.model.keys import service_in
from pointsman.model.stored import Damaged, NewerSchema, number, parse
from pointsman.store.protocol import Stored, StoreError

_KEPT = 4096


class CatalogReading:
    """One catalog at one etag, with the instances that count."""

    __slots__ = ("catalog", "etag", "instances", "serial")

    def __init__(self, key: str, catalog: Catalog, serial: int, etag: str | None) -> None:
        self.catalog = catalog
        self.serial = serial
        self.etag = etag
        service = service_in(key)
        self.instances: Sequence[Instance] = catalog.instances(service.name if service else "")


class CatalogReadings:
    """The parsed catalogs of a process, by key. Safe for several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, CatalogReading] = OrderedDict()
        self._lock = Lock()

    def read(self, key: str, stored: Stored | None) -> CatalogReading:
        """The catalog under `key` in `stored`. Raises StoreError if it is damaged."""
        etag = stored.etag if stored else None
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and kept.etag == etag:
            return kept
        if stored is None:
            return self.keep(key, EMPTY, 0, None)
        try:
            body = parse(stored.data)
            return self.keep(key, read_catalog(body), number(body, "serial"), etag)
        except (Damaged, NewerSchema) as error:
            raise StoreError(f"the catalog {stored.key} cannot be read: {error}") from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # Descriptions and checks were validated when they came in, so something changed them since.
            raise StoreError(f"the catalog {stored.key} cannot be read: {error!r}") from error

    def keep(self, key: str, catalog: Catalog, serial: int, etag: str | None) -> CatalogReading:
        """Remember a catalog that was read or written under `etag`."""
        reading = CatalogReading(key, catalog, serial, etag)
        with self._lock:
            self._kept[key] = reading
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return reading
