"""The protocol of a store, as the pipeline and the adapters need it."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from pointsman.model.errors import PointsmanError


class StoreError(PointsmanError):
    """The store did not do what the caller asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or refuses for now (gone, locked, throttled): the same call may work later."""


class StoreMissing(StoreUnavailable):
    """No store has that name, and the caller did not ask to make one."""


class Stored(NamedTuple):
    """One object as it was read. `etag` changes with every write of the object and is opaque.

    No etag is ever given to other bytes, also if the store was restored from a copy.
    """

    key: str
    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One object's key and current etag, and when it was written, in seconds since 1970 by the store's clock."""

    key: str
    etag: str
    written: float = field(default=0.0, compare=False)


class Write(NamedTuple):
    """A conditional write of `data` under `key`: over the object with `if_etag`, or, if that is None, only if none
    exists."""

    key: str
    data: bytes
    if_etag: str | None


class Written(NamedTuple):
    """The outcome of a Write: the new etag, or None if it lost to another writer."""

    key: str
    etag: str | None


@dataclass(frozen=True, slots=True)
class Changes:
    """Objects that changed since they were known, and the cursor for the next call.

    `gone` are the keys that had an object and have none any more. Pointsman removes nothing that others follow: an
    operator did, or a lifecycle rule of the bucket.
    """

    objects: Sequence[Stored]
    cursor: str
    gone: Set[str] = frozenset()


class Store(Protocol):
    """Objects under keys, changed by compare-and-swap only and never deleted (but see Forgetful).

    Every mutable object carries a serial and a nonce inside its bytes, so no two writers ever write equal bytes. If the
    outcome of a conditional write is unknown (a timeout, a retried request, S3's 409), the store reads the object back:
    the write won if its own bytes are there. All methods may raise StoreUnavailable; all may be called from any thread.
    """

    def get(self, key: str) -> Stored | None:
        """The object under `key`, or None."""
        ...

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The objects that exist under `keys`, read together (one round trip in time, however many)."""
        ...

    def put(self, write: Write) -> Written:
        """One conditional write, durable when it returns."""
        ...

    def put_many(self, writes: Sequence[Write]) -> list[Written]:
        """Independent conditional writes, made together; outcomes in the order of `writes`, each durable.

        Not atomic: some may win and others lose.
        """
        ...

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key starts with `prefix`, once, in any order."""
        ...

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """The objects under keys of `known` whose etag is not the known one (None: absent when last seen).

        `cursor` is the one that the previous call returned, "" for none. A store with a log of its writes then reads
        only what was written since, if the previous call named the same keys. A call with "" compares all, and so does
        one at least every minute: only those report what is gone.
        """
        ...

    def wait(self, cursor: str, timeout: float) -> bool:
        """Block until something may have been written since `cursor`, at most `timeout` seconds.

        True if something may have changed. A store that cannot know sleeps and returns True.
        """
        ...

    def close(self) -> None:
        """Release what the store holds open. Further calls are errors."""
        ...


@runtime_checkable
class Forgetful(Protocol):
    """A Store that can remove old objects.

    Only immutable objects may be removed, and mutable ones of which nothing reads an earlier serial or version: they
    start again with those that were used before.
    """

    def remove(
        self, keys: Sequence[str], swap: Write | None = None, if_etags: Mapping[str, str] | None = None
    ) -> Written | None:
        """Remove the objects under `keys`; with `swap`, make that write, and remove them only if it wins. Those in
        `if_etags` that somebody has written since stay.

        All of it happens at one moment, or nothing does. Returns the outcome of `swap`, None without one. A writer that
        relies on an object with the same content instead of writing its own has to make a write that contends with
        `swap`: then it loses, and writes the object again.
        """
        ...

    def tidy(self) -> bool:
        """Release some of the space of removed objects; returns whether there is more. Delays a write by
        milliseconds."""
        ...
