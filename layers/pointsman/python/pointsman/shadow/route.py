"""Routes by meaning: which requests each takes, where it leads, and what it does to them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from envoy.config.route.v3.route_pb2 import RouteConfiguration

from pointsman.shadow.plain import Plain, field, in_order, leaves, plain, settled, text_of
from pointsman.shadow.tls import matcher_text

_ROUTE_NOT_TRAFFIC = ("name", "match", "metadata", "decorator", "tracing", "stat_prefix", "route")
_ACTION: Mapping[str, Any] = {
    "timeout": "15s",
    "cluster_not_found_response_code": "SERVICE_UNAVAILABLE",
    "append_x_forwarded_host": False,
}
_NOT_TRAFFIC = ("cluster", "weighted_clusters", "request_mirror_policies", "metadata_match", "priority")
_HOST_NOT_TRAFFIC = ("name", "domains", "routes", "metadata", "virtual_clusters")
_CONFIG_NOT_TRAFFIC = ("name", "virtual_hosts", "validate_clusters", "metadata")
_EVERYTHING = "/"


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests a route takes. `text` is the same for all that take the same; `exact` or `prefix` is the path, if
    it is a plain one, and `only_path` whether nothing else is asked."""

    text: str
    exact: str = ""
    prefix: str = ""
    only_path: bool = False
    folded: bool = False

    @property
    def takes_all(self) -> bool:
        """Whether it takes every request."""
        return self.only_path and self.prefix == _EVERYTHING

    def may_meet(self, other: "Match") -> bool:
        """Whether one request may match both; True if that is not known."""
        mine, theirs = self._path(), other._path()
        if not mine or not theirs:
            return True
        if self.folded or other.folded:
            mine, theirs = mine.lower(), theirs.lower()
        if self.exact and other.exact:
            return mine == theirs
        if self.exact:
            return mine.startswith(theirs)
        if other.exact:
            return theirs.startswith(mine)
        return mine.startswith(theirs) or theirs.startswith(mine)

    def _path(self) -> str:
        return self.exact or self.prefix


@dataclass(frozen=True, slots=True)
class Way:
    """A cluster with its part of the requests, and what it does to their headers."""

    cluster: str
    share: Fraction
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Route:
    """Requests that `match` go the `ways`; `settings` are what else is done, by path."""

    match: Match
    ways: tuple[Way, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Routes:
    """The routes of each domain in their order, without those that nothing can reach, and settings for all of them."""

    by_domain: Mapping[str, tuple[Route, ...]]
    settings: Mapping[str, Any]


def read_routes(config: RouteConfiguration) -> Routes:
    """The routes of a route configuration."""
    value = plain(config)
    by_domain: dict[str, tuple[Route, ...]] = {}
    for host in value.get("virtual_hosts", []):
        routes = tuple(_reachable(_route(each, host) for each in host.get("routes", [])))
        for domain in host.get("domains", []):
            by_domain[domain.lower()] = routes
    rest = _headed({name: each for name, each in value.items() if name not in _CONFIG_NOT_TRAFFIC})
    return Routes(by_domain, dict(leaves(settled(rest, {}))))


def _reachable(routes: Iterator[Route]) -> Iterator[Route]:
    seen: set[str] = set()
    for route in routes:
        if route.match.text not in seen:
            seen.add(route.match.text)
            yield route
        if route.match.takes_all:
            return


def _route(value: Mapping[str, Any], host: Mapping[str, Any]) -> Route:
    action = value.get("route", {})
    rest: Plain = _headed({name: each for name, each in value.items() if name not in _ROUTE_NOT_TRAFFIC})
    for name, each in _headed({name: each for name, each in host.items() if name not in _HOST_NOT_TRAFFIC}).items():
        if name in ("retry_policy", "hedge_policy"):
            if name not in action:
                action = {**action, name: each}
        else:
            rest[f"virtual_host.{name}"] = each
    if "route" in value:
        rest |= _action(action)
    return Route(
        _match(value.get("match", {})),
        tuple(_ways(action)) if "route" in value else (),
        dict(leaves(settled(rest, {}))),
    )


def _action(value: Mapping[str, Any]) -> Plain:
    found: Plain = {name: each for name, each in value.items() if name not in _NOT_TRAFFIC}
    if "retry_policy" in found:
        found["retry_policy"] = _retries(found["retry_policy"])
    # Kept by their own names: what is mirrored, and which subset of hosts counts.
    found |= {name: value[name] for name in ("request_mirror_policies", "metadata_match") if name in value}
    if value.get("priority", "DEFAULT") != "DEFAULT":
        found["priority"] = value["priority"]
    return settled(found, _ACTION)


def _retries(value: Mapping[str, Any]) -> Plain:
    found: Plain = {**value}
    found["retry_on"] = ",".join(
        sorted({each.strip() for each in value.get("retry_on", "").split(",") if each.strip()})
    )
    if "retriable_status_codes" in found:
        found["retriable_status_codes"] = sorted(found["retriable_status_codes"])
    found.setdefault("num_retries", 1)
    return settled(found, {"retry_on": "", "host_selection_retry_max_attempts": "1"})


def _ways(action: Mapping[str, Any]) -> Iterator[Way]:
    if "weighted_clusters" in action:
        yield from weighted(action["weighted_clusters"])
    elif "cluster" in action:
        yield Way(action["cluster"], Fraction(1), {})
    else:
        # By a header, or by an extension: it is compared as text.
        yield Way("", Fraction(1), {})


def weighted(value: Mapping[str, Any]) -> Iterator[Way]:
    """The ways of a WeightedCluster, of a route or a TCP proxy."""
    found = value.get("clusters", [])
    total = sum(each.get("weight", 0) for each in found)
    for each in found:
        if each.get("weight", 0):
            rest = _headed({name: part for name, part in each.items() if name not in ("name", "weight")})
            yield Way(each.get("name", ""), Fraction(each["weight"], total), dict(leaves(settled(rest, {}))))


def _headed(value: Plain) -> Plain:
    """`value` with changes of headers as text: order counts only among those of one name."""
    out = {**value}
    for name in ("request_headers_to_add", "response_headers_to_add"):
        if name in out:
            out[name] = [_header(each) for each in sorted(out[name], key=lambda each: _name(each))]
    for name in ("request_headers_to_remove", "response_headers_to_remove"):
        if name in out:
            out[name] = sorted(each.lower() for each in out[name])
    return out


def _name(option: Mapping[str, Any]) -> str:
    return str(field(option, "header", "key") or "").lower()


def _header(option: Mapping[str, Any]) -> str:
    action = option.get("append_action", "APPEND_IF_EXISTS_OR_ADD")
    if option.get("append") is False:
        action = "OVERWRITE_IF_EXISTS_OR_ADD"
    words = {"APPEND_IF_EXISTS_OR_ADD": "add", "OVERWRITE_IF_EXISTS_OR_ADD": "set"}.get(action, str(action).lower())
    return f"{words} {_name(option)}: {field(option, 'header', 'value') or field(option, 'header', 'raw_value') or ''}"


def _match(value: Mapping[str, Any]) -> Match:
    parts: list[str] = []
    exact, prefix = value.get("path", ""), value.get("prefix", "")
    folded = value.get("case_sensitive") is False
    rest = {name: each for name, each in value.items() if name not in ("path", "prefix", "case_sensitive")}
    if exact:
        parts.append(f"path {exact}")
    elif "safe_regex" in rest:
        parts.append(f"path ~{rest.pop('safe_regex').get('regex', '')}")
    elif prefix:
        parts.append(f"path {prefix}…")
    if folded and parts != [f"path {_EVERYTHING}…"]:
        parts.append("in any capitals")
    parts += in_order(header_text(each) for each in rest.pop("headers", []))
    parts += in_order(_parameter(each) for each in rest.pop("query_parameters", []))
    rest = settled(rest, {})
    if rest:
        parts.append(text_of(rest))
    return Match(", ".join(parts), exact, prefix, len(parts) == 1 and bool(exact or prefix), folded)


def header_text(value: Mapping[str, Any]) -> str:
    """A HeaderMatcher in words: equal texts match the same."""
    name, not_ = value.get("name", ""), "not " if value.get("invert_match") else ""
    if value.get("treat_missing_header_as_empty"):
        name += " (or no such header)"
    if "present_match" in value:
        present = bool(value["present_match"]) != bool(value.get("invert_match"))
        return f"header {name} present" if present else f"header {name} absent"
    for old, new in (
        ("exact_match", "exact"),
        ("prefix_match", "prefix"),
        ("suffix_match", "suffix"),
        ("contains_match", "contains"),
    ):
        if old in value:
            return f"{not_}header {name} = {matcher_text({new: value[old]})}"
    if "safe_regex_match" in value:
        return f"{not_}header {name} = ~{value['safe_regex_match'].get('regex', '')}"
    if "string_match" in value:
        return f"{not_}header {name} = {matcher_text(value['string_match'])}"
    if "range_match" in value:
        return f"{not_}header {name} in {text_of(value['range_match'])}"
    return f"header {name} present"


def _parameter(value: Mapping[str, Any]) -> str:
    name = value.get("name", "")
    if "string_match" in value:
        return f"parameter {name} = {matcher_text(value['string_match'])}"
    if value.get("present_match") is False:
        return f"parameter {name} absent"
    return f"parameter {name} present"
