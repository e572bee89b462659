"""What an Envoy's request over REST says, as far as an answer depends on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pointsman.adapter.node import read_node
from pointsman.adapter.proxy import ProxyId
from pointsman.adapter.rest_answers import Kind
from pointsman.model.errors import InvalidInput, Problem
from pointsman.xds.delivery import EnvoyVersion

_NODE = b'"node":'
_RECOGNISED_BY = 512
"""Bytes of a node under which it is remembered: its id, cluster and metadata come first."""

_REMEMBERED = 4096
"""Nodes. Each takes as much memory as its JSON."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: an Envoy that serves `proxy`. `node_id` is only told to people."""

    proxy: ProxyId
    envoy: EnvoyVersion | None
    node_id: str


@dataclass(frozen=True, slots=True)
class DiscoveryRequest:
    """A request for `kind`. `name` is that of the endpoints asked for, "" for the others; `version` what the Envoy
    has, "" if it has nothing."""

    asker: Asker
    kind: Kind
    name: str
    version: str


class RequestReader:
    """Reads requests. Not safe for several threads.

    Nearly all of a request's 77 KB are the list of extensions in its node, the same every time. So the text of a node
    is remembered, and where it comes again, byte by byte, it is not parsed again.
    """

    def __init__(self) -> None:
        self._askers: dict[bytes, tuple[bytes, Asker]] = {}

    def read(self, kind: Kind, body: bytes) -> DiscoveryRequest:
        """The request for `kind` whose body is a DiscoveryRequest as proto3 JSON. Raises InvalidInput."""
        start = body.find(_NODE) + len(_NODE)
        key = body[start : start + _RECOGNISED_BY]
        text, asker = self._askers.get(key, (b"", None))
        if asker is not None and body.startswith(text, start):
            fields = _parse(body[:start] + b"null" + body[start + len(text) :])
            # In something else than the request itself, it would be somebody else's node.
            if "node" in fields and fields["node"] is None:
                return _request(kind, fields, asker)
        fields = _parse(body)
        node = fields.get("node")
        if not isinstance(node, Mapping):
            raise InvalidInput.single("request", "node", "is missing: who asks?")
        asker = Asker(*read_node(node), str(node.get("id", "")))
        request = _request(kind, fields, asker)
        self._remember(body, start, key, node, asker)
        return request

    def _remember(self, body: bytes, start: int, key: bytes, node: Any, asker: Asker) -> None:
        # Envoy writes JSON without white space, as orjson does, though other numbers and escapes are possible.
        text = orjson.dumps(node)
        if start < len(_NODE) or not body.startswith(text, start):
            return
        if len(self._askers) >= _REMEMBERED:
            self._askers.pop(next(iter(self._askers)))
        self._askers[key] = text, asker


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput.single("request", "", f"is not JSON: {error}") from None
    if not isinstance(fields, Mapping):
        raise InvalidInput.single("request", "", "is not a JSON object")
    return fields


def _request(kind: Kind, fields: Mapping[str, Any], asker: Asker) -> DiscoveryRequest:
    version = fields.get("version_info", fields.get("versionInfo", ""))
    names = fields.get("resource_names", fields.get("resourceNames", []))
    type_url = fields.get("type_url", fields.get("typeUrl", ""))
    wrong = []
    if not isinstance(version, str):
        wrong.append(Problem("request", "version_info", "is not a string"))
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        wrong.append(Problem("request", "resource_names", "is not a list of strings"))
    elif kind is Kind.ENDPOINTS and len(names) != 1:
        reason = f"has {len(names)} names: each cluster asks for its own endpoints, and gets nothing else"
        wrong.append(Problem("request", "resource_names", reason))
    if type_url not in ("", kind.type_url):
        wrong.append(Problem("request", "type_url", f"{type_url!r} is not what is asked for here: {kind.type_url}"))
    if wrong:
        raise InvalidInput(wrong)
    return DiscoveryRequest(asker, kind, names[0] if kind is Kind.ENDPOINTS else "", version)
