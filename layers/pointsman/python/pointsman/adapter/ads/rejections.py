"""What Envoys rejected, in their own words."""

from dataclasses import dataclass
from typing import Any

from pointsman.discovery.proxy import ProxyId


@dataclass(frozen=True, slots=True)
class Rejection:
    """An Envoy (`node`, its `node.id`) keeps what it had in place of a resource, for the reason that it tells.

    `kind` is clusters, endpoints or listeners; `name` the resource's, "" where the Envoy did not say which one of a
    whole state it meant; `since` RFC 3339, UTC.
    """

    proxy: ProxyId
    node: str
    kind: str
    name: str
    reason: str
    since: str

    def __str__(self) -> str:
        what = f"{self.kind[:-1]} {self.name}" if self.name else self.kind
        return f"{self.node}, {self.proxy}, rejected {what} and keeps what it had: {self.reason}"

    def json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "proxy": str(self.proxy.directory),
            "node": self.node,
            "kind": self.kind,
            "name": self.name,
            "reason": self.reason,
            "since": self.since,
        }
