"""A large map kept as immutable, content-addressed buckets: a change writes only the buckets that it touches."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pointsman.model.canonical import canonical, digest
from pointsman.model.stored import Kind, tagged

_PER_BUCKET = 32
_MAX_BITS = 12

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shards:
    """The buckets of a map: 2**bits of them, by number; empty ones have no digest."""

    bits: int
    buckets: Mapping[int, str]

    def json(self) -> dict[str, Any]:
        """As JSON values, as in a root."""
        return {"bits": self.bits, "buckets": {str(number): name for number, name in self.buckets.items()}}

    @classmethod
    def of_json(cls, body: Body) -> "Shards":
        """The inverse of `json`."""
        return cls(body["bits"], {int(number): name for number, name in body["buckets"].items()})

    def digest_for(self, key: str) -> str | None:
        """The digest of the bucket for `key`; None if that is empty."""
        return self.buckets.get(_bucket(key, self.bits))


EMPTY = Shards(0, {})


def _bits_for(count: int) -> int:
    return min(max(0, (count // _PER_BUCKET).bit_length()), _MAX_BITS)


def _bucket(key: str, bits: int) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) >> (32 - bits)


def write_map(
    whole: Mapping[str, Any], changed: Iterable[str], old: Shards, encode: Callable[[str, Any], Any]
) -> tuple[Shards, dict[str, bytes]]:
    """The shards of `whole`, and the new objects by digest.

    `changed` are the keys (added, replaced or removed) that differ from the map in `old`. `encode` turns a key's value
    into JSON values; it is called only for values in touched buckets.
    """
    bits = _bits_for(len(whole))
    if bits == old.bits:
        touched = {_bucket(key, bits) for key in changed}
        buckets = dict(old.buckets)
    else:
        touched, buckets = set(range(2**bits)), {}
    if not touched:
        return old, {}
    contents: dict[int, dict[str, Any]] = {number: {} for number in touched}
    for key, value in whole.items():
        number = _bucket(key, bits)
        if number in contents:
            contents[number][key] = encode(key, value)
    objects: dict[str, bytes] = {}
    for number, content in contents.items():
        buckets.pop(number, None)
        if content:
            data = canonical(tagged(Kind.CONFIG_MAP, {"values": content}))
            buckets[number] = digest(data)
            objects[buckets[number]] = data
    return Shards(bits, dict(sorted(buckets.items()))), objects
