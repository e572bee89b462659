"""Which datacenters a control plane computes for, where several stand side by side (docs/architecture.md, "Scope")."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.keys import datacenter_of
from pointsman.model.names import is_label

_V = TypeVar("_V")


class Scope:
    """A set of datacenters; none named means every one.

    Plans, heads and manifests go by keys that begin with their datacenter, and whatever is not in scope is neither
    computed nor written, whoever has written it before.
    """

    __slots__ = ("datacenters",)

    def __init__(self, datacenters: Iterable[str] = ()) -> None:
        self.datacenters = tuple(sorted(set(datacenters)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scope) and self.datacenters == other.datacenters

    def __hash__(self) -> int:
        return hash(self.datacenters)

    def has(self, datacenter: str) -> bool:
        """Whether `datacenter` is computed for."""
        return not self.datacenters or datacenter in self.datacenters

    def keys(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys of plans, heads or manifests that are in scope."""
        return [key for key in keys if self.has(datacenter_of(key))]

    def of(self, things: Mapping[str, _V]) -> dict[str, _V]:
        """The same of what goes by such keys."""
        return {key: thing for key, thing in things.items() if self.has(datacenter_of(key))}


EVERYWHERE = Scope()


def read_scope(text: str, thing: str) -> Scope:
    """The scope that `text` names: datacenters with commas between them, "" for every one.

    Raises InvalidInput, which says that `thing` (an option or a variable) is wrong.
    """
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    if wrong := [name for name in names if not is_label(name)]:
        reason = "is not a lower-case DNS label; name datacenters as dc1,dc2, or none for all"
        raise InvalidInput([Problem(thing, "", f'"{name}" {reason}') for name in wrong])
    return Scope(names)
