"""`service-router`: which request goes where (docs/semantics.md, section 1)."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from pointsman.model.conditions import HeaderMatch, PathAndMethods, QueryMatch, RegexBudget, check_one_condition
from pointsman.model.duration import Nanoseconds
from pointsman.model.headers import HeaderModifiers, header_problems
from pointsman.model.names import DEFAULT_NAMESPACE, is_plain_text
from pointsman.model.owner import Owned
from pointsman.model.resolver import Complaint
from pointsman.model.shape import Block, InNamespace, Shape, StringMap, Whole

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


class HTTPMatch(PathAndMethods):
    """All conditions that a request must meet; without any, every request matches."""

    header: list[HeaderMatch] = []
    query_param: list[QueryMatch] = []
    case_insensitive: bool = False

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
        if self.case_insensitive and self.path_regex:
            yield f"{at}.CaseInsensitive", "needs PathExact or PathPrefix; an expression begins with (?i) instead"
        yield from self.check_path(at)
        for i, header in enumerate(self.header):
            at_header = f"{at}.Header[{i}]"
            yield from check_one_condition(at_header, header, ("present", "exact", "prefix", "suffix", "regex"))
        for i, param in enumerate(self.query_param):
            yield from check_one_condition(f"{at}.QueryParam[{i}]", param, ("present", "exact", "regex"))
        yield from self.check_methods(at)


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
        budget = RegexBudget()
        for i, route in enumerate(self.routes):
            match = route.match.http if route.match else None
            if match:
                yield from budget.check(f"Routes[{i}].Match.HTTP", match.regexes())
                if budget.is_spent:
                    return
                yield from match.check(f"Routes[{i}].Match.HTTP")
            if route.destination:
                at = f"Routes[{i}].Destination"
                if route.destination.prefix_rewrite and not (match and (match.path_exact or match.path_prefix)):
                    yield f"{at}.PrefixRewrite", "needs PathExact or PathPrefix in the route's match"
                if not is_plain_text(route.destination.prefix_rewrite):
                    yield f"{at}.PrefixRewrite", "has a character that no path has"
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
