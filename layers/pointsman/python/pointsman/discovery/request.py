"""Reads an Envoy's request over REST, as far as the answer depends on it."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pointsman.delivery.deliver import EnvoyVersion
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.node import read_node
from pointsman.discovery.proxy import ProxyId
from pointsman.model.errors import InvalidInput, Problem
from pointsman.xds.inbound import Host

MAX_BODY_BYTES = 1024 * 1024
"""Bytes. Envoy's requests have 77 KB, nearly all of it the list of what it was built with."""

LONGEST_TEXT = 1024
"""Characters of a version or of a name. Ours have a few hundred at most."""

_EXTENSIONS = b'"extensions":['
_END = b"}]"

_lists: deque[bytes] = deque(maxlen=8)


@dataclass(frozen=True, slots=True)
class Asker:
    """The asking Envoy, which serves `proxy`. `node_id` is for people only; `host` as in `Asking`."""

    proxy: ProxyId
    envoy: EnvoyVersion | None
    node_id: str
    host: Host | None = None


@dataclass(frozen=True, slots=True)
class DiscoveryRequest:
    """A request for `kind`. `name` is that of the endpoints asked for, "" for the others; `version` what the Envoy
    has, "" if it has nothing."""

    asker: Asker
    kind: ResourceKind
    name: str
    version: str


def read_request(kind: ResourceKind, body: bytes) -> DiscoveryRequest:
    """The request for `kind` whose body is a DiscoveryRequest as proto3 JSON. Raises InvalidInput."""
    fields = _parse_shortened(body) or _parse(body)
    node = fields.get("node")
    if not isinstance(node, Mapping):
        raise InvalidInput.single("request", "node", "is missing: it names the proxy that asks")
    asking = read_node(node)
    return _request(kind, fields, Asker(asking.proxy, asking.envoy, str(node.get("id", "")), asking.host))


def _parse_shortened(body: bytes) -> Mapping[str, Any] | None:
    """The request without its unused part; None if it does not look as Envoy writes it.

    Nearly all of its 77 KB are the list of what the Envoy was built with. Parsing it would be most of the work of an
    answer.
    """
    start = body.find(_EXTENSIONS) + len(_EXTENSIONS) - 1
    end = _end_of_list(body, start) if start >= len(_EXTENSIONS) - 1 else 0
    if not end:
        return None
    try:
        fields = orjson.loads(body[:start] + b"[]" + body[end:])
    except orjson.JSONDecodeError:
        return None
    node = fields.get("node") if isinstance(fields, Mapping) else None
    return fields if isinstance(node, Mapping) and node.get("extensions") == [] else None


def _end_of_list(body: bytes, start: int) -> int:
    """Where the list that begins at `start` ends; 0 if that is not easy to see.

    All Envoys of one build send the same list, so it is read once and then only compared.
    """
    for known in _lists:
        if body.startswith(known, start):
            return start + len(known)
    end = body.find(_END, start) + len(_END)
    try:
        found = orjson.loads(body[start:end]) if end >= len(_END) else None
    except orjson.JSONDecodeError:
        return 0
    if not isinstance(found, list):
        return 0
    _lists.append(body[start:end])
    return end


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput.single("request", "", f"is not JSON: {error}") from None
    if not isinstance(fields, Mapping):
        raise InvalidInput.single("request", "", "is not a JSON object")
    return fields


def _request(kind: ResourceKind, fields: Mapping[str, Any], asker: Asker) -> DiscoveryRequest:
    version = fields.get("version_info", fields.get("versionInfo", ""))
    names = fields.get("resource_names", fields.get("resourceNames", []))
    type_url = fields.get("type_url", fields.get("typeUrl", ""))
    wrong = []
    if not isinstance(version, str):
        wrong.append(Problem("request", "version_info", "is not a string"))
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        wrong.append(Problem("request", "resource_names", "is not a list of strings"))
    elif kind is ResourceKind.ENDPOINTS and len(names) != 1:
        reason = f"has {len(names)} names: each cluster asks for its own endpoints, and gets nothing else"
        wrong.append(Problem("request", "resource_names", reason))
    first = names[0] if isinstance(names, list) and names else ""
    for field, text in (("version_info", version), ("resource_names", first)):
        if isinstance(text, str) and len(text) > LONGEST_TEXT:
            wrong.append(Problem("request", field, f"has {len(text)} characters, {LONGEST_TEXT} at most are taken"))
    if type_url not in ("", kind.type_url):
        wrong.append(Problem("request", "type_url", f"{type_url!r} is not what is asked for here: {kind.type_url}"))
    if wrong:
        raise InvalidInput(wrong)
    return DiscoveryRequest(asker, kind, names[0] if kind is ResourceKind.ENDPOINTS else "", version)
