"""Conditions on requests in words."""

from collections.abc import Iterable, Iterator

from pointsman.model.conditions import HeaderMatch, QueryMatch
from pointsman.model.intentions import HeaderPermission, HTTPPermission
from pointsman.model.router import HTTPMatch


def conditions_text(http: HTTPMatch | HTTPPermission) -> Iterator[str]:
    """Each condition that a request has to meet, in words; none where every request does."""
    if http.path_exact:
        yield f"path {http.path_exact}"
    if http.path_prefix and http.path_prefix != "/":
        yield f"path prefix {http.path_prefix}"
    if http.path_regex:
        yield f"path regex {http.path_regex}"
    for header in http.header:
        any_case = " in any case" if isinstance(header, HeaderPermission) and header.ignore_case else ""
        fields = ("exact", "prefix", "suffix", "contains", "regex")
        yield f"header {_condition(header, fields, header.invert)}{any_case}"
    for parameter in http.query_param if isinstance(http, HTTPMatch) else ():
        yield f"query {_condition(parameter, ('exact', 'regex'))}"
    if http.methods:
        yield f"method {' or '.join(http.methods)}"


def _condition(match: HeaderMatch | QueryMatch, fields: Iterable[str], invert: bool = False) -> str:
    given = [f'{field} "{value}"' for field in fields if (value := getattr(match, field, ""))]
    return " ".join([match.name, *(["not"] if invert else []), *(["present"] if match.present else given)])
