"""What moved, as those who are told of it get it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pointsman.store import keys


@dataclass(frozen=True, slots=True)
class Moved:
    """A snapshot head that an Envoy should know of: its plan's key, its datacenter, its version and its bytes.

    `switched` says whether this version has another active target than the one that it superseded.
    """

    plan_key: str
    datacenter: str
    version: int
    data: bytes
    switched: bool = False

    @property
    def key(self) -> str:
        """Where it stands in the store."""
        return keys.snapshot(self.plan_key)


@dataclass(frozen=True, slots=True)
class MovedManifest:
    """A manifest that a proxy should know of: its key in the store, its datacenter, its generation and its bytes."""

    key: str
    datacenter: str
    generation: int
    data: bytes


Notify = Callable[[Sequence[Moved | MovedManifest]], None]
"""Told of what moved. What one call names may be told in any order; of two calls the first is told first."""
