"""Derives rejections from an Envoy's counters
(https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/xds_api#xds-subscription-statistics)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote

Subscription: TypeAlias = tuple[str, str]
"""A kind (clusters, endpoints, listeners) and, for endpoints, the cluster's name as in the counters."""

_PREFIXES = {("clusters", ""): "cluster_manager.cds", ("listeners", ""): "listener_manager.lds"}
_REJECTED = "update_rejected"

REJECTED_PATH = "/stats?format=json&usedonly&filter=" + quote(
    rf"^((cluster_manager\.cds|listener_manager\.lds|cluster\..+)\.{_REJECTED}|server\.uptime)$"
)
"""The path for all subscriptions with any rejection (mostly none), and for the Envoy's uptime."""

LISTENERS_PATH = "/config_dump?resource=dynamic_listeners&mask=name,error_state"
"""The path for the errors of listeners. For clusters and endpoints Envoy writes the reasons only to its log
(https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump_shared.proto, UpdateFailureState)."""


@dataclass(frozen=True, slots=True)
class Count:
    """The numbers of rejected and accepted updates, and the version that was accepted last ("" if none was)."""

    rejected: int
    accepted: int
    version: str


def rejected_counts(answer: Any) -> dict[Subscription, int]:
    """The nonzero counters in the answer to REJECTED_PATH."""
    found = {}
    for name, value in _values(answer):
        subscription = _subscription(name.removesuffix(f".{_REJECTED}"))
        if name.endswith(f".{_REJECTED}") and subscription and type(value) is int and value > 0:
            found[subscription] = value
    return found


def uptime(answer: Any) -> int:
    """Seconds since the Envoy started, from the answer to REJECTED_PATH; 0 right after its start."""
    value = dict(_values(answer)).get("server.uptime")
    return value if type(value) is int else 0


def details_path(subscriptions: Iterable[Subscription]) -> str:
    """The path for the data that `counts` needs about these subscriptions."""
    names = "|".join(re.escape(_prefix(each)) for each in sorted(subscriptions))
    return "/stats?format=json&filter=" + quote(rf"^({names})\.(update_success|version_text)$")


def counts(rejected: Mapping[Subscription, int], answer: Any) -> dict[Subscription, Count]:
    """The rejection counters combined with the answer to `details_path`."""
    values = dict(_values(answer))
    return {
        each: Count(
            number,
            accepted if type(accepted := values.get(f"{_prefix(each)}.update_success")) is int else 0,
            str(values.get(f"{_prefix(each)}.version_text", "")),
        )
        for each, number in rejected.items()
    }


def stands(now: Count, before: Count | None, stood: bool, current: bool | None) -> bool:
    """Whether the latest update was rejected, given the previous counts and whether it was rejected then (`stood`).

    `current` is whether the Envoy has the version that it should have, None if unknown. It decides if the counters do
    not show the order: at the first check (`before` is None), and if updates were both rejected and accepted since. If
    unknown, nothing is reported: over REST, a rejected update comes again within seconds.
    """
    if current:
        return False
    if before is not None and now.accepted == before.accepted:
        return stood or now.rejected > before.rejected
    if before is not None and now.rejected == before.rejected:
        return False
    return current is False


def listener_errors(answer: Any) -> dict[str, str]:
    """Envoy's error for each listener, from the answer to LISTENERS_PATH (None: no errors)."""
    found = {}
    for each in answer.get("configs", ()) if isinstance(answer, dict) else ():
        state = each.get("error_state") if isinstance(each, dict) else None
        if isinstance(state, dict) and state.get("details"):
            name = each.get("name") or (state.get("failed_configuration") or {}).get("name") or ""
            found[str(name)] = str(state["details"])
    return found


def stat_name(cluster: str) -> str:
    """A cluster's name in counters, where a colon would end a tag."""
    return cluster.replace(":", "_")


def _values(answer: Any) -> Iterable[tuple[str, Any]]:
    stats = answer.get("stats") if isinstance(answer, dict) else None
    for stat in stats if isinstance(stats, list) else ():
        if isinstance(stat, dict) and isinstance(stat.get("name"), str) and "value" in stat:
            yield stat["name"], stat["value"]


def _prefix(subscription: Subscription) -> str:
    return _PREFIXES.get(subscription) or f"cluster.{subscription[1]}"


def _subscription(prefix: str) -> Subscription | None:
    for subscription, known in _PREFIXES.items():
        if prefix == known:
            return subscription
    return ("endpoints", prefix.removeprefix("cluster.")) if prefix.startswith("cluster.") else None
