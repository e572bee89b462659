"""Errors that tell a person what is wrong and how to correct it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
"""Characters that would break a log line, or that UTF-8 cannot encode."""

MOST_REASON: Final = 300
"""Characters of a field or a reason that may quote input."""


def shortened(text: str) -> str:
    """`text`, which may quote input, cut to MOST_REASON; half a surrogate pair is written as an escape."""
    return text[:MOST_REASON].encode(errors="backslashreplace").decode()


LONGEST_PART = 2000
"""Characters of each part of a problem in a message: it may quote input of any length."""


class PointsmanError(Exception):
    """Anything Pointsman refuses or cannot do. Its text is one line that a user can act on."""


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_PART else f"{text[:LONGEST_PART]}…"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one input.

    `thing` names the input (`service-resolver "s2"`), `field` the place in it (`Failover["v1"].ServiceSubset`, or
    empty for the whole), `reason` what is wrong and, where it helps, the way out.
    """

    thing: str
    field: str
    reason: str

    def __str__(self) -> str:
        thing, field, reason = (_cut(each) for each in (self.thing, self.field, self.reason))
        text = f"{thing}: {field}: {reason}" if field else f"{thing}: {reason}"
        # A quotation may contain line feeds; the message is one line.
        return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


class InvalidInput(PointsmanError):
    """Input that is refused as a whole; `problems` lists everything wrong with it. Nothing was changed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))

    @classmethod
    def single(cls, thing: str, field: str, reason: str) -> "InvalidInput":
        """An InvalidInput with one problem."""
        return cls([Problem(thing, field, reason)])
