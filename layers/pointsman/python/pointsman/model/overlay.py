"""A mapping with changes on top of another one, which stays as it is and is read only where it is asked."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Overlay(Mapping[_K, _V], Generic[_K, _V]):
    """`base` after `puts` and then without `deletes`.

    `changed` has what differs: new values by key, None for what was deleted. Making and asking one costs what the
    changes cost, however large the base is; iterating reads the base.
    """

    __slots__ = ("base", "changed")

    base: Mapping[_K, _V]
    changed: dict[_K, _V | None]

    def __init__(self, base: Mapping[_K, _V], puts: Mapping[_K, _V], deletes: Iterable[_K] = ()) -> None:
        below: dict[_K, _V | None] = base.changed if isinstance(base, Overlay) else {}
        self.base = base.base if isinstance(base, Overlay) else base
        self.changed = {**below, **puts, **dict.fromkeys(deletes)}

    def __getitem__(self, key: _K) -> _V:
        if key in self.changed:
            value = self.changed[key]
            if value is None:
                raise KeyError(key)
            return value
        return self.base[key]

    def __iter__(self) -> Iterator[_K]:
        yield from (key for key in self.base if key not in self.changed)
        yield from (key for key, value in self.changed.items() if value is not None)

    def __len__(self) -> int:
        return len(self.base) + sum((value is not None) - (key in self.base) for key, value in self.changed.items())
