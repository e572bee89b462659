"""The API described as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), from the table of routes."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from pointsman.api.refusals import AGAIN
from pointsman.api.request import Answer, Api, Request
from pointsman.api.routes import ROUTES, Route
from pointsman.api.schemas import GENERATION, NAME, SCHEMAS, SWITCH, TEXT, Schema, named
from pointsman.model.entries import KINDS
from pointsman.model.grants import Role
from pointsman.model.note import LONGEST_MESSAGE

VERSION: Final = "1"
"""The version of the API: the number in its paths."""

_QUERY: Final[dict[str, tuple[str, Schema]]] = {
    "after": ("The later generation; the current one without.", GENERATION),
    "at": ("A moment: 12:03 (UTC), or RFC 3339 with an offset.", TEXT),
    "before": ("The earlier generation; the one before `after` without.", GENERATION),
    "by": ("Who does it, to be noted. It counts on loopback alone: elsewhere who sends the request is noted.", TEXT),
    "dc": ("A datacenter.", NAME),
    "down": ("Datacenters, and services in one (dc1/web, dc1/namespace/web), separated by commas.", TEXT),
    "dry_run": ("1: say what would happen, and change nothing.", SWITCH),
    "epoch": ("The epoch of what was watched.", {"type": "string", "pattern": "^[0-9]{1,18}$"}),
    "force": ("1: give the order although it is refused; that is noted.", SWITCH),
    "generation": ("The generation that the config has to be; else nothing is written.", GENERATION),
    "index": ("The index of what was watched, without the header X-Consul-Index.", GENERATION),
    "kind": ("One kind of documents.", {"type": "string", "enum": [*KINDS, "registration"]}),
    "message": ("What a change of the config is for, to be noted.", {**TEXT, "maxLength": LONGEST_MESSAGE}),
    "most": ("How many at most.", {"type": "integer", "minimum": 1}),
    "namespace": ("The namespace; default without.", NAME),
    "orders": ('Orders in words ("drain dc1", "pin web to dc3", "end d-1"), separated by commas.', TEXT),
    "owner": ("Whose the documents are: only what is new or has this owner is changed.", NAME),
    "prune": ("1: what the owner has besides goes; without an owner, what belongs to nobody.", SWITCH),
    "registered": ("The name under which the sidecars are registered.", TEXT),
    "service": ("A service; for a watch, the one that was watched.", NAME),
    "caller": ("As the registered sidecar of this service sees it.", NAME),
    "since": ("How long ago a span begins: a duration, such as 1h.", TEXT),
    "source": ("As which source the watch tells.", TEXT),
    "type": ("What was watched.", {"type": "string", "enum": ["service", "checks"]}),
}
_OF_WATCHES: Final = {"kind": ("mesh-gateway: the watch is of mesh gateways.", TEXT)}
"""Parameters that mean something else to a watch."""

_VALUES: Final[dict[str, tuple[str, Schema]]] = {
    "generation": ("The number of a generation.", GENERATION),
    "id": ("The id of a mesh gateway, or of an order.", {**TEXT, "minLength": 1}),
    "kind": ("The kind of a config entry.", {"type": "string", "enum": list(KINDS)}),
    "name": ("The name of an entry, of the service of a sidecar, or of a source.", {**TEXT, "minLength": 1}),
    "service": ("The name of a service; mesh-gateway for the mesh gateways.", {**TEXT, "minLength": 1}),
}
_REFUSALS: Final = {
    400: "Invalid: every problem is named, and nothing was changed.",
    401: "No token, or an unknown one.",
    403: "Not for whoever asks.",
    404: "There is no such thing.",
    409: "Lost to other writers again and again, an order that would leave somebody without a healthy target, or a "
    "config that is another generation by now.",
    413: "Too large.",
    415: "Another content type is needed.",
    500: "The store is damaged, or a defect.",
    503: "The store is away, or too much is waiting: send it again.",
}
_DOCUMENT_TYPES: Final = ("application/json", "application/yaml", "application/hcl")


def show(api: Api, request: Request) -> Answer:
    """Show this description of the API."""
    return Answer(200, document())


@cache
def document() -> dict[str, Any]:
    """The description."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(_path(route), {})[route.method.lower()] = _operation(route)
    retry = {"retry-after": {"description": "Seconds.", "schema": {"type": "string", "const": AGAIN["retry-after"]}}}
    error = {"application/json": {"schema": named("Error")}}
    responses: dict[str, Any] = {
        str(status): {"description": said, "content": error} for status, said in _REFUSALS.items()
    }
    responses["503"]["headers"] = retry
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman",
            "version": VERSION,
            "summary": "A control plane for Envoy failover between datacenters",
            "description": "Tells and asks `pointsman up`, or the function `configure` on AWS (docs/api.md).",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        # Any of these; on loopback none, on AWS IAM.
        "security": [{}, {"token": []}, {"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "responses": responses,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`pointsman token make`."},
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A client certificate, `pointsman token make --certificate`.",
                },
            },
        },
    }


def _path(route: Route) -> str:
    return route.path.replace("...}", "}")


def _operation(route: Route) -> dict[str, Any]:
    words = [each for each in re.split(r"\W+", route.path) if each and each != "v1"]
    found: dict[str, Any] = {
        "operationId": "_".join([route.method.lower(), *words]),
        "summary": (route.run.__doc__ or "").partition("\n")[0],
        "description": _description(route),
        "parameters": list(_parameters(route)),
        "responses": {"200": {"description": "Done.", "content": {"application/json": {"schema": named(route.shows)}}}}
        | {str(status): {"$ref": f"#/components/responses/{status}"} for status in _statuses(route)},
    }
    if not found["parameters"]:
        del found["parameters"]
    if route.role is None:
        found["security"] = [{}]
    if (body := route.body) is not None:
        schema = named(body.schema)
        types = _DOCUMENT_TYPES if "yaml" in body.said else _DOCUMENT_TYPES[:1]
        found["requestBody"] = {
            "required": True,
            "description": f"{body.said}, {body.most_bytes} bytes at most.",
            "content": {
                each: {"schema": schema if each == "application/json" else {"type": "string"}} for each in types
            },
        }
    return found


def _description(route: Route) -> str:
    if route.role is None:
        return "Open to all."
    more = " Registrations alone; all else needs the role configure." if route.role is Role.REGISTER else ""
    return f"Needs the role {route.role.value}.{more}"


def _parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)", route.path):
        said, schema = _VALUES[name]
        yield {"name": name, "in": "path", "required": True, "description": said, "schema": schema}
    watch = "type" in route.query
    for name in route.query:
        said, schema = _OF_WATCHES.get(name, _QUERY[name]) if watch else _QUERY[name]
        yield {"name": name, "in": "query", "description": said, "schema": schema}


def _statuses(route: Route) -> Iterator[int]:
    has_body = route.body is not None
    writes = route.method != "GET" and route.role not in (Role.REPORT, Role.READ)
    for status in _REFUSALS:
        match status:
            case 404 if "{" not in route.path:
                continue
            case 409 if not writes:
                continue
            case 413 | 415 if not has_body:
                continue
            case 401 | 403 if route.role is None:
                continue
        yield status
