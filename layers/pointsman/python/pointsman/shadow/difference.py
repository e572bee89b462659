"""What differs for traffic, and what was not compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from pointsman.shadow.plain import text_of

NOTHING: Final = "nothing"


class Kind(IntEnum):
    """What a difference is about; the worst for traffic first."""

    UPSTREAM = 0
    ENDPOINTS = 1
    SERVER_NAME = 2
    AUTHORIZATION = 3
    ROUTE = 4
    FAILOVER = 5
    TIMEOUT = 6
    SETTING = 7

    @property
    def label(self) -> str:
        """In words."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """At `where`, `what` is `today` as the Envoy has it, and `pointsman` as Pointsman would serve it."""

    kind: Kind
    where: str
    what: str
    today: str
    pointsman: str


@dataclass(slots=True)
class Findings:
    """What a comparison found.

    `own` are settings that Pointsman adds by itself where nobody configured them, by what they say, with where;
    `not_compared` are things that may differ unnoticed; `notes` say what one should know to read the rest.
    `compared` are the pairs of clusters that were compared, `listeners` how many listeners were.
    """

    differences: set[Difference] = field(default_factory=set)
    own: dict[str, set[str]] = field(default_factory=dict)
    not_compared: set[str] = field(default_factory=set)
    notes: set[str] = field(default_factory=set)
    compared: set[tuple[str, str]] = field(default_factory=set)
    listeners: int = 0

    def differ(self, kind: Kind, where: str, what: str, today: str, pointsman: str) -> None:
        """Note a difference."""
        self.differences.add(Difference(kind, where, what, today or NOTHING, pointsman or NOTHING))

    def settings(
        self,
        where: str,
        today: Mapping[str, Any],
        pointsman: Mapping[str, Any],
        configured: Mapping[str, Any] | None = None,
        *,
        kind: Kind = Kind.SETTING,
    ) -> None:
        """Compare settings by their paths. What is `configured` for Pointsman, and today, but not served, is what it
        adds by itself."""
        for path in sorted({*today, *pointsman}):
            has, gets = today.get(path), pointsman.get(path)
            if text_of(has) == text_of(gets):
                continue
            if configured is not None and text_of(has) == text_of(configured.get(path)):
                self.own.setdefault(f"{path}: {_said(has)} today, {_said(gets)} with Pointsman", set()).add(where)
                continue
            self.differ(_kind_of(path, kind), where, path, _said(has), _said(gets))


def _kind_of(path: str, kind: Kind) -> Kind:
    if kind is Kind.SETTING and ("timeout" in path or path.startswith("retry_policy")):
        return Kind.TIMEOUT
    if kind is Kind.SETTING and (
        "rewrite" in path or "headers_to" in path or path.startswith(("redirect", "direct_response"))
    ):
        return Kind.ROUTE
    return kind


def _said(value: Any) -> str:
    return "Envoy's default" if value is None else text_of(value)
