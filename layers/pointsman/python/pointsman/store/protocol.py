"""What the pipeline and the adapters need of a place that keeps objects."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from pointsman.model.errors import PointsmanError


class StoreError(PointsmanError):
    """The store did not do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or refuses for now (gone, locked, throttled): the same call may work later."""


class StoreMissing(StoreUnavailable):
    """There is no store under that name, and it was not asked to make one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One object as it was read. `etag` changes with every write of the object and is opaque.

    No etag is ever given to other bytes, also where the store was restored from a copy.
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


@dataclass(frozen=True, slots=True)
class Write:
    """A wish to write `data` under `key`: where `if_etag` is an etag, only over that; where None, only if absent."""

    key: str
    data: bytes
    if_etag: str | None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a Write: the new etag, or None if somebody else's object stands there (the write was lost)."""

    key: str
    etag: str | None


@dataclass(frozen=True, slots=True)
class Changes:
    """Objects that are not as they were known, and the cursor to ask with the next time.

    `gone` are the keys that had an object as they were known and have none any more. Nobody removes what others follow:
    an operator did, or a lifecycle rule of the bucket.
    """

    objects: Sequence[Stored]
    cursor: str
    gone: Set[str] = frozenset()


class Store(Protocol):
    """Objects under keys, changed by compare-and-set only and never deleted (but see Forgetful).

    Every mutable object carries a serial and a nonce inside its bytes, so no two writers ever write equal bytes. A
    conditional write whose outcome is unknown (a timeout, a retried request, S3's 409) is settled by reading back: own
    bytes there means that the write won. All methods may raise StoreUnavailable; all may be called from any thread.
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
        """Every object whose key starts with `prefix`, in key order."""
        ...

    def changes(self, known: Mapping[str, str | None], cursor: str = "") -> Changes:
        """Of the keys of `known`, the objects whose etag is not the known one (None: not there when last seen).

        `cursor` is the one that the previous call returned, "" for none: a store with a log of its writes looks only
        at what was written since, if the keys of `known` were already asked about then. A call with "" compares all,
        and so does one now and then, a minute apart at most: only these tell what is gone.
        """
        ...

    def wait(self, cursor: str, timeout: float) -> bool:
        """Block until something may have been written since `cursor`, at most `timeout` seconds.

        True if something may have changed. A store that cannot tell sleeps and says True.
        """
        ...

    def close(self) -> None:
        """Give back what the store holds open. Further calls are errors."""
        ...


@runtime_checkable
class Forgetful(Protocol):
    """What a Store can do besides that keeps old versions only as long as it is told to.

    Only immutable objects may be removed: a mutable one that is gone would begin anew with serials and versions that
    were there before.
    """

    def remove(self, keys: Sequence[str], swap: Write | None = None) -> Written | None:
        """Remove the objects under `keys`; where `swap` is given, make that write, and remove them only if it wins.

        All of it happens at one moment, or nothing does. The outcome of `swap`, None where none was given. Whoever
        relies on an object that it did not write itself, because one with the same content was there, has to make a
        write that contends with `swap`: it then loses, and writes the object again.
        """
        ...

    def tidy(self) -> bool:
        """Give some of the space back that removed objects had; whether there is more to give. Holds up a write by
        milliseconds."""
        ...
