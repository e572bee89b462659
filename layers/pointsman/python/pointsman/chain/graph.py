"""A compiled discovery chain, as a value."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pointsman.model.errors import PointsmanError
from pointsman.model.names import ServiceName, Target
from pointsman.model.policy import NO_POLICY, Policy

if TYPE_CHECKING:
    from pointsman.model.entries import EntryKey
    from pointsman.model.headers import HeaderModifiers
    from pointsman.model.resolver import LoadBalancer
    from pointsman.model.router import Route
    from pointsman.model.upstream_config import Mode, PassiveHealthCheck, UpstreamLimits

HTTP_PROTOCOLS = frozenset({"http", "http2", "grpc"})
"""The protocols that routers and splitters work on."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """An entry that keeps a chain from compiling: its key, the field, and what is wrong there."""

    key: "EntryKey"
    field: str
    reason: str


class ChainError(PointsmanError):
    """Entries that are valid by themselves and do not fit together.

    `culprits` are the entries that cause it, the most likely one to correct first.
    """

    def __init__(self, text: str, culprits: Sequence[Culprit] = ()) -> None:
        super().__init__(text)
        self.culprits = tuple(culprits)

    def reached_by(self, key: "EntryKey", field: str) -> None:
        """Add `field` of the entry under `key`, which led to the error, as the least likely culprit."""
        self.culprits += (Culprit(key, field, str(self)),)


@dataclass(frozen=True, slots=True)
class Overrides:
    """Settings of a caller that override the entries: of its registration, or of the `UpstreamConfig` of its service;
    empty means unset.

    `mode_source` is where the mode comes from, for `explain`: "upstream override", "proxy override", "UpstreamConfig".
    """

    mode: "Mode" = ""
    mode_source: str = ""
    protocol: str = ""
    connect_timeout_ms: int = 0
    limits: "UpstreamLimits | None" = None
    passive_health_check: "PassiveHealthCheck | None" = None


@dataclass(frozen=True, slots=True)
class ChainTarget:
    """A target with everything needed to measure and reach it."""

    target: Target
    filter: str
    only_passing: bool
    mode: "Mode"
    mode_source: str


@dataclass(frozen=True, slots=True)
class ResolverNode:
    """The primary target and, in order, the targets to fail over to, all by id.

    `request_timeout` is the resolver's, in nanoseconds, 0 for none. `policy` is that of the primary target's service,
    `policy_of` the name of the `failover-policy` that says so, "" for none.
    """

    name: str
    target: str
    failover: tuple[str, ...]
    connect_timeout_ms: int
    load_balancer: "LoadBalancer | None" = None
    request_timeout: int = 0
    policy: Policy = NO_POLICY
    policy_of: str = ""


Headers = tuple["HeaderModifiers | None", "HeaderModifiers | None"]
"""What becomes of the headers of requests, and of those of responses."""

NO_HEADERS: Headers = (None, None)


@dataclass(frozen=True, slots=True)
class SplitterNode:
    """Shares in hundredths of a percent, each with the key of the node that gets it.

    `headers` says for each share what becomes of the headers of its requests and responses; it is empty if no share
    changes any.
    """

    name: str
    splits: tuple[tuple[int, str], ...]
    headers: tuple[Headers, ...] = ()

    def shares(self) -> list[tuple[int, str, Headers]]:
        """Each share with its headers."""
        headers = self.headers or (NO_HEADERS,) * len(self.splits)
        return [(weight, key, each) for (weight, key), each in zip(self.splits, headers, strict=True)]


@dataclass(frozen=True, slots=True)
class RouterNode:
    """Routes in order, each with the key of the node that gets its requests."""

    name: str
    routes: "tuple[tuple[Route, str], ...]"


def headers_of(shares: Iterable[Headers]) -> tuple[Headers, ...]:
    """The headers of all shares of a splitter node; empty if no share changes any."""
    found = tuple(shares)
    return found if any(each != NO_HEADERS for each in found) else ()


Node = ResolverNode | SplitterNode | RouterNode


@dataclass(frozen=True, slots=True)
class Chain:
    """What one service resolves to, from one datacenter (docs/semantics.md, section 2).

    `nodes` are by key (`resolver:web.default.dc1`, `splitter:…`, `router:…`), `targets` by target id. `customization`
    is the 8-hex hash of the overrides that took effect, "" if none did. `reads` are the services whose entries the
    compiler read: while none of those (nor an entry named `global`) changes, the chain does not change. `limits` and
    `passive_health_check` are those of all its clusters.
    """

    service: ServiceName
    datacenter: str
    used_from: str
    protocol: str
    customization: str
    start: str
    nodes: Mapping[str, Node]
    targets: Mapping[str, ChainTarget]
    reads: frozenset[ServiceName] = field(default=frozenset())
    limits: "UpstreamLimits | None" = None
    passive_health_check: "PassiveHealthCheck | None" = None
