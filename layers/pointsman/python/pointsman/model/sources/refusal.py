"""Refusals in the field names of the shape that was sent."""

from collections.abc import Callable, Sequence

from pydantic import ValidationError

from pointsman.model.complaints import problems_of
from pointsman.model.errors import InvalidInput, Problem, shortened
from pointsman.model.events import MAX_PROBLEMS


def shape_refusal(error: ValidationError, thing: str, field: str = "") -> InvalidInput:
    """The InvalidInput for a value of a wrong shape, with its first MAX_PROBLEMS problems.

    `field` is the place in `thing` of the value that was validated.
    """
    return InvalidInput(_cut(problems_of(error, thing), lambda inner: _joined(field, inner)))


def retold(error: InvalidInput, thing: str, places: Callable[[str], str]) -> InvalidInput:
    """`error` as an error of `thing`, with each field renamed by `places`."""
    return InvalidInput(_cut([Problem(thing, each.field, each.reason) for each in error.problems], places))


def shown(text: str) -> str:
    """`text` for a quotation in a message: short, and printable."""
    return "".join(char if char.isprintable() else "?" for char in text[:64])


def _cut(problems: Sequence[Problem], places: Callable[[str], str]) -> list[Problem]:
    out = [
        Problem(each.thing, shortened(places(each.field)), shortened(each.reason)) for each in problems[:MAX_PROBLEMS]
    ]
    if len(problems) > MAX_PROBLEMS:
        out.append(Problem(out[0].thing, "", f"has more than these {MAX_PROBLEMS} problems"))
    return out


def _joined(outer: str, inner: str) -> str:
    return f"{outer}{inner}" if not inner or inner.startswith("[") else f"{outer}.{inner}".lstrip(".")
