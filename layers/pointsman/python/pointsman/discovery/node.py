"""Who asks: the proxy that an Envoy's node names, the version of the Envoy, and where it listens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import Node

from pointsman.delivery.deliver import EnvoyVersion
from pointsman.discovery.proxy import GatewayId, ProxyId, SidecarId
from pointsman.model.complaints import shown
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.names import DEFAULT_NAMESPACE, GATEWAYS, is_identifier, is_label
from pointsman.xds.inbound import LONGEST_PATH, Host, is_log_path, read_place

_ENVOY = "envoy"

LONGEST_ID = 256
"""Characters of `node.id`, which only people and, of gateways, registrations read."""

_METADATA: Final = ("datacenter", "namespace", "public", "app", "access_log")

MOST_HOSTS: Final = 1024
"""Hosts in nodes that stay in memory as they were read."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What an Envoy's node says: its `proxy`, its version (`envoy`, None if unknown), and its `host`, None for a mesh
    gateway and a sidecar whose bootstrap has its public listener."""

    proxy: ProxyId
    envoy: EnvoyVersion | None
    host: Host | None = None


def host_metadata(host: Host) -> dict[str, str]:
    """`host` as metadata of a node; `read_node` reads it."""
    log = {"access_log": host.access_log} if host.access_log else {}
    return {"public": str(host.public), "app": str(host.app), **log}


def read_node(node: Mapping[str, Any] | Node) -> Asking:
    """The proxy that `node` names, its Envoy's version, and where it listens.

    `node` is an `envoy.config.core.v3.Node`, as a message or as proto3 JSON (field names in either spelling). The
    service is `cluster`, its datacenter `metadata.datacenter`, its namespace `metadata.namespace` ("default" if there
    is none). A mesh gateway has the cluster "mesh-gateway", and its registration's ID as `id`. A sidecar says in
    `metadata.public` and `metadata.app` where it listens and where its application is (`10.0.0.5:21000`), and in
    `metadata.access_log` where it logs.

    Raises InvalidInput with everything that is wrong. What is returned need not be registered.
    """
    fields = _fields(node) if isinstance(node, Node) else node
    metadata = _mapping(fields.get("metadata"))
    datacenter, cluster, node_id = metadata.get("datacenter"), fields.get("cluster"), fields.get("id")
    namespace = metadata.get("namespace") or DEFAULT_NAMESPACE
    gateway = cluster == GATEWAYS
    wrong = [
        Problem("node", field, f"{value!r} is not a lower-case DNS label; `pointsman bootstrap` writes a fitting node")
        for field, value in (
            ("metadata.datacenter", datacenter),
            ("metadata.namespace", namespace),
            ("cluster", cluster),
        )
        if not isinstance(value, str) or not is_label(value)
    ]
    if gateway and not (isinstance(node_id, str) and is_identifier(node_id)):
        wrong.append(Problem("node", "id", f"{node_id!r} is not the ID of a mesh gateway's registration"))
    if isinstance(node_id, str) and len(node_id) > LONGEST_ID:
        wrong.append(Problem("node", "id", f"has {len(node_id)} characters, {LONGEST_ID} at most are taken"))
    host, problems = (None, ()) if gateway else _read_host(*(metadata.get(name) for name in _METADATA[2:]))
    wrong += problems
    if wrong:
        raise InvalidInput(wrong)
    proxy = GatewayId(str(datacenter), str(node_id)) if gateway else SidecarId(str(datacenter), namespace, str(cluster))
    return Asking(proxy, version_of(fields), host)


def _read_host(public: Any, app: Any, log: Any) -> tuple[Host | None, Sequence[Problem]]:
    if public is app is log is None:
        return None, ()
    # Over REST each request says it again. Nothing long is kept.
    texts = (each if isinstance(each, str) and len(each) <= LONGEST_PATH else None for each in (public, app, log or ""))
    return _known_host(*texts)


@lru_cache(maxsize=MOST_HOSTS)
def _known_host(public: str | None, app: str | None, log: str | None) -> tuple[Host | None, Sequence[Problem]]:
    wrong = [
        Problem(
            "node", f"metadata.{field}", f"{shown(text)} is not IP:PORT; `pointsman bootstrap` writes a fitting node"
        )
        for field, text in (("public", public), ("app", app))
        if text is None or read_place(text) is None
    ]
    if log is None or (log and not is_log_path(log)):
        reason = f"{shown(log)} is not an absolute path without `..`, of {LONGEST_PATH} characters at most"
        wrong.append(Problem("node", "metadata.access_log", reason))
    places = [place for text in (public, app) if text is not None and (place := read_place(text)) is not None]
    return (None, wrong) if wrong else (Host(places[0], places[1], log or ""), ())


def _fields(node: Node) -> dict[str, Any]:
    version = node.user_agent_build_version.version
    return {
        "id": node.id,
        "cluster": node.cluster,
        # One by one: an Envoy's other fields may be large.
        "metadata": {
            name: node.metadata.fields[name].string_value for name in _METADATA if name in node.metadata.fields
        },
        "user_agent_name": node.user_agent_name,
        "user_agent_build_version": {
            "version": {
                "major_number": version.major_number,
                "minor_number": version.minor_number,
                "patch": version.patch,
            }
        },
    }


def version_of(fields: Mapping[str, Any]) -> EnvoyVersion | None:
    """The version of the Envoy whose node, in JSON, has these fields; None if it is unknown, or no Envoy's."""
    # Other proxies made from Envoy number their versions differently.
    if _field(fields, "user_agent_name") not in (None, "", _ENVOY):
        return None
    version = _mapping(_mapping(_field(fields, "user_agent_build_version")).get("version"))
    # Proto3 JSON leaves out what is zero.
    numbers = [_field(version, name) or 0 for name in ("major_number", "minor_number", "patch")]
    if not all(type(number) is int for number in numbers) or not any(numbers):
        return None
    major, minor, patch = numbers
    return major, minor, patch


def _field(fields: Mapping[str, Any], name: str) -> Any:
    """A field by its name in protobuf, or by the one that it has in JSON."""
    if name in fields:
        return fields[name]
    first, *others = name.split("_")
    return fields.get(first + "".join(map(str.capitalize, others)))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
