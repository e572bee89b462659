"""What can be wrong, said so that a person can mend it."""

from collections.abc import Sequence
from dataclasses import dataclass


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
        return f"{self.thing}: {self.field}: {self.reason}" if self.field else f"{self.thing}: {self.reason}"


class InvalidInput(PointsmanError):
    """Input that is refused as a whole; `problems` lists everything wrong with it. Nothing was changed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))

    @classmethod
    def single(cls, thing: str, field: str, reason: str) -> "InvalidInput":
        """An InvalidInput with one problem."""
        return cls([Problem(thing, field, reason)])
