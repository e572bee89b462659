"""Matches, timeouts and retries of App Mesh's routes in the words of a `service-router`."""

from typing import Any, Final

from pointsman.importers.pieces import Ledger, Piece
from pointsman.importers.ranges import range_pattern
from pointsman.model.names import is_plain_text
from pointsman.model.regex import RegexError, instructions

JSON = dict[str, Any]

_RETRY_ON: Final = {
    "server-error": ("5xx",),
    "gateway-error": ("gateway-error", "reset"),
    "client-error": ("retriable-4xx",),
    "stream-error": ("refused-stream",),
    "connection-error": ("connect-failure",),
    "cancelled": ("cancelled",),
    "deadline-exceeded": ("deadline-exceeded",),
    "internal": ("internal",),
    "resource-exhausted": ("resource-exhausted",),
    "unavailable": ("unavailable",),
}
"""App Mesh's events, HTTP's, TCP's and gRPC's, and Envoy's conditions. Its 5xx holds what a reset is, too."""

_NONE: Final = "-1s"
"""App Mesh's 0 is no timeout, and here 0 is Envoy's default."""


class NoCounterpartError(Exception):
    """A condition that a `service-router` cannot have: `args` are the reason and what to do instead."""


def http_match(match: Piece | None, ports: set[int]) -> JSON:
    """The conditions of an HTTP or gRPC route, or gateway route. `ports` are those of its listeners.

    Raises NoCounterpartError if one cannot be said here: without it the route would take more requests than before.
    """
    found: JSON = {}
    if match is None:
        return found
    if match.get("serviceName") is not None:
        method = match.text("methodName")
        found["PathExact" if method else "PathPrefix"] = f"/{match.text('serviceName')}/{method}"
    elif match.get("methodName") is not None:
        raise NoCounterpartError("a method without its service is no path", "name the serviceName too")
    elif prefix := match.text("prefix"):
        found["PathPrefix"] = prefix
    elif exact := match.text("path", "exact"):
        found["PathExact"] = exact
    elif pattern := match.text("path", "regex"):
        found["PathRegex"] = _checked(pattern)
    for field in ("PathPrefix", "PathExact"):
        if not found.get(field, "/").startswith("/"):
            raise NoCounterpartError(f'"{found[field]}" does not start with "/"', "correct it")
    headers = [_header(each) for each in [*match.items("headers"), *match.items("metadata")]]
    if host := match.text("hostname", "exact"):
        headers.append({"Name": ":authority", "Exact": host})
    if suffix := match.text("hostname", "suffix"):
        headers.append({"Name": ":authority", "Suffix": suffix})
    if scheme := match.text("scheme"):
        headers.append({"Name": ":scheme", "Exact": scheme})
    if headers:
        found["Header"] = headers
    if params := [_parameter(each) for each in match.items("queryParameters")]:
        found["QueryParam"] = params
    if method := match.text("method"):
        found["Methods"] = [method]
    if (port := match.number("port")) and ports - {port}:
        others = ", ".join(str(each) for each in sorted(ports - {port}))
        reason = f"only port {port} and not {others}: a router does not ask for the port"
        raise NoCounterpartError(reason, "make a service for each port, with a router of its own")
    return found


def _header(header: Piece) -> JSON:
    found: JSON = {"Name": _named(header)}
    match = header.get("match")
    kinds = [each for each in ("exact", "prefix", "suffix", "regex") if match and match.get(each)]
    if match and match.get("range"):
        start, end = match.get("range", "start"), match.get("range", "end")
        if start is None or end is None or start.value >= end.value:
            raise NoCounterpartError(f'the range of header "{found["Name"]}" is empty', "correct it")
        found["Regex"] = range_pattern(start.value, end.value)
    elif kinds:
        text = match.text(kinds[0]) if match else ""
        found[kinds[0].capitalize()] = _checked(text) if kinds[0] == "regex" else text
    else:
        found["Present"] = True
    if (invert := header.get("invert")) and invert.value:
        found["Invert"] = True
    return found


def _parameter(parameter: Piece) -> JSON:
    exact = parameter.text("match", "exact")
    return {"Name": _named(parameter)} | ({"Exact": exact} if exact else {"Present": True})


def _named(condition: Piece) -> str:
    if not is_plain_text(name := condition.text("name")) or not name:
        raise NoCounterpartError(f'"{name}" is no name of a header or parameter', "correct it")
    return name


def _checked(pattern: str) -> str:
    try:
        instructions(pattern)
    except RegexError as error:
        raise NoCounterpartError(f'"{pattern}" is no RE2: {error}', "correct it") from None
    return pattern


def duration(piece: Piece | None) -> str:
    """A duration of the API's as Go writes it; "" for none, for zero, and for one without a unit."""
    if piece is None or not piece.number("value") or not piece.text("unit"):
        return ""
    return f"{piece.number('value')}{piece.text('unit')}"


def timeouts(route: Piece, ledger: Ledger, into: str) -> JSON:
    """The timeouts of a route, in its Destination."""
    found: JSON = {}
    for kind, field in (("perRequest", "RequestTimeout"), ("idle", "IdleTimeout")):
        piece = route.get("timeout", kind)
        if piece is None:
            continue
        if text := duration(piece) or (_NONE if piece.get("value") is not None and not piece.number("value") else ""):
            found[field] = text
            ledger.convert(piece, into)
        else:
            ledger.name(piece, "is no time with its unit", f"set {field} in {into}")
    return found


def not_tried_again(piece: Piece, ledger: Ledger) -> None:
    """Remark that requests by `piece`, which sets no retries, are tried once."""
    ledger.remark_once(
        piece,
        "App Mesh tried again up to twice where nothing set a retryPolicy (503, UNAVAILABLE, connections that fail); "
        "here requests are tried once, unless a route has NumRetries",
    )


def retries(route: Piece, ledger: Ledger, into: str) -> JSON:
    """The retries of a route, in its Destination."""
    policy = route.get("retryPolicy")
    if policy is None:
        not_tried_again(route, ledger)
        return {}
    reason = "there is no timeout for one try"
    ledger.name(
        policy.get("perRetryTimeout"), reason, "the route's RequestTimeout holds for all tries together: set that"
    )
    events = [each for kind in ("httpRetryEvents", "tcpRetryEvents", "grpcRetryEvents") for each in policy.items(kind)]
    for each in events:
        if each.value not in _RETRY_ON:
            ledger.name(each, "App Mesh's API has no such event", f"use one of {', '.join(_RETRY_ON)}")
    known = [condition for each in events for condition in _RETRY_ON.get(each.value, ())]
    if not known or not policy.number("maxRetries"):
        ledger.pass_over(policy, "never tries again")
        return {}
    ledger.convert(policy, into)
    return {"NumRetries": policy.number("maxRetries"), "RetryOn": list(dict.fromkeys(known))}
