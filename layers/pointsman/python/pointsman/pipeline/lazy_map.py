"""A map of a config: what is asked for is read and decoded; the rest stays in the store."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar

from pointsman.model.canonical import canonical, digest
from pointsman.model.stored import Kind, tagged
from pointsman.pipeline.codecs import Codec
from pointsman.pipeline.objects import ObjectCache
from pointsman.pipeline.shards import Shards, bits_for, bucket_of

_K = TypeVar("_K")
_V = TypeVar("_V")

READ_AT_ONCE = 64
"""Buckets that are read together where all are wanted: each has a few dozen values."""


class LazyMap(Mapping[_K, _V], Generic[_K, _V]):
    """The map in `shards`, in the order of its keys as texts. It never changes; safe for several threads."""

    __slots__ = ("_all", "_buckets", "_codec", "_objects", "_whole", "shards")

    def __init__(self, objects: ObjectCache, shards: Shards, codec: Codec[_K, _V]) -> None:
        self.shards = shards
        self._objects, self._codec = objects, codec
        # What is decoded so far, by the digest of its bucket; the buckets that are decoded as a whole; and the whole
        # map, once it was asked for.
        self._buckets: dict[str, dict[_K, _V]] = {}
        self._whole: set[str] = set()
        self._all: dict[_K, _V] | None = None

    def share(self, other: "LazyMap[_K, _V]") -> None:
        """Take over what another state of the map has decoded of the buckets that both have."""
        names = set(self.shards.buckets.values())
        self._whole |= other._whole & names
        self._buckets = {name: other._buckets[name] for name in names & other._buckets.keys()} | self._buckets

    def __getitem__(self, key: _K) -> _V:
        if self._all is not None:
            return self._all[key]
        name = self._codec.name_of(key)
        where = self._where(name)
        if where is None:
            raise KeyError(key)
        bucket = self._buckets.setdefault(where, {})
        if key not in bucket and where not in self._whole:
            bucket[key] = self._codec.decode(key, self._objects.get(where, Kind.CONFIG_MAP)["values"][name])
        return bucket[key]

    def __iter__(self) -> Iterator[_K]:
        if self._all is None:
            found = self._values(self.shards.buckets.values())
            self._all = dict(sorted(found.items(), key=lambda item: self._codec.name_of(item[0])))
        return iter(self._all)

    def __len__(self) -> int:
        return self.shards.count

    def keys_alone(self) -> Iterator[_K]:
        """All keys, in no order, without decoding values."""
        if self._all is not None:
            yield from self._all
            return
        yield from (self._codec.key_of(name) for name, _ in self.stored())

    def stored(self) -> Iterator[tuple[str, Any]]:
        """All values as they are stored, each with its key as a text, in no order."""
        left = iter(self.shards.buckets.values())
        while names := list(islice(left, READ_AT_ONCE)):
            for content in self._objects.read(names, Kind.CONFIG_MAP).values():
                yield from content["values"].items()

    def read_ahead(self, keys: Iterable[_K]) -> None:
        """Read what is asked for soon, in one go."""
        if self._all is None:
            places = {key: self._where(self._codec.name_of(key)) for key in keys}
            wanted = {where for key, where in places.items() if where and key not in self._buckets.get(where, ())}
            self._objects.get_many(sorted(wanted - self._whole), Kind.CONFIG_MAP)

    def differing(self, other: "LazyMap[_K, _V]") -> set[_K]:
        """The keys that this map and the other do not have with the same value. Reads only buckets that differ."""
        ours, theirs = set(self.shards.buckets.values()), set(other.shards.buckets.values())
        same = ours & theirs if self.shards.bits == other.shards.bits else set[str]()
        here, there = self._values(ours - same), other._values(theirs - same)
        return {key for key in here.keys() | there.keys() if here.get(key) != there.get(key)}

    def after(self, changed: Mapping[_K, _V | None]) -> "tuple[LazyMap[_K, _V], dict[str, bytes]]":
        """This map after `changed` (None: deleted), and the objects to write for it, by digest."""
        if not changed:
            return self, {}
        count = len(self) + sum((value is not None) - (key in self) for key, value in changed.items())
        shards = Shards(bits_for(count), count, {})
        numbers = {key: self._number(self._codec.name_of(key), shards.bits) for key in changed}
        contents, decoded = self._contents(shards.bits, set(numbers.values()))
        for key, number in numbers.items():
            content, values = contents.setdefault(number, {}), decoded.setdefault(number, {})
            if (value := changed[key]) is None:
                content.pop(self._codec.name_of(key), None)
                values.pop(key, None)
            else:
                content[self._codec.name_of(key)] = self._codec.encode(key, value)
                values[key] = value
        buckets = dict(self.shards.buckets) if shards.bits == self.shards.bits else {}
        objects: dict[str, bytes] = {}
        for number, content in contents.items():
            buckets.pop(number, None)
            if content:
                data = canonical(tagged(Kind.CONFIG_MAP, {"values": content}))
                buckets[number] = digest(data)
                objects[buckets[number]] = data
        after = LazyMap(self._objects, Shards(shards.bits, count, dict(sorted(buckets.items()))), self._codec)
        after._buckets = {buckets[number]: values for number, values in decoded.items() if number in buckets}
        after._whole = {
            buckets[number] for number in decoded.keys() & buckets if len(decoded[number]) == len(contents[number])
        }
        after.share(self)
        known = set(self.shards.buckets.values())
        return after, {name: data for name, data in objects.items() if name not in known}

    def _contents(self, bits: int, numbers: Iterable[int]) -> tuple[dict[int, dict[str, Any]], dict[int, dict[_K, _V]]]:
        """The buckets with these numbers (all, if there have to be 2**`bits` and are not): their content, and what of
        it is decoded."""
        if bits != self.shards.bits:
            contents: dict[int, dict[str, Any]] = {}
            for body in self._objects.read(self.shards.buckets.values(), Kind.CONFIG_MAP).values():
                for name, value in body["values"].items():
                    contents.setdefault(self._number(name, bits), {})[name] = value
            return contents, {}
        there = {number: self.shards.buckets[number] for number in numbers if number in self.shards.buckets}
        found = self._objects.read((where for where in there.values() if where not in self._whole), Kind.CONFIG_MAP)
        decoded = {number: dict(self._buckets.get(where, {})) for number, where in there.items()}
        return {
            number: dict(found[where]["values"]) if where in found else self._encoded(decoded[number])
            for number, where in there.items()
        }, decoded

    def _encoded(self, bucket: Mapping[_K, _V]) -> dict[str, Any]:
        return {self._codec.name_of(key): self._codec.encode(key, value) for key, value in bucket.items()}

    def _values(self, digests: Iterable[str]) -> dict[_K, _V]:
        """All of these buckets, decoded."""
        wanted = list(digests)
        left = (where for where in wanted if where not in self._whole)
        while names := list(islice(left, READ_AT_ONCE)):
            for where, content in self._objects.read(names, Kind.CONFIG_MAP).items():
                bucket = self._buckets.setdefault(where, {})
                for name, body in content["values"].items():
                    key = self._codec.key_of(name)
                    if key not in bucket:
                        bucket[key] = self._codec.decode(key, body)
                self._whole.add(where)
        return {key: value for where in wanted for key, value in self._buckets.get(where, {}).items()}

    def _number(self, name: str, bits: int) -> int:
        return bucket_of(self._codec.place(name), bits)

    def _where(self, name: str) -> str | None:
        return self.shards.digest_for(self._codec.place(name))
