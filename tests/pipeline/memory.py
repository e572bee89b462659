"""A store in memory whose every step can be watched, interrupted and made to fail.

`MemoryStore` has the objects. A `Connection` is how one writer reaches them: it does what a bucket does, each object of
a `get_many` or `put_many` at its own moment and in no certain order, and asks its `step` before and after each, which
may let others run meanwhile or raise.
"""

import builtins
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, TypeVar

from pointsman.store.protocol import Changes, Listed, Store, Stored, StoreUnavailable, Write, Written

_T = TypeVar("_T")


class Crash(BaseException):
    """The process ended here. Nobody catches it: whatever was to come next does not happen."""


@dataclass(frozen=True, slots=True)
class Step:
    """One object about to be read or written, or just read or written; for a listing `key` is the prefix."""

    action: Literal["get", "put", "list"]
    key: str
    moment: Literal["before", "after"]


Watcher = Callable[[Stored | None, Stored], None]


class MemoryStore:
    """The objects. `watchers` are told of every write (what was there, what is there now) the moment it happens."""

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.watchers: list[Watcher] = []
        self.not_copied: set[str] = set()
        """Copies for the history that an interrupted `put_many` did not come to write."""
        self._damaged: set[str] = set()
        self._sequence = 0

    def write(self, write: Write) -> str | None:
        """Compare and set; the new etag, or None if something else is there."""
        old = self.objects.get(write.key)
        if (old.etag if old else None) != write.if_etag:
            return None
        self._sequence += 1
        new = Stored(write.key, write.data, f"e{self._sequence}")
        self.objects[write.key] = new
        if write.key not in self._damaged:
            for watcher in self.watchers:
                watcher(old, new)
        self._damaged.discard(write.key)
        return new.etag

    def under(self, prefix: str) -> dict[str, Stored]:
        """The objects whose keys start with `prefix`, in key order."""
        return {key: self.objects[key] for key in sorted(self.objects) if key.startswith(prefix)}

    def damage(self, key: str, data: bytes) -> None:
        """Put `data` under `key` behind everybody's back; the watchers see neither this nor what mends it."""
        self.restore(key, data)
        self._damaged.add(key)

    def restore(self, key: str, data: bytes) -> None:
        """Put what was under `key` once there again; the watchers see what is made of it."""
        self._sequence += 1
        self.objects[key] = Stored(key, data, f"e{self._sequence}")


def copied(store: Store) -> MemoryStore:
    """All that `store` has, whatever keeps it."""
    out = MemoryStore()
    for stored in store.get_many([listed.key for listed in store.list("")]).values():
        out.objects[stored.key] = stored
    return out


def _go_on(step: Step) -> None:
    """Nothing happens meanwhile."""


@dataclass(slots=True)
class Connection:
    """A Store: one writer's way to the objects.

    `calls` has every round trip with its keys. With `reads_back` a write whose object was written over before its
    writer heard of it counts as lost, as on a bucket where the outcome was unknown for a while.
    """

    objects: MemoryStore
    step: Callable[[Step], None] = _go_on
    order: Random | None = None
    reads_back: bool = False
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def get(self, key: str) -> Stored | None:
        """The object under `key`, or None."""
        self.calls.append(("get", (key,)))
        return self._get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The objects under `keys`, each as of its own moment."""
        self.calls.append(("get_many", tuple(keys)))
        found = {key: self._get(key) for key in self._shuffled(list(dict.fromkeys(keys)))}
        return {key: stored for key, stored in found.items() if stored is not None}

    def put(self, write: Write) -> Written:
        """One conditional write."""
        self.calls.append(("put", (write.key,)))
        return Written(write.key, self._put(write))

    def put_many(self, writes: Sequence[Write]) -> builtins.list[Written]:
        """Independent writes, one after another in no certain order."""
        self.calls.append(("put_many", tuple(write.key for write in writes)))
        outcomes: dict[int, str | None] = {}
        try:
            for i in self._shuffled(list(range(len(writes)))):
                outcomes[i] = self._put(writes[i])
        except BaseException:
            left = {write.key for i, write in enumerate(writes) if i not in outcomes}
            self.objects.not_copied |= {key for key in left if key.startswith("history/")}
            raise
        return [Written(write.key, outcomes[i]) for i, write in enumerate(writes)]

    def list(self, prefix: str) -> Iterator[Listed]:
        """What is there when the listing begins."""
        self.calls.append(("list", (prefix,)))
        self.step(Step("list", prefix, "before"))
        listed = [Listed(key, stored.etag) for key, stored in self.objects.under(prefix).items()]
        self.step(Step("list", prefix, "after"))
        return iter(listed)

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """Every object that is not as it was known."""
        found = self.get_many(list(known))
        return Changes([stored for key, stored in found.items() if known[key] != stored.etag], "")

    def wait(self, cursor: str, timeout: float) -> bool:
        """There is always something to look at."""
        return True

    def close(self) -> None:
        """Nothing is held open."""

    def _get(self, key: str) -> Stored | None:
        self.step(Step("get", key, "before"))
        stored = self.objects.objects.get(key)
        self.step(Step("get", key, "after"))
        return stored

    def _put(self, write: Write) -> str | None:
        self.step(Step("put", write.key, "before"))
        etag = self.objects.write(write)
        self.step(Step("put", write.key, "after"))
        if etag is not None and self.reads_back and self.objects.objects[write.key].etag != etag:
            return None
        return etag

    def _shuffled(self, items: "builtins.list[_T]") -> "builtins.list[_T]":
        if self.order is not None:
            self.order.shuffle(items)
        return items


@dataclass(slots=True)
class Fault:
    """At the `at`th step of a writer it crashes, or the store is away for `lasting` steps."""

    at: int
    kind: Literal["crash", "away"]
    lasting: int = 1
    _steps: int = 0

    def __call__(self, step: Step) -> None:
        """Count a step, and fail where it is time to."""
        self._steps += 1
        if self.kind == "crash" and self._steps == self.at:
            raise Crash
        if self.kind == "away" and self.at <= self._steps < self.at + self.lasting:
            raise StoreUnavailable(f"away {step.moment} {step.action} {step.key}")
