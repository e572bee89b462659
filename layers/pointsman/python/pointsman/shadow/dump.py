"""Reads what an Envoy's admin answers under `/config_dump?include_eds`."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import Message

from pointsman.delivery.deliver import EnvoyVersion
from pointsman.discovery.node import read_node, version_of
from pointsman.model.bounded_json import read_json
from pointsman.model.errors import InvalidInput, Problem
from pointsman.shadow.held import Held
from pointsman.shadow.typed import typed
from pointsman.xds.inbound import Host

LARGEST_DUMP_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a dump. A thousand clusters have four megabytes."""

MOST_DUMP_VALUES: Final = 3_000_000
"""Values in a dump."""

DUMP_PATH = "/config_dump?include_eds"
"""What an Envoy's admin is asked for."""

_SAVE = "save the whole of what an Envoy's admin answers under /config_dump?include_eds"
_PARTS = ("Bootstrap", "Clusters", "Listeners", "Routes", "Endpoints", "Secrets", "ScopedRoutes", "Ecds")
# service.namespace.datacenter.internal.<trust domain>: fewer labels may be anybody's names.
_INTERNAL = re.compile(r"[^.]+\.[^.]+\.[^.]+\.internal\.(.+)")

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Dump:
    """An Envoy by its dump: the id and the cluster of its node, its version (None: unknown), and what it holds.

    `host` is where its node says that a sidecar listens, if it is as `pointsman bootstrap` writes it; None for others.
    `trust_domain` is that of its server names ("" if it has none). `remarks` say what was left out and why, and in
    which state the Envoy was.
    """

    node: str
    service: str
    version: EnvoyVersion | None
    host: Host | None
    held: Held
    trust_domain: str
    remarks: tuple[str, ...]


def read_dump(content: bytes, thing: str, trust_domain: str = "") -> Dump:
    """The dump in `content`, with its own trust domain replaced by `trust_domain` if there is one.

    Raises InvalidInput, which says what it is instead if it is no dump.
    """
    return dump_of(
        read_json(content, thing, most_bytes=LARGEST_DUMP_BYTES, most_values=MOST_DUMP_VALUES), thing, trust_domain
    )


def dump_of(answer: Any, thing: str, trust_domain: str = "") -> Dump:
    """As `read_dump`, of parsed JSON."""
    parts = _parts(answer, thing)
    theirs = _trust_domain(parts)
    if theirs and trust_domain and theirs != trust_domain:
        parts = _renamed(parts, theirs, trust_domain)
    reading = _Reading(thing)
    held = reading.held(parts)
    node = _mapping(_mapping(parts.get("Bootstrap", {}).get("bootstrap")).get("node"))
    return Dump(
        str(node.get("id", "")),
        str(node.get("cluster", "")),
        version_of(node),
        _host(node),
        held,
        theirs,
        tuple(dict.fromkeys(reading.remarks)),
    )


def _parts(answer: Any, thing: str) -> dict[str, dict[str, Any]]:
    """The parts of a dump by what they have."""
    configs = answer.get("configs") if isinstance(answer, dict) else None
    if not isinstance(configs, list):
        _refuse(thing, f"is no config dump of an Envoy: {_what(answer)}; {_SAVE}")
    parts: dict[str, dict[str, Any]] = {}
    for each in configs:
        name = str(each.get("@type", "")).rpartition("/")[2] if isinstance(each, dict) else ""
        if name.startswith("envoy.admin.v2"):
            _refuse(thing, "is of an Envoy with the old API v2, which went with Envoy 1.18; start a newer Envoy")
        kind = name.removeprefix("envoy.admin.v3.").removesuffix("ConfigDump")
        if kind in _PARTS:
            parts[kind] = each
    if "Clusters" not in parts or "Listeners" not in parts:
        has = ", ".join(parts) or "neither clusters nor listeners"
        _refuse(thing, f"is only a part of a config dump (it has: {has}); {_SAVE}, without resource= or mask=")
    return parts


def _what(answer: Any) -> str:
    if not isinstance(answer, dict):
        return f"it is a {type(answer).__name__}"
    if "resources" in answer:
        return "it is a response of a control plane"
    if "static_resources" in answer or "dynamic_resources" in answer:
        return "it is a bootstrap"
    if "cluster_statuses" in answer or "listener_statuses" in answer:
        return "it is what another page of the admin answers"
    return "it has no list of configs"


def _refuse(thing: str, reason: str) -> NoReturn:
    raise InvalidInput.single(thing, "", reason)


def _host(node: Mapping[str, Any]) -> Host | None:
    try:
        return read_node(node).host
    except InvalidInput:
        return None  # somebody else's


class _Reading:
    """Reads the parts of one dump."""

    def __init__(self, thing: str) -> None:
        self._thing = thing
        self.remarks: list[str] = []
        self._problems: list[Problem] = []

    def held(self, parts: Mapping[str, Mapping[str, Any]]) -> Held:
        """What the Envoy holds. Raises InvalidInput."""
        bootstrap = _mapping(parts.get("Bootstrap", {}).get("bootstrap"))
        static = [self._static(each, "cluster", Cluster) for each in _list(parts["Clusters"], "static_clusters")]
        dynamic = list(self._clusters(parts["Clusters"]))
        fixed = [self._static(each, "listener", Listener) for each in _list(parts["Listeners"], "static_listeners")]
        fetched = list(self._listeners(parts["Listeners"]))
        routes = [
            self._static(each, "route_config", RouteConfiguration)
            for name in ("static_route_configs", "dynamic_route_configs")
            for each in _list(parts.get("Routes", {}), name)
        ]
        for each in _list(parts.get("ScopedRoutes", {}), "dynamic_scoped_route_configs"):
            self.remarks.append(f"scoped routes {each.get('name', '')} are not compared")
        clusters = {each.name: each for each in (*static, *dynamic)}
        assignments = self._assignments(parts, clusters.values())
        fetches = bool(fetched) or "lds_config" in _mapping(bootstrap.get("dynamic_resources"))
        if self._problems:
            raise InvalidInput(self._problems)
        return Held(
            tuple(fetched if fetches else fixed),
            clusters,
            assignments,
            {each.name: each for each in routes},
            tuple(fixed if fetches else ()),
            frozenset(each.name for each in (dynamic or static)),
        )

    def _clusters(self, part: Mapping[str, Any]) -> Iterator[Cluster]:
        active = {}
        for each in _list(part, "dynamic_active_clusters"):
            found = self._static(each, "cluster", Cluster)
            active[found.name] = found
            self._errors(each, f"cluster {found.name}")
        for each in _list(part, "dynamic_warming_clusters"):
            found = self._static(each, "cluster", Cluster)
            self._errors(each, f"cluster {found.name}")
            old = "its older version is compared" if found.name in active else "it is compared as it will be"
            self.remarks.append(f"cluster {found.name} was warming: {old}")
            active.setdefault(found.name, found)
        yield from active.values()

    def _listeners(self, part: Mapping[str, Any]) -> Iterator[Listener]:
        for each in _list(part, "dynamic_listeners"):
            name = str(each.get("name", ""))
            self._errors(each, f"listener {name}")
            if "draining_state" in each:
                self.remarks.append(f"listener {name} was draining: what it drains is not compared")
            state = each.get("active_state") or each.get("warming_state")
            if isinstance(state, dict):
                if "active_state" not in each:
                    self.remarks.append(f"listener {name} was warming: it is compared as it will be")
                elif "warming_state" in each:
                    self.remarks.append(f"listener {name} was warming: its older version is compared")
                yield self._static(state, "listener", Listener)

    def _errors(self, each: Mapping[str, Any], what: str) -> None:
        error = each.get("error_state")
        if isinstance(error, dict):
            self.remarks.append(f"{what}: this Envoy rejected a newer version: {error.get('details', '')}")

    def _assignments(
        self, parts: Mapping[str, Mapping[str, Any]], clusters: Iterable[Cluster]
    ) -> dict[str, ClusterLoadAssignment]:
        if "Endpoints" not in parts:
            asking = [each.name for each in clusters if each.type == Cluster.DiscoveryType.EDS]
            if asking and not self._problems:
                reason = f"has no endpoints, and {len(asking)} clusters that fetch theirs; {_SAVE}, with include_eds"
                self._problems.append(Problem(self._thing, "", reason))
            return {}
        out: dict[str, ClusterLoadAssignment] = {}
        for name in ("static_endpoint_configs", "dynamic_endpoint_configs"):
            for each in _list(parts["Endpoints"], name):
                found = self._static(each, "endpoint_config", ClusterLoadAssignment)
                out[found.cluster_name] = found
        return out

    def _static(self, each: Mapping[str, Any], name: str, kind: type[M]) -> M:
        value = each.get(name)
        what = f"{kind.DESCRIPTOR.name} {_named(value)}".rstrip()
        if isinstance(value, dict):
            of = str(value.get("@type", "")).rpartition("/")[2]
            if of in ("", kind.DESCRIPTOR.full_name):
                try:
                    return typed(value, kind, f"{self._thing}: {what}", self.remarks.append)
                except InvalidInput as error:
                    self._problems += error.problems
                    return kind()
            what = f"{what} is a {of}"
        self._problems.append(Problem(self._thing, name, f"has no {kind.DESCRIPTOR.full_name} there: {what}"))
        return kind()


def _named(value: Any) -> str:
    found = _mapping(value)
    return str(found.get("name") or found.get("cluster_name") or found.get("clusterName") or "")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(part: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = part.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _trust_domain(value: Any) -> str:
    """The trust domain that most server names end with; "" if none does."""
    found = Counter(_server_names(value))
    return max(found, key=lambda name: (found[name], name)) if found else ""


def _server_names(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _server_names(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name in ("sni", "server_names", "name"):
                for text in each if isinstance(each, list) else [each]:
                    if isinstance(text, str) and (match := _INTERNAL.search(text)):
                        yield match[1]
            yield from _server_names(each)


def _renamed(value: Any, old: str, new: str) -> Any:
    """`value` with another trust domain in every server name and SPIFFE id."""
    places = tuple((before.format(old), before.format(new)) for before in (".internal.{}", "spiffe://{}/"))
    places += ((rf"spiffe://{_escaped(old)}/", f"spiffe://{_escaped(new)}/"),)

    def rename(each: Any) -> Any:
        if isinstance(each, str):
            for before, after in places:
                each = each.replace(before, after)
            return each
        if isinstance(each, list):
            return [rename(part) for part in each]
        return {name: rename(part) for name, part in each.items()} if isinstance(each, dict) else each

    return rename(value)


def _escaped(domain: str) -> str:
    """A trust domain as it stands in a regular expression."""
    return domain.replace(".", r"\.")
