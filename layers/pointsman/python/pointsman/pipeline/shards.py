"""A large map kept as immutable, content-addressed buckets: a change writes only the buckets that it touches."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PER_BUCKET = 32
_MAX_BITS = 12

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shards:
    """The buckets of a map with `count` keys: 2**bits of them, by number; empty ones have no digest."""

    bits: int
    count: int
    buckets: Mapping[int, str]

    def json(self) -> dict[str, Any]:
        """As JSON values, as in a root."""
        return {
            "bits": self.bits,
            "count": self.count,
            "buckets": {str(number): name for number, name in self.buckets.items()},
        }

    @classmethod
    def of_json(cls, body: Body) -> "Shards":
        """The inverse of `json`."""
        return cls(body["bits"], body["count"], {int(number): name for number, name in body["buckets"].items()})

    def digest_for(self, key: str) -> str | None:
        """The digest of the bucket for `key`; None if that is empty."""
        return self.buckets.get(bucket_of(key, self.bits))


EMPTY = Shards(0, 0, {})


def bits_for(count: int) -> int:
    """The bits of a map with so many keys."""
    return min(max(0, (count // _PER_BUCKET).bit_length()), _MAX_BITS)


def bucket_of(key: str, bits: int) -> int:
    """The number of the bucket for `key` in a map of 2**bits buckets."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) >> (32 - bits)
