"""Conditions on requests, as routes and intentions have them: paths, headers, methods."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from pydantic import field_validator

from pointsman.model.complaints import shown
from pointsman.model.names import is_plain_text
from pointsman.model.regex import RegexError, instructions
from pointsman.model.shape import Shape, camel

# RFC 9110, section 5.6.2: a method is a token.
_METHOD = re.compile(r"[A-Z0-9!#$%&'*+.^_`|~-]+\Z")

MOST_MATCH_INSTRUCTIONS: Final = 100_000
"""RE2 instructions of all regular expressions of one entry about requests: every Envoy compiles and keeps them."""

_REFUSED_INSTRUCTIONS: Final = 10_000
"""The most that it costs to find that an expression is invalid, in instructions."""


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


class PathAndMethods(Shape):
    """A condition on the path of a request, and one on its method."""

    path_exact: str = ""
    path_prefix: str = ""
    path_regex: str = ""
    methods: list[str] = []

    @field_validator("methods")
    @classmethod
    def _upper(cls, methods: list[str]) -> list[str]:
        return [method.upper() for method in methods]

    def check_path(self, at: str) -> Iterator[tuple[str, str]]:
        """What is wrong with the path at `at`, apart from a regular expression."""
        paths = {"PathExact": self.path_exact, "PathPrefix": self.path_prefix, "PathRegex": self.path_regex}
        given = [name for name, value in paths.items() if value]
        if len(given) > 1:
            yield at, f"{', '.join(given)} exclude each other; give at most one"
        for name in ("PathExact", "PathPrefix"):
            if paths[name] and not paths[name].startswith("/"):
                yield f"{at}.{name}", f'"{paths[name]}" does not start with "/"'

    def check_methods(self, at: str) -> Iterator[tuple[str, str]]:
        """What is wrong with the methods at `at`."""
        for i, method in enumerate(self.methods):
            if not _METHOD.match(method):
                yield f"{at}.Methods", f'"{method}" is not a method, such as GET'
            elif method in self.methods[:i]:
                yield f"{at}.Methods", f'"{method}" occurs more than once'


def check_one_condition(at: str, match: HeaderMatch | QueryMatch, fields: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What is wrong with a condition at `at` that has exactly one of `fields`."""
    if not match.name:
        yield f"{at}.Name", "is required"
    elif not is_plain_text(match.name):
        yield f"{at}.Name", f'"{match.name}" has a character that no name has'
    given = [camel(field) for field in fields if getattr(match, field)]
    if len(given) != 1:
        names = ", ".join(camel(field) for field in fields)
        yield at, f"needs exactly one of {names}; it has {' and '.join(given) or 'none'}"


class RegexBudget:
    """The regular expressions of one entry, as many as every Envoy can bear."""

    def __init__(self) -> None:
        self._spent = 0

    @property
    def is_spent(self) -> bool:
        """Whether they are more than MOST_MATCH_INSTRUCTIONS."""
        return self._spent > MOST_MATCH_INSTRUCTIONS

    def check(self, at: str, patterns: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """What is wrong with the expressions of the match at `at`, each with its field. Envoy would refuse the whole
        listener for it."""
        for field, pattern in patterns:
            try:
                self._spent += instructions(pattern)
            except RegexError as error:
                self._spent += _REFUSED_INSTRUCTIONS
                yield f"{at}.{field}", f"{shown(pattern)} is not a regular expression (RE2): {error}"
        if self.is_spent:
            reason = f"come to more than {MOST_MATCH_INSTRUCTIONS} RE2 instructions; make them simpler"
            yield at, f"the regular expressions up to here {reason}"
