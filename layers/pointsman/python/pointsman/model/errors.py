"""What can be wrong, said so that a person can mend it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
"""What would break a line of a log, or cannot be written as UTF-8 at all."""


class PointsmanError(Exception):
    """Anything Pointsman refuses or cannot do. Its text is one line a user can act on."""


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
        text = f"{self.thing}: {self.field}: {self.reason}" if self.field else f"{self.thing}: {self.reason}"
        # What is quoted may have line feeds in it, the message is one line.
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
