"""Refusals in the words of whoever sent something, whatever they sent."""

from collections.abc import Callable, Sequence

from pydantic import ValidationError

from pointsman.model.complaints import problems_of
from pointsman.model.errors import InvalidInput, Problem, shortened
from pointsman.model.events import MAX_PROBLEMS


def shape_refusal(error: ValidationError, thing: str, field: str = "") -> InvalidInput:
    """The InvalidInput for what does not have the shape it should, the first MAX_PROBLEMS problems of it.

    `field` is the place in `thing` of the value that was validated.
    """
    return InvalidInput(_cut(problems_of(error, thing), lambda inner: _joined(field, inner)))


def retold(error: InvalidInput, thing: str, places: Callable[[str], str]) -> InvalidInput:
    """`error` told of `thing`, each field as `places` names it there."""
    return InvalidInput(_cut([Problem(thing, each.field, each.reason) for each in error.problems], places))


def shown(text: str) -> str:
    """`text` as a message may quote it: short, and nothing in it that cannot be shown."""
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
