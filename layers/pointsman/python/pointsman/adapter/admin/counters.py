"""What an Envoy's counters say of the configurations that it rejected
(https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/xds_api#xds-subscription-statistics)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote

Subscription: TypeAlias = tuple[str, str]
"""A kind (clusters, endpoints, listeners) and, for endpoints, the name of the cluster as counters have it."""

_PREFIXES = {("clusters", ""): "cluster_manager.cds", ("listeners", ""): "listener_manager.lds"}
_REJECTED = "update_rejected"

REJECTED_PATH = "/stats?format=json&usedonly&filter=" + quote(
    rf"^((cluster_manager\.cds|listener_manager\.lds|cluster\..+)\.{_REJECTED}|server\.uptime)$"
)
"""Asks for every subscription that ever had something rejected (mostly none), and for how long the Envoy is up."""

LISTENERS_PATH = "/config_dump?resource=dynamic_listeners&mask=name,error_state"
"""Asks for what was wrong with listeners. Envoy has no such words of clusters and endpoints but in its log
(https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump_shared.proto, UpdateFailureState)."""


@dataclass(frozen=True, slots=True)
class Count:
    """How often something was rejected and accepted, and the version that was accepted last ("" if none was)."""

    rejected: int
    accepted: int
    version: str


def rejected_counts(answer: Any) -> dict[Subscription, int]:
    """The counters in the answer to REJECTED_PATH that are not 0."""
    found = {}
    for name, value in _values(answer):
        subscription = _subscription(name.removesuffix(f".{_REJECTED}"))
        if name.endswith(f".{_REJECTED}") and subscription and type(value) is int and value > 0:
            found[subscription] = value
    return found


def uptime(answer: Any) -> int:
    """Seconds since the Envoy started, from the answer to REJECTED_PATH: 0 right after that."""
    value = dict(_values(answer)).get("server.uptime")
    return value if type(value) is int else 0


def details_path(subscriptions: Iterable[Subscription]) -> str:
    """Asks for what `counts` wants to know of these."""
    names = "|".join(re.escape(_prefix(each)) for each in sorted(subscriptions))
    return "/stats?format=json&filter=" + quote(rf"^({names})\.(update_success|version_text)$")


def counts(rejected: Mapping[Subscription, int], answer: Any) -> dict[Subscription, Count]:
    """The rejected counters together with the answer to `details_path`."""
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
    """Whether the last that came was rejected, given the counts at the look before and whether one stood then.

    `current` is whether the Envoy has the version that it should have, None where that is not known. It decides where
    counters do not tell what came last: at the first look (`before` None), and where some was rejected and some
    accepted since. Where it is not known nobody is accused: over REST, what is rejected comes again within seconds.
    """
    if current:
        return False
    if before is not None and now.accepted == before.accepted:
        return stood or now.rejected > before.rejected
    if before is not None and now.rejected == before.rejected:
        return False
    return current is False


def listener_errors(answer: Any) -> dict[str, str]:
    """By listener, what Envoy says was wrong with it, from the answer to LISTENERS_PATH (None: nothing was)."""
    found = {}
    for each in answer.get("configs", ()) if isinstance(answer, dict) else ():
        state = each.get("error_state") if isinstance(each, dict) else None
        if isinstance(state, dict) and state.get("details"):
            name = each.get("name") or (state.get("failed_configuration") or {}).get("name") or ""
            found[str(name)] = str(state["details"])
    return found


def stat_name(cluster: str) -> str:
    """How counters call a cluster: a colon would end a tag."""
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
