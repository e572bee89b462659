"""The table of routes: what the API answers, to whom, and how a request is checked against it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from pointsman.api.refusals import guarded
from pointsman.api.request import Answer, Api, Declined, Request, parameters_in
from pointsman.model.grants import Grant, Role
from pointsman.model.loading import MOST_BYTES as MOST_CONFIG_BYTES
from pointsman.model.sources.text import MOST_BYTES as MOST_EVENT_BYTES
from pointsman.model.wishes import MOST_BYTES as MOST_ORDER_BYTES

if TYPE_CHECKING:
    from pointsman.model.sources.reading import Reading


@dataclass(frozen=True, slots=True)
class Body:
    """What the body of a request is: the name of its schema, its content types, as a pattern and for people, and how
    long it may be. `way_out` is said where it is longer."""

    schema: str
    types: re.Pattern[str]
    said: str
    most_bytes: int
    way_out: str


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    In `path`, `{name}` stands for one segment, `{name...}` for the rest.
    `role` is what the sender has to be for, None for nobody in particular.
    `answers` names the function that answers, and `takes`, for events, of which a server may take in many at once, the
    one that reads them: both in this room, and imported when they are first needed. `shows` names the schema of a good
    answer (`schemas.py`), `query` the parameters that the URL may have.
    """

    method: str
    path: str
    role: Role | None
    answers: str
    shows: str
    query: tuple[str, ...] = ()
    body: Body | None = None
    takes: str = ""

    @property
    def run(self) -> Callable[[Api, Request], Answer]:
        """Answers a request."""
        return cast(Callable[[Api, Request], Answer], _function(self.answers))

    @property
    def reads(self) -> "Callable[[Api, Request], Reading] | None":
        """Reads the events in a request; None if it is for something else."""
        return cast("Callable[[Api, Request], Reading]", _function(self.takes)) if self.takes else None


@cache
def _function(name: str) -> object:
    module, _, function = name.partition(".")
    return getattr(import_module(f"pointsman.api.{module}"), function)


_JSON: Final = r"application/(json|[a-z0-9!#$&^_.+-]+\+json)"
_EVENT: Final = Body("Event", re.compile(rf"{_JSON}\Z"), "JSON", MOST_EVENT_BYTES, "send single instances")
_DOCUMENTS: Final = Body(
    "Batch",
    re.compile(rf"({_JSON}|(application|text)/(x-)?(yaml|hcl))\Z"),
    "JSON, application/yaml or application/hcl",
    MOST_CONFIG_BYTES,
    "split it",
)
_WATCHED: Final = replace(_EVENT, schema="Watched")
_ORDER: Final = Body("Wish", re.compile(rf"{_JSON}\Z"), "JSON", MOST_ORDER_BYTES, "an order is shorter")
_WHAT_IF: Final = Body("Supposed", re.compile(rf"{_JSON}\Z"), "JSON", MOST_CONFIG_BYTES, "suppose less at once")

_WATCH: Final = ("type", "dc", "service", "namespace", "kind", "registered", "source", "epoch", "index")
_NOTED: Final = ("by", "message")
_WRITE: Final = ("dry_run", "dc", "owner", "prune", "generation", *_NOTED)
_REGISTRATION: Final = ("dc", "namespace")

ROUTES: Final = (
    Route("POST", "/v1/events", Role.REPORT, "events.take_event", "Taken", (), _EVENT, "events.read_event"),
    Route("POST", "/v1/consul/watch", Role.REPORT, "events.take_watch", "Taken", _WATCH, _WATCHED, "events.read_watch"),
    # Who may only register may write nothing else: the function looks.
    Route("PUT", "/v1/config", Role.REGISTER, "config.write", "Written", _WRITE, _DOCUMENTS),
    Route("POST", "/v1/config", Role.REGISTER, "config.write", "Written", _WRITE, _DOCUMENTS),
    Route("GET", "/v1/config", Role.READ, "config.show_all", "Documents", ("kind",)),
    Route(
        "GET",
        "/v1/config/registration/{name}",
        Role.READ,
        "config.show_registration",
        "Registration",
        _REGISTRATION,
    ),
    Route(
        "DELETE",
        "/v1/config/registration/{name}",
        Role.REGISTER,
        "config.delete_registration",
        "Written",
        (*_REGISTRATION, "owner", *_NOTED),
    ),
    Route(
        "GET",
        "/v1/config/registration/gateway/{id}",
        Role.READ,
        "config.show_registration",
        "Registration",
        ("dc",),
    ),
    Route(
        "DELETE",
        "/v1/config/registration/gateway/{id}",
        Role.REGISTER,
        "config.delete_registration",
        "Written",
        ("dc", "owner", *_NOTED),
    ),
    Route("GET", "/v1/config/{kind}/{name}", Role.READ, "config.show", "Entry", ("namespace",)),
    Route(
        "DELETE",
        "/v1/config/{kind}/{name}",
        Role.CONFIGURE,
        "config.delete",
        "Written",
        ("namespace", "owner", *_NOTED),
    ),
    Route("POST", "/v1/rollback/{generation}", Role.CONFIGURE, "config.roll_back", "Written", _NOTED),
    Route("GET", "/v1/orders", Role.READ, "orders.show_orders", "Orders"),
    Route("POST", "/v1/orders", Role.ORDER, "orders.give_order", "Given", ("dry_run", "force", "by"), _ORDER),
    Route("POST", "/v1/orders/{id}/end", Role.ORDER, "orders.end_order", "Ended", ("by",)),
    Route("GET", "/v1/sources", Role.READ, "sources.show_sources", "Sources", ("dc",)),
    # Names of sources have slashes.
    Route("DELETE", "/v1/sources/{name...}", Role.CONFIGURE, "sources.forget_source", "Forgotten", ("dc", "dry_run")),
    # Who tells of a datacenter probes the gateways of the others.
    Route("GET", "/v1/gateways", Role.REPORT, "gateways.show_all", "Gateways"),
    Route("GET", "/v1/status", Role.READ, "status.show_status", "Status", ("service", "namespace", "dc")),
    Route("GET", "/v1/instances/{service}", Role.READ, "status.show_instances", "Instances", ("dc", "namespace")),
    Route("GET", "/v1/proxies", Role.READ, "status.show_proxies", "Proxies", ("service", "namespace", "dc")),
    Route(
        "GET",
        "/v1/explain/{service}",
        Role.READ,
        "explain.show_explanation",
        "Explanation",
        ("dc", "namespace", "caller"),
    ),
    Route("GET", "/v1/whatif", Role.READ, "what_if.show_what_if", "WhatIf", ("down", "orders")),
    Route("POST", "/v1/whatif", Role.READ, "what_if.answer_what_if", "WhatIf", ("dc", "owner", "prune"), _WHAT_IF),
    Route(
        "GET",
        "/v1/history",
        Role.READ,
        "history.show_history",
        "History",
        ("service", "namespace", "dc", "since", "at"),
    ),
    Route("GET", "/v1/generations", Role.READ, "generations.show_log", "Log", ("most",)),
    Route("GET", "/v1/diff", Role.READ, "generations.show_difference", "Difference", ("before", "after")),
    Route("GET", "/openapi.json", None, "openapi.show", "Any"),
)
"""Every route; of two that match, the first one answers."""


def import_all() -> None:
    """Import all that answers, so that no request has to wait for it."""
    for route in ROUTES:
        _ = route.run, route.reads


def _pattern(path: str) -> re.Pattern[str]:
    segments = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
    return re.compile(re.sub(r"\{(\w+)\.\.\.\}", r"(?P<\1>(?s:.+))", segments) + r"\Z")


_FIXED: Final = {(each.method, each.path): each for each in ROUTES if "{" not in each.path}
_PATTERNS: Final = [(_pattern(each.path), each) for each in ROUTES]


def find(method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    """The route of a request, and the values in its path. Raises Declined: 404, or 405 with what is allowed there."""
    if method == "HEAD":
        method = "GET"
    if (fixed := _FIXED.get((method, path))) is not None:
        return fixed, {}
    allowed: list[str] = []
    for pattern, route in _PATTERNS:
        if found := pattern.match(path):
            if route.method == method:
                return route, found.groupdict()
            allowed.append(route.method)
    if allowed:
        these = ", ".join(dict.fromkeys(allowed))
        raise Declined(405, f"{method[:20]} is not answered here, only {these}", {"allow": these})
    raise Declined(404, "there is no such page here")


def check_role(route: Route, grant: Grant) -> None:
    """Raise Declined, 403, if `grant` is not for `route`."""
    if route.role is not None and not grant.has(route.role):
        raise Declined(403, f"{grant.who} is not for {route.role.value}")


def check_type(body: Body, content_type: str) -> None:
    """Raise Declined, 415, unless this is a content type of `body`."""
    # Also for browsers: a page can set none of these for another server.
    if not body.types.match(content_type.partition(";")[0].strip().lower()):
        reason = f'the content type is "{content_type[:100]}"' if content_type else "there is no content type"
        raise Declined(415, f"{reason}; say that it is {body.said}: -H 'content-type: application/json'")


def answer(api: Api, request: Request) -> Answer:
    """The answer to a request whose body was read already. Raises nothing."""

    def found() -> Answer:
        route, values = find(request.method, request.path)
        check_role(route, request.grant)
        if (body := route.body) is not None:
            check_type(body, request.headers.get("content-type", ""))
            if len(request.body) > body.most_bytes:
                raise Declined(413, f"the body is larger than {body.most_bytes} bytes; {body.way_out}")
        parameters = parameters_in(request.query, route.query)
        return route.run(api, replace(request, values=values, parameters=parameters))

    return guarded(found)
