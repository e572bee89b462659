"""Regular expressions mean here what they mean in Go, or are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.model.go_regex import RegexError, go_regex

MATCHES: list[tuple[str, str, bool]] = [
    ("a$", "a\n", False),
    ("(?m)a$", "a\nb", True),
    (r"^\d+\z", "12", True),
    (r"^\d+$", "١٢", False),
    (r"^\w$", "é", False),
    (r"\bé", "é", False),
    (r"^\s$", "\v", False),
    ("^[[:alpha:][:digit:]]+$", "a1", True),
    ("^[[:^alpha:]]$", "é", True),
    (r"^[\D]$", "1", False),
    (r"^[^\W]$", "_", True),
    (r"^[]a-c\-]+$", "]b-", True),
    ("a.c", "a\nc", False),
    ("(?s)a.c", "a\nc", True),
    ("a(?i)b|c", "aB", True),
    ("a(?i)b|c", "C", True),
    ("a(?i)b|c", "Ab", False),
    ("(?i)a(?-i)b", "AB", False),
    ("(a(?i)b)c", "aBc", True),
    ("(a(?i)b)c", "aBC", False),
    ("(?P<x>a)b", "ab", True),
    (r"\Qa.b\E+$", "a.bb", True),
    (r"\x{41}\101\x41", "AAA", True),
    ("a{,2}", "a{,2}", True),
    ("a{2}$", "baa", True),
    ("a+?b", "aab", True),
    ("", "anything", True),
]


@pytest.mark.parametrize(("pattern", "text", "found"), MATCHES)
def test_a_regular_expression_matches_as_in_go(pattern: str, text: str, found: bool) -> None:
    assert (go_regex(pattern).search(text) is not None) is found


REFUSED = (
    r"( ) [ [a a** a++ * (?i)* a|* a{1001} a{2,1} (?=a) (?<!a) (?>a) (a)\1 \Z \pL \y [z-a] [[:nope:]] (?U)a+ (?#c)"
    r" (?P=x) \x{110000} (?P<a>b)(?P<a>c) ab\\"[:-1]
).split()


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_go_or_python_cannot_do_is_refused(pattern: str) -> None:
    with pytest.raises(RegexError):
        go_regex(pattern)


@settings(deadline=None)
@given(st.text(r"ab1[](){}*+?|^$.\-:,<>PdDwWsSbQEzAimsx", max_size=12))
def test_any_text_is_a_regular_expression_or_is_refused(pattern: str) -> None:
    refused = ""
    try:
        go_regex(pattern).search("ab-1")
    except RegexError as error:
        refused = str(error)
    assert "\n" not in refused
