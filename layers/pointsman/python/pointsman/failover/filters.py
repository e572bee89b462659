"""Evaluates subset filters: the conditions of a filter (`model/filters/`) as functions of an instance.

The rules are those of go-bexpr in Consul 1.6 (docs/semantics.md, section 9):

- A field that is missing or null has Go's zero value: "", 0, false, an empty list or map.
- `in` looks for a substring in a string, an element in a list, a key in a map.
- For a missing map key `==`, `in`, `matches` and `is not empty` are false, and their opposites true. For `matches` that
  is go-bexpr 0.1.12 and later, which today's Consul uses; in Consul 1.6 it was true.
- On a list of structures (`Checks.Status`) a condition is true if it is for any element, also with a negative operator:
  `Checks.Status != passing` means "some check is not passing", and is false for an instance without checks; "no check
  is passing" is `not Checks.Status == passing`.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pointsman.model.filters.language import And, Condition, Filter, Not, parse
from pointsman.model.filters.schema import INSTANCE, Field, ListOf, MapOf, Operator, Scalar, step
from pointsman.model.regex import searcher

Predicate = Callable[[Mapping[str, Any]], bool]
"""Returns whether an instance, in the shape `{"Node": …, "Service": …, "Checks": […]}`, is kept."""


class _Test(NamedTuple):
    """A test of an existing value, and its result for the zero value."""

    holds: Callable[[Any], bool]
    zero: bool


_NEGATIVE: Final = frozenset((Operator.NOT_EQUAL, Operator.NOT_IN, Operator.IS_EMPTY, Operator.NOT_MATCHES))
"""The operators that are true for a missing value."""


@lru_cache(maxsize=16384)
def predicate(expression: str) -> Predicate:
    """A function that returns whether `expression` keeps an instance; "" keeps every one.

    Field names are Consul's own (CamelCase); fields may be missing or None. Raises FilterError as `parse` does.
    """
    return _compile(parse(expression))


def _compile(node: Filter) -> Predicate:
    if isinstance(node, Condition):
        return _selected(INSTANCE, node.selector, node).holds
    if isinstance(node, Not):
        operand = _compile(node.operand)
        return lambda instance: not operand(instance)
    tests = tuple(_compile(term) for term in node.terms)
    return _all(tests) if isinstance(node, And) else _any(tests)


# A loop costs half as much as all() or any() over a generator, and services have up to ten thousand instances.


def _all(tests: tuple[Predicate, ...]) -> Predicate:
    def test(instance: Mapping[str, Any]) -> bool:
        for each in tests:  # noqa: SIM110
            if not each(instance):
                return False
        return True

    return test


def _any(tests: tuple[Predicate, ...]) -> Predicate:
    def test(instance: Mapping[str, Any]) -> bool:
        for each in tests:  # noqa: SIM110
            if each(instance):
                return True
        return False

    return test


def _selected(field: Field, path: tuple[str, ...], condition: Condition) -> _Test:
    """The test of a value of kind `field` by a condition on what `path` selects inside it."""
    if not path:
        return _asked(field, condition)
    inner_field = step(field, path[0])
    assert inner_field is not None, "parse accepts existing fields only"
    inner = _selected(inner_field, path[1:], condition)
    if isinstance(field, MapOf):
        return _in_map(path[0], inner, condition.operator in _NEGATIVE)
    in_structure = _in_structure(path[0], inner)
    return _in_any(in_structure) if isinstance(field, ListOf) else in_structure


def _in_structure(name: str, inner: _Test) -> _Test:
    holds, zero = inner

    def test(value: Mapping[str, Any]) -> bool:
        found = value.get(name)
        return zero if found is None else holds(found)

    return _Test(test, zero)


def _in_map(key: str, inner: _Test, absent: bool) -> _Test:
    holds, zero = inner

    def test(value: Mapping[str, Any]) -> bool:
        found = value.get(key)
        if found is None:
            return zero if key in value else absent
        return holds(found)

    return _Test(test, absent)


def _in_any(inner: _Test) -> _Test:
    holds, zero = inner
    return _Test(lambda items: any(zero if item is None else holds(item) for item in items), zero=False)


def _asked(field: Field, condition: Condition) -> _Test:
    """The test of the value itself."""
    zero: Any = (
        {Scalar.STRING: "", Scalar.INTEGER: 0, Scalar.BOOLEAN: False}[field] if isinstance(field, Scalar) else ()
    )
    holds = _question(condition.operator, condition.value)
    return _Test(holds, holds(zero))


def _question(operator: Operator, value: Any) -> Callable[[Any], bool]:
    if operator is Operator.EQUAL:
        return lambda found: found == value
    if operator is Operator.NOT_EQUAL:
        return lambda found: found != value
    if operator is Operator.IN:
        return lambda found: value in found
    if operator is Operator.NOT_IN:
        return lambda found: value not in found
    if operator is Operator.IS_EMPTY:
        return lambda found: not found
    if operator is Operator.IS_NOT_EMPTY:
        return bool
    # Not kept compiled here: thousands of filters are kept, and a compiled RE2 expression is large.
    if operator is Operator.MATCHES:
        return lambda found: searcher(value)(found)
    return lambda found: not searcher(value)(found)
