"""Reads the instances of a list, and refuses each bad one alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from pointsman.model.complaints import problems_of
from pointsman.model.errors import shortened
from pointsman.model.reported import InstancePart, Name, complaints_of, is_at_a_name
from pointsman.model.words import counted

MOST_INSTANCES: Final = 20_000
"""Instances in one list."""

MOST_REFUSED: Final = 1000
"""Refused instances of one list. With more of them the list is refused as a whole: its producer has a defect, and the
rest is not read."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused instance of a list: its place, its node and id ("" if they cannot be read), the field and the reason.

    With `is_gone` the list says that it is no longer where it was: where it is now is a host name, so an Envoy cannot
    reach it there.
    """

    index: int
    node: str
    id: str
    field: str
    reason: str
    is_gone: bool = False

    @property
    def is_named(self) -> bool:
        """Whether its node and id could be read."""
        return bool(self.node and self.id)

    def json(self) -> dict[str, Any]:
        """As JSON values, as in the answer to an event."""
        return {"index": self.index, "node": self.node, "id": self.id, "field": self.field, "reason": self.reason}


@cache
def _instance() -> TypeAdapter[InstancePart]:
    return TypeAdapter(InstancePart)


@cache
def _name() -> TypeAdapter[str]:
    return TypeAdapter(Name)


def read_instances(raw: Sequence[Any]) -> tuple[list[InstancePart], list[Refused]]:
    """The valid instances of a list, in order, and the refused ones, with their places.

    An instance that a list has more than once is refused. Reading ends after MOST_REFUSED + 1 refused ones.
    """
    taken: dict[tuple[str, str], tuple[int, InstancePart]] = {}
    first: dict[tuple[str, str], int] = {}
    refused: list[Refused] = []
    for index, each in enumerate(raw):
        if len(refused) > MOST_REFUSED:
            break
        part, problems = read_instance_part(each)
        names = _names(each) if part is None else (part["Node"]["Node"], part["Service"]["ID"])
        if all(names) and names in first:
            if names in taken:
                refused.append(_refused(taken.pop(names)[0], names, [_twice(names, index)]))
            refused.append(_refused(index, names, [_twice(names, first[names])]))
        elif part is None:
            refused.append(_refused(index, names, problems, is_gone=_is_at_a_name(each)))
        else:
            taken[names] = index, part
        first.setdefault(names, index)
    return [part for _, part in taken.values()], sorted(refused, key=lambda each: each.index)


def _twice(names: tuple[str, str], other: int) -> tuple[str, str]:
    return "", f'the instance "{names[1][:64]}" on node "{names[0][:64]}" is listed twice, at [{other}] as well'


def read_instance_part(raw: Any) -> tuple[InstancePart | None, list[tuple[str, str]]]:
    """The instance that `raw` describes, or None and what is wrong with it, as (field, reason)."""
    try:
        part = _instance().validate_python(raw)
    except ValidationError as error:
        return None, [(problem.field, problem.reason) for problem in problems_of(error, "")]
    problems = list(complaints_of(part))
    return (None if problems else part), problems


def _is_at_a_name(raw: Any) -> bool:
    """Whether a refused instance can be read, and where it is is a host name."""
    try:
        return is_at_a_name(_instance().validate_python(raw))
    except ValidationError:
        return False


def _names(raw: Any) -> tuple[str, str]:
    """The node and the id of a refused instance, as far as they can be read."""
    return _text(raw, "Node", "Node"), _text(raw, "Service", "ID")


def _text(raw: Any, outer: str, inner: str) -> str:
    part = raw.get(outer) if isinstance(raw, Mapping) else None
    try:
        return _name().validate_python(part.get(inner) if isinstance(part, Mapping) else None)
    except ValidationError:
        return ""


def _refused(
    index: int, names: tuple[str, str], problems: Sequence[tuple[str, str]], *, is_gone: bool = False
) -> Refused:
    (field, reason), more = problems[0], len(problems) - 1
    if more:
        reason += f" (and {counted(more, 'more problem')})"
    return Refused(index, *names, shortened(field), shortened(reason), is_gone)
