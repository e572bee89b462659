"""Turns pydantic's errors into problems in our words."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import ValidationError

from pointsman.model.errors import Problem

_REASONS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "extra_forbidden": "is not a field here; remove it or check its spelling",
    "finite_number": "must be a number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of a usual size",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "missing": "is required",
    "model_attributes_type": "must be a mapping",
    "model_type": "must be a mapping",
    "string_type": "must be a string",
}
_MAPS = frozenset(("Subsets", "Failover", "Meta", "Add", "Set"))
"""Fields whose keys the user chooses."""

_LONGEST_INPUT = 80

MOST_PROBLEMS = 100
"""Problems in one refusal. More of them are usually one mistake, repeated."""


class Told:
    """What stands in place of a value that no field takes, and knows why."""

    __slots__ = ()

    def reason(self, name: str) -> str:
        """What is wrong with the field, under the name that it was given."""
        raise NotImplementedError


def path_of(location: tuple[str | int, ...]) -> str:
    """A place in a structure as a person writes it: `Failover["*"].Datacenters[0]`."""
    path, outer = "", ""
    for place in location:
        step = place if isinstance(place, int) else place[:_LONGEST_INPUT]
        if isinstance(step, int):
            path += f"[{step}]"
        elif path and (outer in _MAPS or not step.isidentifier()):
            path += f'["{step}"]'
        else:
            path += f".{step}" if path else step
        outer = str(step)
    return path


def problems_of(error: ValidationError, thing: str) -> list[Problem]:
    """Pydantic's errors about `thing`, one Problem each, in order, at most MOST_PROBLEMS."""
    out = []
    for item in error.errors(include_url=False)[: MOST_PROBLEMS + 1]:
        reason = item["msg"].removeprefix("Value error, ")
        if isinstance(item["input"], Told):
            reason = item["input"].reason(str(item["loc"][-1]))
        elif item["type"] in _REASONS:
            context = {
                name: f"{value:g}" if isinstance(value, float) else value for name, value in item.get("ctx", {}).items()
            }
            # "" means unset everywhere, so it is no useful suggestion.
            reason = _REASONS[item["type"]].format(**context).replace("'", '"').replace('"", ', "")
            if item["type"] not in ("extra_forbidden", "missing"):
                reason += f", not {shown(item['input'])}"
        out.append(Problem(thing, path_of(item["loc"]), reason))
    return cut(out)


def cut(problems: Sequence[Problem]) -> list[Problem]:
    """The first MOST_PROBLEMS of `problems`, with a last one that says that more were found."""
    out = list(problems[:MOST_PROBLEMS])
    if len(problems) > MOST_PROBLEMS:
        out.append(Problem(out[0].thing, "", f"has more than these {MOST_PROBLEMS} problems; correct them first"))
    return out


def brief(name: Any) -> str:
    """A name from outside, cut for a message; it may be long, or no name at all."""
    text = name if isinstance(name, str) else shown(name)
    return text if len(text) <= _LONGEST_INPUT else f"{text[:_LONGEST_INPUT]}…"


def shown(value: Any) -> str:
    """`value` as JSON, cut if it is long; only the part that is shown is read."""
    head = _head(value, [_LONGEST_INPUT])
    try:
        text = json.dumps(head, ensure_ascii=False)
    except (TypeError, ValueError):
        # No JSON value, or a number with thousands of digits, which Python refuses to write.
        text = type(value).__name__
    return text if len(text) <= _LONGEST_INPUT else f"{text[:_LONGEST_INPUT]}…"


def _head(value: Any, left: list[int]) -> Any:
    """The beginning of `value`, enough for `left` characters of JSON; `left` counts down."""
    left[0] -= 1
    if isinstance(value, str | bytes):
        return value[: _LONGEST_INPUT + 1]
    if isinstance(value, Mapping):
        return {
            _head(key, left): _head(inner, left) for key, inner in islice(value.items(), max(left[0], 0)) if left[0] > 0
        }
    if isinstance(value, list):
        return [_head(inner, left) for inner in islice(value, max(left[0], 0)) if left[0] > 0]
    return value
