"""Translates a router's match into Envoy's RouteMatch."""

import re
from collections.abc import Iterable

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher, RouteMatch
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from pointsman.model.conditions import HeaderMatch, QueryMatch
from pointsman.model.router import HTTPMatch, Match


def every_request() -> RouteMatch:
    """The match for every request."""
    return RouteMatch(prefix="/")


def route_match(match: Match | None) -> RouteMatch:
    """Envoy's form of `match`; without a condition it takes every request.

    The mapping is Consul's (agent/xds/routes.go). In Envoy all conditions have to hold. A request without a header
    fails every condition on it, inverted or not, except an inverted `Present`. Regular expressions are RE2, have to
    match the whole path (without its query), header or parameter, and may have as many instructions as the runtime's
    `re2.max_program_size.error_level` allows: 100, unless the bootstrap sets more.
    """
    http = match.http if match else None
    if http is None:
        return every_request()
    out = _path(http)
    if http.case_insensitive:
        out.case_sensitive.value = False
    out.headers.extend(header_matcher(each) for each in http.header)
    if http.methods:
        out.headers.append(method_matcher(http.methods))
    out.query_parameters.extend(_query_parameter(each) for each in http.query_param)
    return out


def _path(http: HTTPMatch) -> RouteMatch:
    if http.path_exact:
        return RouteMatch(path=http.path_exact)
    if http.path_prefix:
        return RouteMatch(prefix=http.path_prefix)
    if http.path_regex:
        return RouteMatch(safe_regex=_regex(http.path_regex))
    return every_request()


def method_matcher(methods: Iterable[str]) -> HeaderMatcher:
    """Envoy's form of a match on any of `methods`."""
    any_of = "|".join(map(re.escape, methods))
    return HeaderMatcher(name=":method", string_match=StringMatcher(safe_regex=_regex(any_of)))


def header_matcher(match: HeaderMatch) -> HeaderMatcher:
    """Envoy's form of a match on a header."""
    if match.present:
        return HeaderMatcher(name=match.name, present_match=True, invert_match=match.invert)
    if match.exact:
        text = StringMatcher(exact=match.exact)
    elif match.prefix:
        text = StringMatcher(prefix=match.prefix)
    elif match.suffix:
        text = StringMatcher(suffix=match.suffix)
    else:
        text = StringMatcher(safe_regex=_regex(match.regex))
    return HeaderMatcher(name=match.name, string_match=text, invert_match=match.invert)


def _query_parameter(match: QueryMatch) -> QueryParameterMatcher:
    if match.present:
        return QueryParameterMatcher(name=match.name, present_match=True)
    text = StringMatcher(exact=match.exact) if match.exact else StringMatcher(safe_regex=_regex(match.regex))
    return QueryParameterMatcher(name=match.name, string_match=text)


def _regex(pattern: str) -> RegexMatcher:
    return RegexMatcher(regex=pattern)
