"""Whose a config entry or registration is: a label that is kept with it, "" for whoever operates the mesh."""

from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator

from pointsman.model.complaints import shown
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.names import is_label
from pointsman.model.shape import Shape


def _label(value: str) -> str:
    if value and not is_label(value):
        raise ValueError(_not_a_label(value))
    return value


def _not_a_label(value: str) -> str:
    return f"{shown(value)} is not a lower-case DNS label"


AGENTS: Final = "agent"
"""The owner of what agents register."""

Owner = Annotated[str, AfterValidator(_label)]
"""The owner of a document."""


class Owned(Shape):
    """A document with an owner."""

    owner: Owner = ""


Document = TypeVar("Document", bound=Owned)


def check_owner(owner: str) -> None:
    """Raise InvalidInput if `owner` cannot be one."""
    if owner and not is_label(owner):
        raise InvalidInput.single("owner", "", _not_a_label(owner))


def written(thing: str, document: Document, before: Document | None, owner: str) -> Document:
    """What is kept of `document` if a batch of `owner` writes it over `before`; `before` itself if nothing changes.

    A batch with an owner changes only what is new or its own: it raises InvalidInput for anything else. A batch without
    one changes everything, and what it writes is as it says: without an `Owner` it belongs to nobody in particular.
    `thing` is how messages name the document.
    """
    if owner and document.owner not in ("", owner):
        reason = f'is "{document.owner}", and the batch is written as "{owner}"; leave one of them out'
        raise InvalidInput.single(thing, "Owner", reason)
    ours = document.model_copy(update={"owner": owner}) if owner else document
    if before is None or ours == before:
        return before or ours
    if owner and before.owner != owner:
        if before.model_copy(update={"owner": owner}) == ours:
            return before
        raise InvalidInput([not_ours(thing, before.owner, owner)])
    return ours


def not_ours(thing: str, owner: str, by: str) -> Problem:
    """That `thing` of `owner` is not changed by a batch of `by`."""
    whose = f'belongs to "{owner}"' if owner else "was written without an owner"
    return Problem(thing, "", f'{whose}, so "{by}" does not change it; write it without an owner, or delete it first')
