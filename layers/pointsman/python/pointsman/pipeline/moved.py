"""Heads and manifests that moved, as notices carry them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pointsman.store import keys


class Moved(NamedTuple):
    """A snapshot head that an Envoy should know of: its plan's key, its datacenter, its version and its bytes.

    `switched` is whether this version has another active target than the one before.
    """

    plan_key: str
    datacenter: str
    version: int
    data: bytes
    switched: bool = False

    @property
    def key(self) -> str:
        """Its key in the store."""
        return keys.snapshot(self.plan_key)


@dataclass(frozen=True, slots=True)
class MovedManifest:
    """A changed manifest: its key in the store, its datacenter, its generation and its bytes."""

    key: str
    datacenter: str
    generation: int
    data: bytes


Notify = Callable[[Sequence[Moved | MovedManifest]], None]
"""Sends notices of what moved. Those of one call may be sent in any order; those of an earlier call first."""
