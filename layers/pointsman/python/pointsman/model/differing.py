"""Where two JSON values differ, field by field, as people write the paths of fields."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_PLAIN: Final = re.compile(r"\w+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Differing:
    """A field that two values do not have alike: what each has there, None if nothing."""

    path: str
    before: Any
    after: Any

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"path": self.path, "before": self.before, "after": self.after}


def differing(before: Any, after: Any, path: str = "") -> Iterator[Differing]:
    """The fields in which two JSON values differ, in order: `Failover["*"].Datacenters` for one.

    A list of plain values is one field. Of a list of objects those that differ are compared one by one; if there are
    more of them on one side, they came or went as a whole.
    """
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from differing(before.get(key), after.get(key), _below(path, key))
    elif _are_objects(before) and _are_objects(after):
        yield from _in_lists(before, after, path)
    else:
        yield Differing(path, before, after)


def _in_lists(before: Sequence[Any], after: Sequence[Any], path: str) -> Iterator[Differing]:
    same_first = _common(before, after)
    same_last = _common(before[same_first:][::-1], after[same_first:][::-1])
    gone, come = before[same_first : len(before) - same_last], after[same_first : len(after) - same_last]
    if len(gone) == len(come):
        for i, (old, new) in enumerate(zip(gone, come, strict=True), same_first):
            yield from differing(old, new, f"{path}[{i}]")
        return
    yield from (Differing(f"{path}[{i}]", each, None) for i, each in enumerate(gone, same_first))
    yield from (Differing(f"{path}[{i}]", None, each) for i, each in enumerate(come, same_first))


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many values both begin with."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, Mapping) for each in value)


def _below(path: str, key: str) -> str:
    if _PLAIN.match(key):
        return f"{path}.{key}" if path else key
    return f'{path}["{key}"]'
