"""A resource that an Envoy rejected, and how that is known."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pointsman.discovery.proxy import ProxyId


@dataclass(frozen=True, slots=True)
class Rejection:
    """An Envoy (`node`, its `node.id`) rejected a resource for `reason`, and keeps what it had.

    `kind` is clusters, endpoints or listeners; `name` the resource's, "" if Envoy gives none. `since` is when it was
    first known (RFC 3339, UTC). `way` is how it is known: `ads` (Envoy's NACK), `rest` (the Envoy repeats its request
    with the old version), `admin` (Envoy's counters, with its reason if it gives one).
    """

    way: str
    proxy: ProxyId
    node: str
    kind: str
    name: str
    reason: str
    since: str

    def __str__(self) -> str:
        return f"{self.node}, {self.proxy}, rejects {what(self.kind, self.name)} and keeps what it had: {self.reason}"

    def json(self) -> dict[str, Any]:
        """As JSON, for programs."""
        return {
            "way": self.way,
            "proxy": str(self.proxy.directory),
            "node": self.node,
            "kind": self.kind,
            "name": self.name,
            "reason": self.reason,
            "since": self.since,
        }


def what(kind: str, name: str) -> str:
    """The rejected thing, for people."""
    if not name:
        return kind
    return f"endpoints of {name}" if kind == "endpoints" else f"{kind[:-1]} {name}"


def moment(now: float) -> str:
    """Unix time in seconds as RFC 3339, UTC."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_BEST_FIRST = ("ads", "admin", "rest")


def standing(found: Iterable[Rejection]) -> list[Rejection]:
    """Each rejection once, from the best source for its Envoy and kind: the Envoy's NACK, then its admin, then its
    repeated polls."""
    found = list(found)
    best: dict[tuple[str, str], str] = {}
    for each in sorted(found, key=lambda each: _BEST_FIRST.index(each.way)):
        best.setdefault((each.node, each.kind), each.way)
    return [each for each in found if best[each.node, each.kind] == each.way]
