"""`service-router`: which request goes where (docs/semantics.md, section 1)."""

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from pointsman.model.complaints import shown
from pointsman.model.duration import Nanoseconds
from pointsman.model.headers import HeaderModifiers, header_problems
from pointsman.model.names import DEFAULT_NAMESPACE, is_plain_text
from pointsman.model.owner import Owned
from pointsman.model.regex import RegexError, instructions
from pointsman.model.resolver import Complaint
from pointsman.model.shape import Block, InNamespace, Shape, StringMap, Whole, camel

# RFC 9110, section 5.6.2: a method is a token.
_METHOD = re.compile(r"[A-Z0-9!#$%&'*+.^_`|~-]+\Z")

MOST_ROUTE_INSTRUCTIONS: Final = 100_000
"""RE2 instructions of all regular expressions of one router: every Envoy compiles and keeps them."""

_REFUSED_INSTRUCTIONS: Final = 10_000
"""The most that it costs to find that an expression is invalid, in instructions."""


RetryCondition = Literal[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
]
"""On what Envoy tries a request again, in its own words."""


class HeaderMatch(Shape):
    """A condition on one request header; `invert` negates it."""

    name: str = ""
    present: bool = False
    exact: str = ""
    prefix: str = ""
    suffix: str = ""
    regex: str = ""
    invert: bool = False


class QueryMatch(Shape):
    """A condition on one query parameter."""

    name: str = ""
    present: bool = False
    exact: str = ""
    regex: str = ""


class HTTPMatch(Shape):
    """All conditions that a request must meet; without any, every request matches."""

    path_exact: str = ""
    path_prefix: str = ""
    path_regex: str = ""
    header: list[HeaderMatch] = []
    query_param: list[QueryMatch] = []
    methods: list[str] = []
    case_insensitive: bool = False

    @field_validator("methods")
    @classmethod
    def _upper(cls, methods: list[str]) -> list[str]:
        return [method.upper() for method in methods]

    def regexes(self) -> Iterator[tuple[str, str]]:
        """(field, expression) of every regular expression in it."""
        if self.path_regex:
            yield "PathRegex", self.path_regex
        for i, header in enumerate(self.header):
            if header.regex:
                yield f"Header[{i}].Regex", header.regex
        for i, param in enumerate(self.query_param):
            if param.regex:
                yield f"QueryParam[{i}].Regex", param.regex

    def check(self, at: str) -> Iterator[Complaint]:
        """What is wrong with the match at path `at`, apart from its regular expressions."""
        paths = {"PathExact": self.path_exact, "PathPrefix": self.path_prefix, "PathRegex": self.path_regex}
        given = [name for name, value in paths.items() if value]
        if len(given) > 1:
            yield at, f"{', '.join(given)} exclude each other; give at most one"
        if self.case_insensitive and self.path_regex:
            yield f"{at}.CaseInsensitive", "needs PathExact or PathPrefix; an expression begins with (?i) instead"
        for name in ("PathExact", "PathPrefix"):
            if paths[name] and not paths[name].startswith("/"):
                yield f"{at}.{name}", f'"{paths[name]}" does not start with "/"'
        for i, header in enumerate(self.header):
            yield from _one_condition(f"{at}.Header[{i}]", header, ("present", "exact", "prefix", "suffix", "regex"))
        for i, param in enumerate(self.query_param):
            yield from _one_condition(f"{at}.QueryParam[{i}]", param, ("present", "exact", "regex"))
        for i, method in enumerate(self.methods):
            if not _METHOD.match(method):
                yield f"{at}.Methods", f'"{method}" is not a method, such as GET'
            elif method in self.methods[:i]:
                yield f"{at}.Methods", f'"{method}" occurs more than once'


def _one_condition(at: str, match: HeaderMatch | QueryMatch, fields: tuple[str, ...]) -> Iterator[Complaint]:
    if not match.name:
        yield f"{at}.Name", "is required"
    elif not is_plain_text(match.name):
        yield f"{at}.Name", f'"{match.name}" has a character that no name has'
    given = [camel(field) for field in fields if getattr(match, field)]
    if len(given) != 1:
        names = ", ".join(camel(field) for field in fields)
        yield at, f"needs exactly one of {names}; it has {' and '.join(given) or 'none'}"


class Match(Shape):
    """What a route matches."""

    http: Annotated[HTTPMatch | None, Block] = None


class Destination(Shape):
    """The service that a route sends requests to, with rewrite, timeout and retries."""

    service: str = ""
    service_subset: str = ""
    namespace: str = ""
    prefix_rewrite: str = ""
    request_timeout: Nanoseconds = 0
    idle_timeout: Nanoseconds = 0
    num_retries: Whole = Field(default=0, ge=0, le=2**32 - 1)
    retry_on_connect_failure: bool = False
    retry_on: list[RetryCondition] = []
    retry_on_status_codes: list[Whole] = []
    request_headers: Annotated[HeaderModifiers | None, Block] = None
    response_headers: Annotated[HeaderModifiers | None, Block] = None


class Route(Shape):
    """One rule of a router."""

    match: Annotated[Match | None, Block] = None
    destination: Annotated[Destination | None, Block] = None


class ServiceRouter(Owned):
    """The routes of a service, tried in order; a last one to the service itself is always added."""

    kind: Literal["service-router"]
    name: str
    namespace: InNamespace = DEFAULT_NAMESPACE
    routes: list[Route] = []
    meta: StringMap = {}

    def check(self) -> Iterator[Complaint]:
        """Every rule of the entry that needs no other entry."""
        spent = 0
        for i, route in enumerate(self.routes):
            match = route.match.http if route.match else None
            if match:
                at = f"Routes[{i}].Match.HTTP"
                for field, pattern in match.regexes():
                    try:
                        spent += instructions(pattern)
                    except RegexError as error:
                        # Envoy would refuse the whole listener for it.
                        spent += _REFUSED_INSTRUCTIONS
                        yield f"{at}.{field}", f"{shown(pattern)} is not a regular expression (RE2): {error}"
                if spent > MOST_ROUTE_INSTRUCTIONS:
                    reason = f"come to more than {MOST_ROUTE_INSTRUCTIONS} RE2 instructions; make them simpler"
                    yield at, f"the regular expressions up to here {reason}"
                    return
                yield from match.check(f"Routes[{i}].Match.HTTP")
            if route.destination:
                at = f"Routes[{i}].Destination"
                if route.destination.prefix_rewrite and not (match and (match.path_exact or match.path_prefix)):
                    yield f"{at}.PrefixRewrite", "needs PathExact or PathPrefix in the route's match"
                if not is_plain_text(route.destination.prefix_rewrite):
                    yield f"{at}.PrefixRewrite", "has a character that no path has"
                for field in ("request_timeout", "idle_timeout"):
                    if getattr(route.destination, field) < 0:
                        yield f"{at}.{camel(field)}", "must not be negative"
                yield from header_problems(at, route.destination)
                for j, code in enumerate(route.destination.retry_on_status_codes):
                    if not 100 <= code <= 599:
                        yield f"{at}.RetryOnStatusCodes[{j}]", f"{code} is not an HTTP status (100 to 599)"

    def labels(self) -> Iterator[Complaint]:
        """(path, name) of every name in the entry that has to be a DNS label where it is given."""
        for i, route in enumerate(self.routes):
            if route.destination:
                yield f"Routes[{i}].Destination.Service", route.destination.service
                yield f"Routes[{i}].Destination.ServiceSubset", route.destination.service_subset
                yield f"Routes[{i}].Destination.Namespace", route.destination.namespace
