"""Errors of subset filters, with the place in the expression."""

import re
from typing import TYPE_CHECKING, Final

from pointsman.model.errors import PointsmanError

if TYPE_CHECKING:
    from lark.exceptions import UnexpectedInput

_LONGEST_WORD: Final = 40


class FilterError(PointsmanError):
    """A filter expression that is refused: why (`reason`) and where (`line`, `column`, both from 1, and `word`).

    `word` is the text at that place, empty at the end of the expression.
    """

    def __init__(self, expression: str, at: int, word: str, reason: str) -> None:
        self.expression, self.reason = expression, reason
        self.word = word if len(word) <= _LONGEST_WORD else f"{word[:_LONGEST_WORD]}…"
        self.line = expression.count("\n", 0, at) + 1
        self.column = at - expression.rfind("\n", 0, at)
        place = f"line {self.line}, column {self.column}" if "\n" in expression.strip() else f"column {self.column}"
        if at >= len(expression):
            place += ", at the end"
        elif self.word:
            place += f", at {' '.join(self.word.split())}"
        super().__init__(f"{place}: {reason}")


_UNENDED = re.compile(r'"[^"]*\Z|`[^`]*\Z')
_FOREIGN: Final = (
    (re.compile(r"=(?!=)"), 'equality is written "=="'),
    (re.compile(r"&"), 'conditions are joined with "and"'),
    (re.compile(r"\|"), 'conditions are joined with "or"'),
    (re.compile(r"!(?!=)"), 'a condition is negated with "not", followed by white space'),
    (re.compile(r"[<>]"), "there is no operator for greater or less"),
    (re.compile(r"'"), "text is quoted with double quotes or backquotes"),
    (re.compile(r"\["), 'a key in brackets is quoted, and the bracket closed, as in Service.Meta["my-key"]'),
)
"""Operators of other languages, with what to write here."""

_IN_WORD = re.compile(r"""[^\s()"`'=!&|<>\[\]]""")
_NEED_SPACE: Final = frozenset(("and", "or", "not", "in", "contains", "matches"))
_OPERATORS: Final = "==, !=, in, not in, contains, not contains, is empty, is not empty, matches, not matches"


def syntax_error(expression: str, error: "UnexpectedInput") -> FilterError:
    """The FilterError for what the parser did not expect."""
    token = getattr(error, "token", None)
    ended = token is not None and token.type == "$END"
    at = len(expression) if ended else error.pos_in_stream or 0
    expected: set[str] = getattr(error, "expected", None) or getattr(error, "allowed", None) or set()
    wants_value = "QUOTED" in expected and "LPAR" not in expected
    if _UNENDED.match(expression, at):
        reason = "the quotes are not closed; inside double quotes there is no double quote, not even escaped"
        return FilterError(expression, at, expression[at:], reason)
    for pattern, hint in _FOREIGN:
        if pattern.match(expression, at) and not wants_value:
            return FilterError(expression, at, expression[at:].split()[0], hint)
    start, end = _word_around(expression, at)
    word = expression[start:end]
    if word in _NEED_SPACE and not _stands_alone(expression, start, end):
        return FilterError(expression, start, word, f'"{word}" needs white space around it')
    if start < at and not _IN_WORD.match(expression, at):
        # The word ends correctly here; what follows it is wrong.
        start, word = at, ""
    word = word or (expression[at : at + 1] if expression[at : at + 1] in "()" else expression[at:].partition(" ")[0])
    return FilterError(expression, start, word, _reason(expression, at, word=word, glued=start < at, expected=expected))


def _word_around(expression: str, at: int) -> tuple[int, int]:
    """Where the word at `at`, or ending just before it, begins and ends."""
    start = end = at
    while start > 0 and at < len(expression) and _IN_WORD.match(expression, start - 1):
        start -= 1
    while _IN_WORD.match(expression, end):
        end += 1
    return start, end


def _stands_alone(expression: str, start: int, end: int) -> bool:
    return expression[max(start - 1, 0) : start].strip(" \t\r\n(") == "" and expression[end : end + 1].strip() == ""


def _reason(expression: str, at: int, *, word: str, glued: bool, expected: set[str]) -> str:
    """What the parser expected at `at`; `glued` if a word continues where it has to end."""
    rest = expression[at:]
    if expression[:at].rstrip().endswith('\\"'):
        return "inside double quotes there is no double quote, not even escaped; use backquotes"
    if "LPAR" in expected:
        return "expected a condition, such as Service.Meta.version == v1"
    if "QUOTED" in expected:
        return "expected a value: a plain word, a number, or anything in double quotes or backquotes"
    if expected == {"SELECTOR"}:
        return "expected a selector, such as Service.Tags"
    if "EQUAL" in expected:
        if glued:
            return (
                "a plain word has only letters, digits and _; "
                'other keys go into brackets, as in Service.Meta["my-key"], and other values into quotes'
            )
        return f"expected an operator: {_OPERATORS}"
    if "IN" in expected:
        return '"in" or "not in" follows a value; a selector has no quotes'
    if rest.startswith(")"):
        return 'there is no "(" for it'
    if not rest:
        return 'a "(" is not closed'
    if glued:
        return f'a plain word has only letters, digits and _; write "{word}" in quotes'
    if word in ("and", "or") and not rest[len(word) :].strip():
        return f'nothing follows "{word}"'
    return 'expected "and", "or" or the end'
