"""The subset filter language: its syntax tree, the parser, and the check against an instance's fields.

It is the language of go-bexpr in Consul 1.6 (the page "Filtering" of Consul's HTTP API): selectors into an instance,
`==`, `!=`, `in`, `not in`, `contains`, `not contains`, `is empty`, `is not empty`, `matches`, `not matches`, joined
with `or`, `and`, `not` and parentheses. A value is a plain word (`v1`, `Service.Tags`), a number, or quoted: `"…"` with
Go's escapes, `` `…` `` as it stands. Map keys that are no plain words go into brackets: `Service.Meta["my-key"]`. What
an expression means for an instance is in `pointsman.failover.filters`.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointsman.model.errors import PointsmanError
from pointsman.model.filters.errors import FilterError, syntax_error
from pointsman.model.filters.schema import (
    INSTANCE,
    Field,
    MapOf,
    Operator,
    Scalar,
    describe,
    fields_of,
    operators_of,
    step,
)
from pointsman.model.go_literals import LiteralError, parse_bool, parse_int, quote, unquote
from pointsman.model.regex import RegexError, instructions

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

__all__ = ["EVERYTHING", "And", "Condition", "Filter", "FilterError", "Not", "Or", "field_at", "parse", "to_text"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One question about one field. `value` is of the field's type, a regular expression for `matches`, or None."""

    selector: tuple[str, ...]
    operator: Operator
    value: str | int | bool | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """True if `operand` is false."""

    operand: "Filter"


@dataclass(frozen=True, slots=True)
class And:
    """True if all `terms` are; true without terms."""

    terms: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True if one of `terms` is."""

    terms: tuple["Filter", ...]


Filter = Condition | Not | And | Or

EVERYTHING: Final = And(())
"""The filter of a subset without one."""

LONGEST_FILTER: Final = 8192
"""Characters of a filter."""

MOST_CONDITIONS: Final = 128
"""Conditions in one filter: each is evaluated for every instance of the service."""

MOST_LEVELS: Final = 100
"""`not` and parentheses inside one another."""

MOST_INSTRUCTIONS: Final = 2000
"""RE2 instructions of all regular expressions of one filter: the most that one character of text can cost."""

_PART = re.compile(r'\.?(?P<name>[A-Za-z][A-Za-z0-9_]*)|\[[ \t\r\n]*(?P<key>"[^"]*"|`[^`]*`)[ \t\r\n]*\]')
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_OPERATORS: Final = {
    "contains": Operator.IN,
    "not contains": Operator.NOT_IN,
    **{str(operator): operator for operator in Operator},
}


@lru_cache(maxsize=16384)
def parse(expression: str) -> Filter:
    """The syntax tree of `expression`; "" gives EVERYTHING.

    Raises FilterError, with the place, if it does not parse, names a field that an instance does not have, uses an
    operator that the field does not have, or has a value of another type than the field; and if it is longer than
    LONGEST_FILTER, has more than MOST_CONDITIONS or MOST_LEVELS, or its regular expressions (`pointsman.model.regex`)
    have more than MOST_INSTRUCTIONS.
    """
    if not expression:
        return EVERYTHING
    if len(expression) > LONGEST_FILTER:
        reason = f"has {len(expression)} characters, {LONGEST_FILTER} are the most; make it shorter"
        raise FilterError(expression, 0, "", reason)
    from lark.exceptions import UnexpectedInput

    try:
        tree = _grammar().parse(expression)
    except UnexpectedInput as error:
        raise syntax_error(expression, error) from None
    parsed = _filter(expression, _subtrees(tree)[0], 0)
    _bound_work(expression, parsed)
    return parsed


@cache
def _grammar() -> "Lark":
    from lark import Lark

    return Lark(Path(__file__).with_name("filters.lark").read_text(encoding="utf-8"), parser="lalr")


def field_at(selector: Sequence[str]) -> Field:
    """The kind of field that `selector` selects. Raises PointsmanError if an instance has no such field."""
    field: Field = INSTANCE
    for name in selector:
        inner = step(field, name)
        if inner is None:
            raise PointsmanError(f'an instance has no field "{".".join(selector)}"')
        field = inner
    return field


def to_text(node: Filter) -> str:
    """`node` as an expression, which `parse` turns into an equal tree."""
    if isinstance(node, And | Or):
        return (" and " if isinstance(node, And) else " or ").join(_operand_text(term) for term in node.terms)
    if isinstance(node, Not):
        return f"not {_operand_text(node.operand)}"
    selector = node.selector[0] + "".join(
        f".{name}" if _NAME.fullmatch(name) else f"[{quote(name)}]" for name in node.selector[1:]
    )
    if node.value is None:
        return f"{selector} {node.operator}"
    value = quote(node.value) if isinstance(node.value, str) else str(node.value).lower()
    if node.operator in (Operator.IN, Operator.NOT_IN):
        return f"{value} {node.operator} {selector}"
    return f"{selector} {node.operator} {value}"


def _operand_text(node: Filter) -> str:
    return f"({to_text(node)})" if isinstance(node, And | Or) else to_text(node)


def _filter(expression: str, tree: "Tree[Token]", depth: int) -> Filter:
    if depth > MOST_LEVELS:
        raise FilterError(expression, 0, "", f'more than {MOST_LEVELS} levels of "not" and parentheses')
    if tree.data == "negation":
        return Not(_filter(expression, _subtrees(tree)[0], depth + 1))
    if tree.data in ("conjunction", "disjunction"):
        terms = tuple(_filter(expression, child, depth + 1) for child in _subtrees(tree))
        return And(terms) if tree.data == "conjunction" else Or(terms)
    first, operator, *rest = _tokens(tree)
    if tree.data == "membership":
        return _condition(expression, rest[0], operator, first)
    return _condition(expression, first, operator, rest[0] if rest else None)


def _bound_work(expression: str, parsed: Filter) -> None:
    """Refuse a filter that costs too much for each instance."""
    conditions = list(_conditions(parsed))
    if len(conditions) > MOST_CONDITIONS:
        raise FilterError(expression, 0, "", f"{len(conditions)} conditions, {MOST_CONDITIONS} are the most")
    patterns = [str(each.value) for each in conditions if each.operator in (Operator.MATCHES, Operator.NOT_MATCHES)]
    cost = sum(map(instructions, patterns))
    if cost > MOST_INSTRUCTIONS:
        reason = f"regular expressions of {cost} instructions, {MOST_INSTRUCTIONS} are the most; make them simpler"
        raise FilterError(expression, 0, "", reason)


def _conditions(node: Filter) -> Iterator[Condition]:
    if isinstance(node, Condition):
        yield node
    else:
        for inner in (node.operand,) if isinstance(node, Not) else node.terms:
            yield from _conditions(inner)


def _subtrees(tree: "Tree[Token]") -> list["Tree[Token]"]:
    return [child for child in tree.children if not isinstance(child, str)]


def _tokens(tree: "Tree[Token]") -> list["Token"]:
    return [child for child in tree.children if isinstance(child, str)]


def _condition(expression: str, selector: "Token", symbol: "Token", value: "Token | None") -> Condition:
    path, field = _checked_selector(expression, selector)
    operator = _OPERATORS[" ".join(symbol.split())]
    known = operators_of(field)
    if operator not in known:
        has = f"it has {', '.join(known)}" if known else _fields_hint(path, field)
        reason = f'{".".join(path)} is {describe(field)} and has no operator "{" ".join(symbol.split())}"; {has}'
        raise FilterError(expression, _start(symbol), str(symbol), reason)
    if value is None:
        return Condition(path, operator)
    text = _value_text(expression, value)
    try:
        if operator in (Operator.MATCHES, Operator.NOT_MATCHES):
            instructions(text)
        return Condition(path, operator, _typed(field, text))
    except LiteralError as error:
        reason = f"{'.'.join(path)} is {describe(field)}, and {error}"
        raise FilterError(expression, _start(value), str(value), reason) from None
    except RegexError as error:
        reason = f"not a regular expression: {error}"
        raise FilterError(expression, _start(value), str(value), reason) from None


def _typed(field: Field, text: str) -> str | int | bool:
    if field is Scalar.INTEGER:
        return parse_int(text)
    return parse_bool(text) if field is Scalar.BOOLEAN else text


def _value_text(expression: str, value: "Token") -> str:
    if value.type == "SELECTOR":
        return ".".join(name for name, _ in _parts(expression, value))
    return str(value) if value.type == "NUMBER" else _unquoted(expression, str(value), _start(value))


def _unquoted(expression: str, literal: str, start: int) -> str:
    try:
        return unquote(literal)
    except LiteralError as error:
        raise FilterError(expression, start + error.offset, literal[error.offset :], str(error)) from None


def _parts(expression: str, selector: "Token") -> list[tuple[str, int]]:
    """The names in a selector, each with its place in the expression."""
    start = _start(selector)
    return [
        (match["name"], start + match.start("name"))
        if match["name"] is not None
        else (_unquoted(expression, match["key"], start + match.start("key")), start + match.start("key"))
        for match in _PART.finditer(selector)
    ]


def _checked_selector(expression: str, selector: "Token") -> tuple[tuple[str, ...], Field]:
    path: tuple[str, ...] = ()
    field: Field = INSTANCE
    for name, at in _parts(expression, selector):
        inner = step(field, name)
        if inner is None:
            raise FilterError(expression, at, name, _no_field(path, field, name))
        path, field = (*path, name), inner
    return path, field


def _no_field(path: tuple[str, ...], field: Field, name: str) -> str:
    owner = ".".join(path) or "an instance"
    if not fields_of(field):
        return f"{owner} is {describe(field)} and has no fields"
    near = difflib.get_close_matches(name.lower(), [known.lower() for known in fields_of(field)], 1)
    close = [known for known in fields_of(field) if [known.lower()] == near]
    hint = f'did you mean "{close[0]}"?' if close else _fields_hint(path, field)
    return f'{owner} has no field "{name}"; {hint}'


def _fields_hint(path: tuple[str, ...], field: Field) -> str:
    if isinstance(field, MapOf):
        return f"name one of its keys: {'.'.join(path)}.<key>"
    return f"its fields are {', '.join(fields_of(field))}"


def _start(token: "Token") -> int:
    return token.start_pos or 0
