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


def standing(found: Iterable[Rejection]) -> list[Rejection]:
    """Each rejection once: where an Envoy's admin tells of one, what was only concluded from its polls is left out."""
    found = list(found)
    told = {(each.node, each.kind) for each in found if each.way == "admin"}
    return [each for each in found if each.way != "rest" or (each.node, each.kind) not in told]
