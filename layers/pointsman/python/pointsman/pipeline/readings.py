"""Reads catalogs, each version once."""

from collections.abc import Sequence
from dataclasses import dataclass

from pointsman.model.catalog import EMPTY, Catalog, Counting, counting, read_catalog
from pointsman.model.instance import Instance
from pointsman.model.keys import service_in
from pointsman.model.stored import Damaged, NewerSchema, number, parse
from pointsman.pipeline.kept import Kept
from pointsman.store.protocol import Stored, StoreError


@dataclass(frozen=True, slots=True)
class CatalogReading:
    """One catalog at one etag, with the instances that count."""

    catalog: Catalog
    serial: int
    etag: str | None
    counting: Counting

    @property
    def instances(self) -> Sequence[Instance]:
        """The instances that count."""
        return self.counting.instances


NO_CATALOG = CatalogReading(EMPTY, 0, None, Counting("", [], {}))


class CatalogReadings:
    """The parsed catalogs of a process, by key. Safe for several threads."""

    def __init__(self) -> None:
        self._kept = Kept[str, CatalogReading]()

    def read(self, key: str, stored: Stored | None) -> CatalogReading:
        """The catalog under `key` in `stored`. Raises StoreError if it is damaged."""
        if stored is None:
            return NO_CATALOG
        kept = self._kept.get(key)
        if kept is not None and kept.etag == stored.etag:
            return kept
        try:
            body = parse(stored.data)
            return self.keep(key, read_catalog(body), number(body, "serial"), etag=stored.etag, size=len(stored.data))
        except (Damaged, NewerSchema) as error:
            raise StoreError(f"the catalog {stored.key} cannot be read: {error}") from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # Descriptions and checks were validated when they came in, so something changed them since.
            raise StoreError(f"the catalog {stored.key} cannot be read: {error!r}") from error

    def keep(self, key: str, catalog: Catalog, serial: int, *, etag: str, size: int) -> CatalogReading:
        """Remember a catalog of `size` bytes that was read or written under `etag`."""
        before = self._kept.get(key)
        if before is not None:
            found = counting(catalog, before.counting.service, before.counting)
        else:
            service = service_in(key)
            found = counting(catalog, service.name if service else "")
        return self._kept.keep(key, CatalogReading(catalog, serial, etag, found), size)
