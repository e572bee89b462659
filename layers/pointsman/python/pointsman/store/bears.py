"""Which versions may use a store: the config head names the oldest Pointsman that may write and the oldest that may
read.

A newer Pointsman may write something that an older one would misunderstand or destroy. So an older one refuses to start
on a store that a newer one has claimed, and a newer one announces its claim first.
"""

from dataclasses import dataclass
from typing import Any, Self

from pointsman.model.stored import Damaged, Kind, NewerSchema, check_kind, number, parse
from pointsman.store.protocol import Stored, StoreError

WRITER = 4
"""The version of this Pointsman as a writer. Raise it if an older one beside it would undo or damage what this one
writes, or would compute something else from the same config and catalogs."""

ADAPTER = 3
"""The version of this Pointsman as an adapter. Raise it if an older one could not read what this one publishes, or
would deliver it wrongly."""


@dataclass(frozen=True, slots=True)
class Bears:
    """The oldest writer and the oldest adapter that may use a store."""

    writer: int
    adapter: int

    def json(self) -> dict[str, Any]:
        """The fields of the config head."""
        return {"oldest_writer": self.writer, "oldest_adapter": self.adapter}

    def raised(self) -> Self:
        """These versions after this Pointsman has written the config head."""
        return type(self)(max(self.writer, WRITER), max(self.adapter, ADAPTER))

    def raises(self) -> str:
        """What this Pointsman will raise, in one line; "" if nothing."""
        after = self.raised()
        changes = [
            f"{name} from {before} to {now}"
            for name, before, now in (
                ("the oldest writer", self.writer, after.writer),
                ("the oldest adapter", self.adapter, after.adapter),
            )
            if now > before
        ]
        if not changes:
            return ""
        return f"the next write of config raises {' and '.join(changes)}; older ones then refuse to start on the store"


NOT_SAID = Bears(0, 0)
"""Those of a store without config: any version may begin."""


class TooOld(StoreError):
    """A newer Pointsman claimed the store, or its layout is too old for this one."""


def read_bears(body: object) -> Bears:
    """Which versions may use the store with this config head. Raises TooOld, or Damaged if it is no config head."""
    if type(body) is dict and "kind" not in body and "propagated_root" in body:
        raise TooOld(
            "the store is of an older layout, which this Pointsman does not read: name another store and apply the "
            "config there (`pointsman list --json` of the older Pointsman prints it)"
        )
    try:
        body = check_kind(body, Kind.CONFIG_HEAD)
    except NewerSchema as error:
        raise TooOld(f"the store's config head: {error}") from None
    return Bears(number(body, "oldest_writer"), number(body, "oldest_adapter"))


def check_writer(bears: Bears) -> None:
    """Raise TooOld if this Pointsman may not write."""
    if bears.writer > WRITER:
        raise TooOld(
            f"the store accepts writers from {bears.writer} on, and this is writer {WRITER}: upgrade Pointsman"
        )


def check_adapter(stored: Stored | None) -> None:
    """Raise TooOld if this Pointsman may not serve Envoys from the store with the config head `stored`."""
    if stored is None:
        return
    try:
        bears = read_bears(parse(stored.data))
    except Damaged:
        return  # what is published does not depend on it
    if bears.adapter > ADAPTER:
        raise TooOld(
            f"the store accepts adapters from {bears.adapter} on, and this is adapter {ADAPTER}: upgrade Pointsman"
        )
