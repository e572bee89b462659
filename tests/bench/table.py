"""What was measured, as a table for people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Beside:
    """Something measured in the same run, to compare with: `what` it is, and its `value` in the same unit."""

    what: str
    value: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One number: `what` it is of, its `value` in `unit`, and the goal that it should be at most, or at least.

    `beside` is a peer, or a floor that nothing can beat.
    """

    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    beside: Beside | None = None

    @property
    def met(self) -> bool:
        """Whether it reaches its goal; True without a goal."""
        above = self.at_most is not None and self.value > self.at_most
        below = self.at_least is not None and self.value < self.at_least
        return not above and not below

    @property
    def goal(self) -> str:
        """The goal in words, "" if it has none."""
        if self.at_most is not None:
            return f"<= {number(self.at_most)}"
        return f">= {number(self.at_least)}" if self.at_least is not None else ""

    @property
    def compared(self) -> str:
        """How it stands to what was measured beside it, "" if nothing was."""
        if self.beside is None or not self.beside.value:
            return ""
        return f"{number(self.value / self.beside.value)} x {self.beside.what} ({number(self.beside.value)})"


def percentile(times: Iterable[float], share: float) -> float:
    """The value that `share` (0 to 1) of the `times` do not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(rows: Sequence[Measured]) -> str:
    """One line per number; those that miss their goal are marked."""
    cells = [("", "measured", "", "goal", "", "against, in the same run")]
    cells += [
        (row.what, number(row.value), row.unit, row.goal, "" if row.met else "missed", row.compared) for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    return "\n".join(
        f"{what:<{widths[0]}}  {value:>{widths[1]}} {unit:<{widths[2]}}  {goal:<{widths[3]}}  "
        f"{note:<{widths[4]}}  {beside}".rstrip()
        for what, value, unit, goal, note, beside in cells
    )


def number(value: float) -> str:
    """A number with as many digits as people need."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
