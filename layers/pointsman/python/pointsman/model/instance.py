"""Instances of a service or of a datacenter's mesh gateways, in the shape of Consul's health API."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

MOST_WEIGHT: Final = 128
"""Envoy's greatest weight of an endpoint."""

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class Instance:
    """What selection and addressing need of one instance; `raw` keeps the rest for subset filters.

    `counts` is whether it can get traffic at all (docs/semantics.md, section 3). Addresses are as registered. `weights`
    are (passing, warning), or None if it sets none. `source` is who told of it, `silent` whether that source was not
    heard for its lease (docs/semantics.md, section 4). `since` is when it became healthy (milliseconds since 1970), 0
    if that is unknown or it is critical.
    """

    raw: Raw
    counts: bool
    critical: bool
    warning: bool
    all_passing: bool
    weights: tuple[int, int] | None
    local: tuple[str, int]
    remote: tuple[str, int]
    source: str = ""
    silent: bool = False
    since: int = 0

    @cached_property
    def health(self) -> tuple[bool, int]:
        """Whether it is healthy, and its load balancing weight, 1 to MOST_WEIGHT (docs/semantics.md, section 3)."""
        if self.weights is None:
            return not self.critical, 1
        weight = self.weights[1] if self.warning else self.weights[0]
        return (False, 1) if weight < 1 else (not self.critical, min(weight, MOST_WEIGHT))


def read_instance(raw: Raw, service: str, source: str = "", since: int = 0) -> Instance:
    """The instance that `raw` ({"Node": …, "Service": …, "Checks": …}) describes, as one of `service`.

    For mesh gateways `service` is "": a gateway counts if its kind is `mesh-gateway`. `raw` was validated when it came
    in (model.events).
    """
    node: Raw = raw.get("Node") or {}
    body: Raw = raw.get("Service") or {}
    statuses = {str(check.get("Status") or "") for check in raw.get("Checks") or ()}
    weights: Raw | None = body.get("Weights")
    own, port = str(body.get("Address") or ""), int(body.get("Port") or 0)
    local = own or str(node.get("Address") or ""), port
    return Instance(
        raw=raw,
        counts=_counts(body, service),
        critical="critical" in statuses,
        warning="warning" in statuses,
        all_passing=statuses <= {"passing"},
        weights=(_weight(weights, "Passing"), _weight(weights, "Warning")) if weights else None,
        local=local,
        remote=_remote_address(node, body, own, port) or local,
        source=source,
        since=since,
    )


def _weight(weights: Raw, name: str) -> int:
    value = weights.get(name)
    return 1 if value is None else int(value)


def _counts(body: Raw, service: str) -> bool:
    kind = body.get("Kind") or ""
    if not service:
        return kind == "mesh-gateway"
    if kind == "connect-proxy":
        return (body.get("Proxy") or {}).get("DestinationServiceName") == service
    native = (body.get("Connect") or {}).get("Native")
    return bool(native) and kind == "" and body.get("Service") == service


def _remote_address(node: Raw, body: Raw, own: str, port: int) -> tuple[str, int] | None:
    """Where another datacenter reaches the instance, if it is not where its own does (docs/semantics.md, section 6)."""
    if tagged := body.get("TaggedAddresses"):
        wan = tagged.get("wan")
        if wan and wan.get("Address"):
            return str(wan["Address"]), int(wan.get("Port") or port)
    if not own and (tagged := node.get("TaggedAddresses")) and (node_wan := tagged.get("wan")):
        return str(node_wan), port
    return None
