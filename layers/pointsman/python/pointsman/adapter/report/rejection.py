"""What an Envoy rejected, and in whose words that is known."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pointsman.discovery.proxy import ProxyId


@dataclass(frozen=True, slots=True)
class Rejection:
    """An Envoy (`node`, its `node.id`) keeps what it had in place of a resource, for the reason that it tells.

    `kind` is clusters, endpoints or listeners; `name` the resource's, empty where Envoy tells no name. `since` is when
    it was first heard (RFC 3339, UTC). `way` is how it is known: `ads` (Envoy says so), `rest` (it asks again with the
    version that it had before), `admin` (its own counters, and its own words where it has them).
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
        """For programs."""
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
    """What is rejected, for a person to read."""
    if not name:
        return kind
    return f"endpoints of {name}" if kind == "endpoints" else f"{kind[:-1]} {name}"


def moment(now: float) -> str:
    """Unix time in seconds as RFC 3339, UTC."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_BEST_FIRST = ("ads", "admin", "rest")


def standing(found: Iterable[Rejection]) -> list[Rejection]:
    """Each rejection once, as the best of the ways tells it that know of an Envoy's kind: what it says itself, what its
    admin says, and only then what is concluded from its polls."""
    found = list(found)
    best: dict[tuple[str, str], str] = {}
    for each in sorted(found, key=lambda each: _BEST_FIRST.index(each.way)):
        best.setdefault((each.node, each.kind), each.way)
    return [each for each in found if best[each.node, each.kind] == each.way]
