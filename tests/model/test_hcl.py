"""HCL: a text has the value that Consul's own parser, HCL 1.0.0, makes of it, or is refused; never a third one."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.model.hcl import load_hcl
from pointsman.model.hcl_scanner import HclError

BESIDE = Path(__file__).parents[3] / "shared/cases/hcl1.jsonl"
"""More texts with what Consul's own parser makes of them, where they are beside the checkout."""

VALUES: dict[str, dict[str, Any]] = {
    # numbers
    "a = 1\nb = -2\nc = 0\nd = 9223372036854775807": {"a": 1, "b": -2, "c": 0, "d": 2**63 - 1},
    "a = 0x1F\nb = 0XaB\nc = -0x10\nd = 0144\ne = 00": {"a": 31, "b": 171, "c": -16, "d": 100, "e": 0},
    "a = 1.5\nb = -0.25\nc = 1.\nd = .5\ne = 1e2\nf = 1.5E-3\ng = 01e2\nh = 007.5": {
        "a": 1.5, "b": -0.25, "c": 1.0, "d": 0.5, "e": 100.0, "f": 0.0015, "g": 100.0, "h": 7.5,
    },
    # texts
    r'a = "\a\b\f\n\r\t\v\\\""': {"a": '\a\b\f\n\r\t\v\\"'},
    r'a = "\101\x41\u0041\U00000041\xc3\xa9\303\251 é"': {"a": "AAAAéé é"},
    'a = ""\nb = "#//"\nc = "$"\nd = "$$"\ne = "100%"\nf = "%{if}"': {
        "a": "", "b": "#//", "c": "$", "d": "$$", "e": "100%", "f": "%{if}",
    },
    'a = "${b("c", "e")}"\nd = "x${{}}y$${z}"': {"a": '${b("c", "e")}', "d": "x${{}}y$${z}"},
    'a = "${\n}"\nb = "${"\\n"}\\n"': {"a": "${\n}", "b": '${"\\n"}\n'},
    "a = <<EOF\nx\n  y ${z} \"q\" \\n\nEOF\n": {"a": 'x\n  y ${z} "q" \\n\n'},
    "a = <<EOF\nEOF\nb = 1": {"a": "", "b": 1},
    "a = <<EOF\nx\n  EOF\n": {"a": "x\n  "},
    "a = <<-EOF\n    x\n      y\n  EOF\n": {"a": "  x\n    y\n"},
    "a = <<-EOF\n\t\tx\n\t\tEOF\n": {"a": "x\n"},
    "a = <<-EOF\n x\n   EOF\n": {"a": " x\n"},
    "a = <<-EOF\n  x\n\n  y\n  EOF\n": {"a": "  x\n\n  y\n"},
    "a = <<_1é\nEOF\nnot _1é\n_1é\n": {"a": "EOF\nnot _1é\n"},
    "a = [<<EOF\nx\nEOF\n, <<EOF\ny\nEOF\n]": {"a": ["x\n", "y\n"]},
    # names
    'a-b = 1\na.b = 2\n_c = 3\n"d e" = 4\n"*" = 5\né2 = 6\n"\\u0061" = 7\n"" = 8': {
        "a-b": 1, "a.b": 2, "_c": 3, "d e": 4, "*": 5, "é2": 6, "a": 7, "": 8,
    },
    'null = 1\nfor = 2\n"true" = 3\nTrue = 4': {"null": 1, "for": 2, "true": 3, "True": 4},
    "Kind = 1\nkind = 2": {"Kind": 1, "kind": 2},
    # white space, comments, commas
    "# a\n// b\n/* c\n */ a /* d */ = /**/ 1 # e\n/***/b = 2//": {"a": 1, "b": 2},
    "a = 1 b = 2, c = 3,\n\td\r\n=\n4": {"a": 1, "b": 2, "c": 3, "d": 4},
    "": {},
    "# only this": {},
    # lists
    'a = [1, "b", true, [2, [3]], {c = 4}, {},]': {"a": [1, "b", True, [2, [3]], {"c": 4}, {}]},
    "a = [\n  # one\n  1, // two\n  2 /* three */\n]\nb = []\nc = [[]]": {"a": [1, 2], "b": [], "c": [[]]},
    'a = [{ b { c = 1 } d "e" {} }]': {"a": {"b": {"c": 1}, "d": {"e": {}}}},
    # blocks
    "a {}\nb { c = 1, d { e = 2 }, }": {"a": {}, "b": {"c": 1, "d": {"e": 2}}},
    "a { b = 1 }\na { b = 2 }\na {}": {"a": [{"b": 1}, {"b": 2}, {}]},
    "a = { b { c = 1 } b { c = 2 } }": {"a": {"b": [{"c": 1}, {"c": 2}]}},
    'a "b" {}\na c { d = 1 }': {"a": [{"b": {}}, {"c": {"d": 1}}]},
    'a "b" "c" { d = 1 }\na "b" "e" {}': {"a": [{"b": {"c": {"d": 1}}}, {"b": {"e": {}}}]},
    "a\n{\n}": {"a": {}},
    # JSON
    ' {"a": {"b": [1, 2.5, true, "\\u00e9${c}"]}}': {"a": {"b": [1, 2.5, True, "é${c}"]}},
}  # fmt: skip
"""What HCL 1.0.0 makes of a text, with each list of one object as the object."""

REFUSED = {
    # what HCL 1 refuses
    "\ufeffa = 1": "line 1: cannot be read as HCL: it begins with a byte order mark; save it without one",
    "a: 1": 'line 1: cannot be read as HCL: a name and its value have "=" between them, not ":"',
    "a = 'b'": 'line 1: cannot be read as HCL: a text is quoted with "',
    "* = 1": 'line 1: cannot be read as HCL: quote it: "*"',
    "a = 1;": "line 1: cannot be read as HCL: an item ends with its line, or with a comma",
    "a =\xa01": "line 1: cannot be read as HCL: a no-break space; write a plain one",
    "a = 1 / b": "line 1: cannot be read as HCL: a comment begins with #, // or /*",
    "a = 1 /* b": "line 1: a comment is not closed: there is no */",
    "1 = 2": 'line 1: 1 is not a name; quote it: "1"',
    "a²= 2": 'line 1: ² is not a letter; quote the name: "a²"',
    "true = 2": 'line 1: true is not a name; quote it: "true"',
    "a = null": "line 1: null is not a value of HCL; leave the field out",
    "a = True": "line 1: True is not a value; write true",
    "a = b": 'line 1: b is not a value; quote it: "b"',
    "a = 5s": 'line 1: 5s is not a value; quote it: "5s"',
    "a = 08": 'line 1: 08 is not a value; quote it: "08"',
    "a = 1e": 'line 1: 1e is not a value; quote it: "1e"',
    "a = 1_000": 'line 1: 1_000 is not a value; quote it: "1_000"',
    "a = 1e999": "line 1: 1e999 is beyond what a number holds; quote it",
    "a = 9223372036854775808": "line 1: 9223372036854775808 is beyond 64 bits; quote it",
    "a = -b": "line 1: an expression has to be evaluated; only plain values can be read",
    "a = b(1)": "line 1: an expression has to be evaluated; only plain values can be read",
    "a = (1)": "line 1: an expression has to be evaluated; only plain values can be read",
    'a = "b" + "c"': "line 1: an expression has to be evaluated; only plain values can be read",
    "a = 1\n+ 2": "line 2: cannot be read as HCL: + 2",
    'a = "b\n"': 'line 1: the text ends too early; is a "{", "[" or quote not closed?',
    'a = "\\d"': 'line 1: "\\d" is no escape; write a backslash twice',
    'a = "${\\d}"': 'line 1: "\\d" is no escape; write a backslash twice',
    'a = "\\400"': 'line 1: "\\4" is no escape; write a backslash twice',
    'a = "\\xff"': "line 1: its \\x or octal escapes are not UTF-8",
    'a = "${b"': "line 1: ${ is not closed: there is no }",
    "a = <<EOF\nx\n": "line 1: the text after <<EOF is not closed: there is no line EOF",
    "a = <<EOF\nx\nEOF": "line 1: put a line feed behind the last line, EOF: without one it does not close its text",
    "a = <<-EOF\n x\nEOF\n": "line 3: the end of an indented text is indented, too; or write <<EOF",
    "a = <<E-F\nx\nE-F\n": "line 1: cannot be read as HCL: a text of several lines begins with <<, a name of letters, "
    "digits and _, and the end of the line",
    "a = <<\nx\n\n": "line 1: a name of letters and digits follows <<, as in <<EOF",
    "a = \0": "line 1: has the character U+0000, which no text has",
    "a b": 'line 1: the text ends too early; is a "{", "[" or quote not closed?',
    "a {\n b\n}": 'line 2: "b" has no value; write b = …',
    'a "b" = {}': 'line 1: a block with a label has no "=": a "b" { … }',
    "a {\n": 'line 1: the text ends too early; is a "{", "[" or quote not closed?',
    "a = [1 2]": "line 1: cannot be read as HCL: a = [1 2]",
    "a = 1\n}": "line 2: cannot be read as HCL: }",
    "= 1": "line 1: cannot be read as HCL: = 1",
    "a = {{}}": "line 1: cannot be read as HCL: a = {{}}",
    "{a = 1}": 'line 1: is not JSON: unexpected character, expected a string key (column 2); a text that begins with '
    '"{" is read as JSON',
    'a {}\na "b" {}': 'line 2: "a" is given with and without a label',
    'a "b" {}\nA {}': 'line 2: "A" is "a" in other capitals; write them alike',
    # what HCL 1 takes for something that nobody means
    "a =": 'line 1: the text ends too early; is a "{", "[" or quote not closed?',
    "a = 1\na = 2": 'line 2: "a" is given twice',
    "a = [1]\na = [2]": 'line 2: "a" is given twice',
    "a = {}\na {}": 'line 2: "a" is given twice',
    "a {}\na = 1": 'line 2: "a" is given twice',
    'a "b" {}\na "b" {}': 'line 2: the block a "b" is given twice',
    'a "b" {}\nA "c" {}': 'line 2: "A" is "a" in other capitals; write them alike',
    "a = [1,,2]": "line 1: cannot be read as HCL: a = [1,,2]",
    '{"a": 1, "a": 2}': 'line 0: the key "a" is given twice; a text that begins with "{" is read as JSON',
}  # fmt: skip


def unwrapped(value: Any) -> Any:
    """`value` with each list of one object as the object: HCL 1 does not tell them apart."""
    if isinstance(value, list):
        return unwrapped(value[0]) if len(value) == 1 and isinstance(value[0], dict) else [*map(unwrapped, value)]
    return {key: unwrapped(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def refusal(text: str) -> str:
    """Line and reason of what `text` is refused for, "" if it is taken."""
    try:
        load_hcl(text)
    except HclError as error:
        return f"line {error.line}: {error}"
    return ""


@pytest.mark.parametrize("text", VALUES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_text_has_the_value_of_consuls_own_parser(text: str, newline: str) -> None:
    found = unwrapped(load_hcl(text.replace("\r\n", "\n").replace("\n", newline)))
    assert found == VALUES[text]
    assert json.dumps(found).replace(".0", "") == json.dumps(VALUES[text]).replace(".0", "")


@pytest.mark.parametrize("text", REFUSED)
def test_any_other_text_is_refused_with_line_and_cure(text: str) -> None:
    assert refusal(text) == REFUSED[text]


@pytest.mark.skipif(not BESIDE.exists(), reason=f"{BESIDE} is not there")
def test_every_recorded_text_has_the_recorded_value_or_is_refused() -> None:
    for case in map(json.loads, BESIDE.read_text(encoding="utf-8").splitlines()):
        if case["hcl1"] is None:
            assert refusal(case["text"]), case["name"]
        else:
            assert unwrapped(load_hcl(case["text"])) == case["hcl1"], case["name"]


NAMES = st.from_regex(r"[A-Za-zé_][A-Za-z0-9é_.-]{0,5}", fullmatch=True).filter(
    lambda name: name.lower() not in ("true", "false")
)
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\ue123"), max_size=8)
SCALARS = TEXTS | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)


def quoted(text: str) -> str:
    """`text` in quotes, as HCL has it."""
    return '"' + "".join(char if char.isalnum() else f"\\U{ord(char):08x}" for char in text) + '"'


def written(value: Any, style: int) -> str:
    """`value` as HCL, as an attribute's value."""
    if isinstance(value, dict):
        return "{" + body(value, style + 1) + "}"
    if isinstance(value, list):
        return "[" + "".join(f"{written(each, style + 1)}," for each in value) + "]"
    return quoted(value) if isinstance(value, str) else str(value).lower()


def body(fields: dict[str, Any], style: int) -> str:
    """`fields` as HCL: objects now as blocks and now as attributes, names with quotes or without."""
    out = []
    for at, (name, value) in enumerate(fields.items(), style):
        key = quoted(name) if at % 3 else name
        equals = "" if isinstance(value, dict) and at % 2 else " = "
        out.append(f"{key}{equals}{written(value, at)}")
    return (" , ", "\n", " # }\n", " /* { */ ")[style % 4].join(out)


@given(st.dictionaries(NAMES, DATA, max_size=4), st.integers(0, 11))
def test_what_is_written_in_any_style_is_read(fields: dict[str, Any], style: int) -> None:
    assert unwrapped(load_hcl(body(fields, style))) == unwrapped(fields)


PIECES = st.sampled_from([
    *"{}[]=,\"'\\$%<>#/*:.-+()\n\r\t a1é\0", "${", "<<E\n", "\nE\n", "<<-E\n", "/*", "*/", "//", "\\u", "0x", "1e",
    "a = ", 'b "c" {', "true", '"', "\ufeff", "\xa0",
])  # fmt: skip


@given(st.lists(PIECES, max_size=30).map("".join))
def test_no_text_breaks_it(text: str) -> None:
    place, _, reason = refusal(text).partition(": ")
    assert not place or (reason and 0 <= int(place.removeprefix("line ")) <= text.count("\n") + 1)
