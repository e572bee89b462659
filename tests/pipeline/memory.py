"""A store in memory whose every step can be watched, interrupted and made to fail.

`MemoryStore` has the objects. A `Connection` is how one writer reaches them: it does what a bucket does, each object of
a `get_many` or `put_many` at its own moment and in no certain order, and asks its `step` before and after each, which
may let others run meanwhile or raise.
"""

import builtins
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, TypeVar

from pointsman.store.protocol import Changes, Listed, Store, Stored, StoreError, StoreUnavailable, Write, Written

_T = TypeVar("_T")


class Crash(BaseException):
    """The process ended here. Nobody catches it: whatever was to come next does not happen."""


@dataclass(frozen=True, slots=True)
class Step:
    """One object about to be read or written, or just read or written; for a listing `key` is the prefix, for a removal
    of several the first."""

    action: Literal["get", "put", "list", "remove"]
    key: str
    moment: Literal["before", "after"]


Watcher = Callable[[Stored | None, Stored], None]


class MemoryStore:
    """The objects. `watchers` are called at every write, with the old and the new object, and `removal_watchers` at
    every removal, with the keys."""

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.watchers: list[Watcher] = []
        self.removal_watchers: list[Callable[[Sequence[str]], None]] = []
        self.removed: set[str] = set()
        """What was removed and not written again since."""
        self.counts: Counter[str] = Counter()
        """How often what only some stores do was done."""
        self.not_copied: set[str] = set()
        """Copies for the history that an interrupted `put_many` did not write."""
        self.damaged: set[str] = set()
        """Damaged objects that have not been overwritten since."""
        self.sequence = 0
        self.now = 0.0
        """Seconds on the clock of this store."""
        self.times: dict[str, float] = {}
        self.written = threading.Condition()

    def write(self, write: Write) -> str | None:
        """Compare and set; the new etag, or None if something else is there."""
        with self.written:
            old = self.objects.get(write.key)
            if (old.etag if old else None) != write.if_etag:
                return None
            new = self._put(write.key, write.data)
            if write.key not in self.damaged:
                for watcher in self.watchers:
                    watcher(old, new)
            else:
                self.counts["damage was mended"] += 1
            self.damaged.discard(write.key)
            self.removed.discard(write.key)
            self.written.notify_all()
            return new.etag

    def remove(self, keys: Sequence[str], swap: Write | None, if_etags: Mapping[str, str]) -> Written | None:
        """Remove the objects under `keys` that still have these etags, if `swap` wins where one is given."""
        with self.written:
            outcome = None if swap is None else Written(swap.key, self.write(swap))
            if outcome is None or outcome.etag is not None:
                there = [
                    key
                    for key in keys
                    if (found := self.objects.get(key)) and if_etags.get(key, found.etag) == found.etag
                ]
                for key in there:
                    del self.objects[key]
                self.removed.update(there)
                for watcher in self.removal_watchers:
                    watcher(there)
            return outcome

    def under(self, prefix: str) -> dict[str, Stored]:
        """The objects whose keys start with `prefix`, in key order."""
        return {key: self.objects[key] for key in sorted(key for key in self.objects if key.startswith(prefix))}

    def damage(self, key: str, data: bytes) -> None:
        """Put `data` under `key` behind everybody's back; the watchers see neither this nor what mends it."""
        self.restore(key, data)
        self.damaged.add(key)

    def restore(self, key: str, data: bytes) -> None:
        """Put what was under `key` once there again; the watchers see what is made of it."""
        self._put(key, data)

    def _put(self, key: str, data: bytes) -> Stored:
        self.sequence += 1
        stored = self.objects[key] = Stored(key, data, f"e{self.sequence}")
        self.times[key] = self.now
        return stored


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
    """A Store: one writer's access to the objects. `calls` records every round trip with its keys. With `reads_back` a
    write counts as lost if its object was overwritten before its writer had the answer, as on a bucket where the
    outcome was unknown for a while. A listing comes in pages of `page` keys, each as of its own moment."""

    objects: MemoryStore
    step: Callable[[Step], None] = _go_on
    order: Random | None = None
    reads_back: bool = False
    page: int = 1000
    closed: bool = False
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def get(self, key: str) -> Stored | None:
        """The object under `key`, or None."""
        self._call("get", [key])
        return self._get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The objects under `keys`, each as of its own moment."""
        self._call("get_many", keys)
        found = {key: self._get(key) for key in self._shuffled(list(dict.fromkeys(keys)))}
        return {key: stored for key, stored in found.items() if stored is not None}

    def put(self, write: Write) -> Written:
        """One conditional write."""
        self._call("put", [write.key])
        return Written(write.key, self._put(write))

    def put_many(self, writes: Sequence[Write]) -> builtins.list[Written]:
        """Independent writes, one after another in no certain order; if one fails, the others are still made, and the
        failure is raised afterwards."""
        self._call("put_many", [write.key for write in writes])
        outcomes: dict[int, str | None] = {}
        failure: StoreUnavailable | None = None
        try:
            for i in self._shuffled(list(range(len(writes)))):
                try:
                    outcomes[i] = self._put(writes[i])
                except StoreUnavailable as error:
                    failure = error
            if failure is not None:
                raise failure
        except BaseException:
            left = {write.key for i, write in enumerate(writes) if i not in outcomes}
            self.objects.not_copied |= {key for key in left if key.startswith("history/")}
            raise
        return [Written(write.key, outcomes[i]) for i, write in enumerate(writes)]

    def list(self, prefix: str) -> Iterator[Listed]:
        """What is there, page by page."""
        self._call("list", [prefix])
        return self._pages(prefix)

    def _pages(self, prefix: str) -> Iterator[Listed]:
        last: str | None = None
        while True:
            self.step(Step("list", prefix, "before"))
            with self.objects.written:
                found = [each for key, each in self.objects.under(prefix).items() if last is None or key > last]
            self.step(Step("list", prefix, "after"))
            page = found[: self.page]
            yield from (Listed(each.key, each.etag, self.objects.times.get(each.key, 0.0)) for each in page)
            if len(found) <= self.page:
                return
            self.objects.counts["a listing had another page"] += 1
            last = page[-1].key

    def remove(
        self, keys: Sequence[str], swap: Write | None = None, if_etags: Mapping[str, str] | None = None
    ) -> Written | None:
        """All at one moment, as a file does it."""
        self._call("remove", keys)
        first = next(iter(keys), "")
        self.step(Step("remove", first, "before"))
        outcome = self.objects.remove(keys, swap, if_etags or {})
        self.step(Step("remove", first, "after"))
        return outcome

    def tidy(self) -> bool:
        """Memory has no space to give back."""
        return False

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """Every object that is not as it was known."""
        self._call("changes", list(known))
        now = str(self.objects.sequence)
        found = {key: self._get(key) for key in self._shuffled(list(known))}
        gone = {key for key, each in found.items() if each is None and known[key]}
        return Changes([each for key, each in found.items() if each is not None and known[key] != each.etag], now, gone)

    def wait(self, cursor: str, timeout: float) -> bool:
        """Until a write, or until this is closed."""
        self._call("wait", [])
        with self.objects.written:
            self.objects.written.wait_for(lambda: self.closed or str(self.objects.sequence) != cursor, timeout)
            return not self.closed and str(self.objects.sequence) != cursor

    def close(self) -> None:
        """Let go who waits; further calls are errors."""
        with self.objects.written:
            self.closed = True
            self.objects.written.notify_all()

    def _call(self, name: str, keys: Sequence[str]) -> None:
        if self.closed:
            raise StoreError("the store is closed already: open it again")
        self.calls.append((name, tuple(keys)))

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
            self.objects.counts["a write that won counted as lost"] += 1
            return None
        return etag

    def _shuffled(self, items: "builtins.list[_T]") -> "builtins.list[_T]":
        if self.order is not None:
            self.order.shuffle(items)
        return items


@dataclass(slots=True)
class Fault:
    """At the `at`th step of a writer it crashes, or the store is away for `lasting` steps, or from there on its
    notices are not taken (`deaf`)."""

    at: int
    kind: Literal["crash", "away", "deaf"]
    lasting: int = 1
    happened: bool = False
    _steps: int = 0

    def __call__(self, step: Step) -> None:
        """Count a step, and fail where it is time to."""
        self._steps += 1
        if self.kind == "crash" and self._steps == self.at:
            self.happened = True
            raise Crash
        if self.kind == "away" and self.at <= self._steps < self.at + self.lasting:
            self.happened = True
            raise StoreUnavailable(f"away {step.moment} {step.action} {step.key}")

    @property
    def deaf(self) -> bool:
        """Whether notices are refused from now on."""
        return self.kind == "deaf" and self._steps >= self.at
