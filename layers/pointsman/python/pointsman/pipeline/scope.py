"""The datacenters that a control plane computes for, if several stand side by side (docs/architecture.md, "Scope")."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.keys import datacenter_of
from pointsman.model.names import is_label

_V = TypeVar("_V")


class Scope:
    """A set of datacenters; an empty one means all.

    The keys of plans, heads and manifests begin with their datacenter. What is not in scope is neither computed nor
    written.
    """

    __slots__ = ("datacenters",)

    def __init__(self, datacenters: Iterable[str] = ()) -> None:
        self.datacenters = tuple(sorted(set(datacenters)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scope) and self.datacenters == other.datacenters

    def __hash__(self) -> int:
        return hash(self.datacenters)

    def has(self, datacenter: str) -> bool:
        """Whether `datacenter` is in scope."""
        return not self.datacenters or datacenter in self.datacenters

    def keys(self, keys: Iterable[str]) -> list[str]:
        """The keys (of plans, heads or manifests) that are in scope."""
        return [key for key in keys if self.has(datacenter_of(key))] if self.datacenters else list(keys)

    def of(self, things: Mapping[str, _V]) -> dict[str, _V]:
        """The items whose keys are in scope."""
        if not self.datacenters:
            return dict(things)
        return {key: thing for key, thing in things.items() if self.has(datacenter_of(key))}


EVERYWHERE = Scope()


def read_scope(text: str, thing: str) -> Scope:
    """The scope in `text`: datacenters separated by commas, "" for all.

    Raises InvalidInput about `thing` (an option or a variable).
    """
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    if wrong := [name for name in names if not is_label(name)]:
        reason = "is not a lower-case DNS label; name datacenters as dc1,dc2, or none for all"
        raise InvalidInput([Problem(thing, "", f'"{name}" {reason}') for name in wrong])
    return Scope(names)
