"""Catalogs as they were read, parsed once per version."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import orjson

from pointsman.model.catalog import EMPTY, Catalog, read_catalog
from pointsman.model.instance import Instance
from pointsman.store.protocol import Stored, StoreError

_KEPT = 4096


class Reading:
    """One catalog at one etag, with the instances that count."""

    __slots__ = ("catalog", "etag", "instances", "serial")

    def __init__(self, key: str, catalog: Catalog, serial: int, etag: str | None) -> None:
        self.catalog = catalog
        self.serial = serial
        self.etag = etag
        parts = key.split("/")
        self.instances: Sequence[Instance] = catalog.instances(parts[2] if len(parts) == 3 else "")


class Readings:
    """The readings of a process, by catalog key. Safe for several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Reading] = OrderedDict()
        self._lock = Lock()

    def read(self, key: str, stored: Stored | None) -> Reading:
        """The catalog under `key` as `stored` has it. Raises StoreError if it is damaged."""
        etag = stored.etag if stored else None
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and kept.etag == etag:
            return kept
        if stored is None:
            return self.keep(key, EMPTY, 0, None)
        try:
            body = orjson.loads(stored.data)
            return self.keep(key, read_catalog(body), body["serial"], etag)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"the catalog {stored.key} cannot be read: {error!r}") from error

    def keep(self, key: str, catalog: Catalog, serial: int, etag: str | None) -> Reading:
        """Remember what was read or written under `etag`."""
        reading = Reading(key, catalog, serial, etag)
        with self._lock:
            self._kept[key] = reading
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return reading
