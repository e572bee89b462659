"""Reads, verifies and caches immutable objects; seals mutable ones."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

from pointsman.model.canonical import canonical, digest
from pointsman.model.stored import Damaged, Kind, NewerSchema, check_kind, parse
from pointsman.pipeline.kept import Kept
from pointsman.store import keys
from pointsman.store.protocol import Store, StoreError, Write, Written

MOST_OBJECT_BYTES: Final = 64 * 1024 * 1024
"""Bytes, as stored, of the config objects that a process keeps: what events read of a config of 20,000 resolvers in
three datacenters. What is made of them takes several times that."""

WRITTEN_AT_ONCE_BYTES = 1024 * 1024
"""Bytes of config objects that one write makes: it keeps other writers of a file waiting for some ten milliseconds."""

_Made = TypeVar("_Made")


@dataclass(eq=False, slots=True)
class _Object:
    """One object, its content if that is kept too, and what was made of it, by the names of the parts."""

    data: bytes
    content: Any = None
    made: dict[str, Any] = field(default_factory=dict)

    def parsed(self) -> Any:
        """Its content."""
        return parse(self.data) if self.content is None else self.content


class ObjectCache:
    """The config's content-addressed objects, parsed. Safe for several threads."""

    def __init__(self, store: Store, *, most_bytes: int | None = None) -> None:
        """Cache the objects of `store` that were read last, at most so many bytes of them (MOST_OBJECT_BYTES)."""
        self._store = store
        self._kept = Kept[str, _Object](MOST_OBJECT_BYTES if most_bytes is None else most_bytes)

    def get_many(self, digests: Iterable[str], kind: Kind) -> dict[str, Any]:
        """The objects under `digests`, parsed. Raises StoreError if one is missing, damaged or not of this `kind`."""
        found = self._read(digests, kind)
        for name, each in found.items():
            each.content = each.parsed()
            self._kept.keep(name, each, len(each.data))
        return {name: each.content for name, each in found.items()}

    def read(self, digests: Iterable[str], kind: Kind) -> dict[str, Any]:
        """As `get_many`, for objects that need not be kept."""
        return {name: each.parsed() for name, each in self._read(digests, kind).items()}

    def _read(self, digests: Iterable[str], kind: Kind) -> dict[str, _Object]:
        """The objects under `digests`; those that were not kept with their content."""
        found: dict[str, _Object] = {}
        missing: list[str] = []
        for name in dict.fromkeys(digests):
            if (kept := self._kept.get(name)) is not None:
                found[name] = kept
            else:
                missing.append(name)
        read = self._store.get_many([keys.config_object(name) for name in missing]) if missing else {}
        for name in missing:
            stored = read.get(keys.config_object(name))
            if stored is None or digest(stored.data) != name:
                what = "is missing" if stored is None else "does not have the content that its name promises"
                raise StoreError(f"the config object {name} {what}; restore it, or roll the config back")
            try:
                found[name] = _Object(stored.data, check_kind(parse(stored.data), kind))
            except (Damaged, NewerSchema) as error:
                raise StoreError(f"the config object {name} cannot be read: {error}") from None
        return found

    def get(self, name: str, kind: Kind) -> Any:
        """One object, parsed."""
        return self.get_many([name], kind)[name]

    def made(self, name: str, kind: Kind, part: str, make: Callable[[Any], _Made]) -> _Made:
        """What `make` makes of one object, kept as `part` for as long as the object is.

        `make` has to be a function of the object and `part` alone.
        """
        kept = self._kept.get(name)
        if kept is not None and part in kept.made:
            known: _Made = kept.made[part]
            return known
        found = kept or self._read([name], kind)[name]
        made = found.made[part] = make(found.parsed())
        if kept is None:
            # The content would take seven times as much room as the bytes, and few parts are asked for.
            found.content = None
            self._kept.keep(name, found, len(found.data))
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
