"""Reads, verifies and caches immutable objects; seals mutable ones."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, TypeVar

from pointsman.model.canonical import canonical, digest
from pointsman.model.stored import Damaged, Kind, NewerSchema, check_kind, parse
from pointsman.store import keys
from pointsman.store.protocol import Store, StoreError, Write, Written

_KEPT = 8192

WRITTEN_AT_ONCE_BYTES = 1024 * 1024
"""Bytes of config objects that one write makes: it keeps other writers of a file waiting for some ten milliseconds."""

_Made = TypeVar("_Made")


@dataclass(eq=False, slots=True)
class _Object:
    """One object, parsed, and what was made of it, by the names of the parts."""

    value: Any
    made: dict[str, Any] = field(default_factory=dict)


class ObjectCache:
    """The config's content-addressed objects, parsed. Safe for several threads."""

    def __init__(self, store: Store, *, most: int = _KEPT) -> None:
        """Cache the objects of `store`, at most the `most` that were read last."""
        self._store = store
        self._most = most
        self._kept: OrderedDict[str, _Object] = OrderedDict()
        self._lock = Lock()

    def get_many(self, digests: Iterable[str], kind: Kind) -> dict[str, Any]:
        """The objects under `digests`, parsed. Raises StoreError if one is missing, damaged or not of this `kind`."""
        return {name: each.value for name, each in self._keep(self._read(digests, kind)).items()}

    def read(self, digests: Iterable[str], kind: Kind) -> dict[str, Any]:
        """As `get_many`, for objects that need not be kept."""
        return {name: each.value for name, each in self._read(digests, kind).items()}

    def _read(self, digests: Iterable[str], kind: Kind) -> dict[str, _Object]:
        wanted = list(dict.fromkeys(digests))
        with self._lock:
            found = {name: self._kept[name] for name in wanted if name in self._kept}
        missing = [name for name in wanted if name not in found]
        read = self._store.get_many([keys.config_object(name) for name in missing]) if missing else {}
        for name in missing:
            stored = read.get(keys.config_object(name))
            if stored is None or digest(stored.data) != name:
                what = "is missing" if stored is None else "does not have the content that its name promises"
                raise StoreError(f"the config object {name} {what}; restore it, or roll the config back")
            try:
                found[name] = _Object(check_kind(parse(stored.data), kind))
            except (Damaged, NewerSchema) as error:
                raise StoreError(f"the config object {name} cannot be read: {error}") from None
        return found

    def _keep(self, found: dict[str, _Object]) -> dict[str, _Object]:
        with self._lock:
            for name, each in found.items():
                self._kept[name] = each
                self._kept.move_to_end(name)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found

    def get(self, name: str, kind: Kind) -> Any:
        """One object, parsed."""
        return self.get_many([name], kind)[name]

    def made(self, name: str, kind: Kind, part: str, make: Callable[[Any], _Made]) -> _Made:
        """What `make` makes of one object, kept as `part` for as long as the object is.

        `make` has to be a function of the object and `part` alone.
        """
        with self._lock:
            kept = self._kept.get(name)
            if kept is not None:
                self._kept.move_to_end(name)
        if kept is None:
            kept = self._keep(self._read([name], kind))[name]
        if part not in kept.made:
            kept.made[part] = make(kept.value)
        made: _Made = kept.made[part]
        return made

    def put_many(self, objects: Mapping[str, bytes]) -> None:
        """Write objects by their digests; existing ones are the same by definition."""
        writes = [Write(keys.config_object(name), data, None) for name, data in sorted(objects.items())]
        put_in_portions(self._store, writes)


def put_in_portions(store: Store, writes: Iterable[Write]) -> list[Written]:
    """As `put_many` of the store, with the outcomes in order.

    At most WRITTEN_AT_ONCE_BYTES and one object more are written together, so that other writers of a file get their
    turn.
    """
    out: list[Written] = []
    part: list[Write] = []
    size = 0
    for write in writes:
        part.append(write)
        size += len(write.data)
        if size >= WRITTEN_AT_ONCE_BYTES:
            out += store.put_many(part)
            part, size = [], 0
    return out + (store.put_many(part) if part else [])


def number_beyond(now: str) -> int:
    """A version or serial greater than any that an object with a lost one can have had, at `now` (RFC 3339).

    It is the seconds since 1970: no object changes every second for that long.
    """
    return int(datetime.fromisoformat(now).timestamp())


def seal(body: Mapping[str, Any], serial: int, nonce: str) -> bytes:
    """The bytes of a mutable object: its body, its serial and the nonce of this write. Raises StoreError.

    A body that was read may be too deep to be written again.
    """
    try:
        return canonical({**body, "serial": serial, "nonce": nonce})
    except TypeError as error:
        raise StoreError(f"a {body.get('kind', 'body')} cannot be written: {error}") from None
