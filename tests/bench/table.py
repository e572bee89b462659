"""What was measured, as a table for people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """One number: `what` it is of, its `value` in `unit`, and the goal that it should be at most, or at least."""

    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

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
            return f"<= {_number(self.at_most)}"
        return f">= {_number(self.at_least)}" if self.at_least is not None else ""


def percentile(times: Iterable[float], share: float) -> float:
    """The value that `share` (0 to 1) of the `times` do not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(rows: Sequence[Measured]) -> str:
    """One line per number; those that miss their goal are marked."""
    cells = [("", "measured", "", "goal", "")]
    cells += [(row.what, _number(row.value), row.unit, row.goal, "" if row.met else "missed") for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    return "\n".join(
        f"{what:<{widths[0]}}  {value:>{widths[1]}} {unit:<{widths[2]}}  {goal:<{widths[3]}}  {note}".rstrip()
        for what, value, unit, goal, note in cells
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"
