"""The note beside a generation of the config: who wrote it, and what for."""

from dataclasses import dataclass
from typing import Final

from pointsman.model.errors import InvalidInput

LONGEST_MESSAGE: Final = 500
"""Characters of the message of a generation."""


@dataclass(frozen=True, slots=True)
class Note:
    """Who writes a generation (`by`, as `checked_name` of the orders returns it), and the `message` that they leave.

    Both are "" where nothing is known. The config does not depend on them.
    """

    by: str = ""
    message: str = ""


NO_NOTE: Final = Note()


def checked_message(value: str) -> str:
    """The message in `value`. Raises InvalidInput unless it is one line of LONGEST_MESSAGE characters at most."""
    message = value.strip()
    if len(message) > LONGEST_MESSAGE:
        reason = f"has {len(message)} characters, {LONGEST_MESSAGE} are the most; shorten it"
        raise InvalidInput.single("the change", "message", reason)
    if not message.isprintable():
        raise InvalidInput.single(
            "the change", "message", "has a character that cannot be printed; write one line of text"
        )
    return message
