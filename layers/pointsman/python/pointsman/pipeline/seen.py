"""What adapters saw of their Envoys: written into the store, and read from it."""

import logging
from collections.abc import Iterator
from typing import Final, NamedTuple

from pointsman.model.seen import GONE_SECONDS, Seen, read_seen, seen_json
from pointsman.model.stored import Damaged, NewerSchema, parse
from pointsman.pipeline.objects import number_beyond, seal
from pointsman.store import keys
from pointsman.store.protocol import Store, Write

MOST_ADAPTERS: Final = 1000
"""Adapters whose Envoys are read: those that wrote last."""

_log = logging.getLogger(__name__)


class Told(NamedTuple):
    """What an adapter saw, and when it wrote that, in seconds since 1970 by the store's clock."""

    seen: Seen
    written: float


def write_seen(store: Store, adapter: str, seen: Seen, nonce: str, etag: str | None) -> str | None:
    """Write what the adapter with the id `adapter` saw, over what it wrote with `etag`. Returns the new etag, None if
    another process writes under this id at the same time. Raises StoreError."""
    key = keys.seen(adapter)
    # Retention may have removed the one before, so a number that none had.
    data = seal(seen_json(seen), number_beyond(seen.at), nonce)
    written = store.put(Write(key, data, etag))
    if written.etag is None:
        stored = store.get(key)
        written = store.put(Write(key, data, stored.etag if stored else None))
    return written.etag


def told_by_adapters(store: Store, now: float) -> Iterator[Told]:
    """What the adapters saw that wrote within GONE_SECONDS; `now` is in seconds since 1970. Raises StoreError.

    What is damaged, or was written by a newer Pointsman, is left out with a line in the log.
    """
    listed = [each for each in store.list(keys.SEEN) if now - each.written <= GONE_SECONDS]
    written = {each.key: each.written for each in sorted(listed, key=lambda each: each.written)[-MOST_ADAPTERS:]}
    for key, stored in sorted(store.get_many(list(written)).items()):
        try:
            yield Told(read_seen(parse(stored.data)), written[key])
        except (Damaged, NewerSchema) as error:
            _log.warning("%s is left out: %s", key, error)
