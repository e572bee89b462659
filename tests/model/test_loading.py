"""Config files: JSON, YAML and HCL say the same, and what is broken is refused with file, line and reason."""

from typing import Any

import pytest
from pointsman.model.entries import entry_json, parse_entry
from pointsman.model.errors import InvalidInput
from pointsman.model.hcl import Blocks
from pointsman.model.loading import load_text

RESOLVER: dict[str, Any] = {
    "Kind": "service-resolver",
    "Name": "s2",
    "DefaultSubset": "v1",
    "ConnectTimeout": "250ms",
    "Subsets": {
        "v1": {"Filter": 'Service.Meta.version == "v1"'},
        "v2": {"Filter": "Service.Meta.path matches `^\\w+$`", "OnlyPassing": True},
    },
    "Failover": {"*": {"Datacenters": ["dc2", "dc3"]}, "v2": {"ServiceSubset": "v1"}},
}

JSON = r"""
{
  "Kind": "service-resolver", "Name": "s2", "DefaultSubset": "v1", "ConnectTimeout": "250ms",
  "Subsets": {
    "v1": {"Filter": "Service.Meta.version == \"v1\""},
    "v2": {"Filter": "Service.Meta.path matches `^\\w+$`", "OnlyPassing": true}
  },
  "Failover": {"*": {"Datacenters": ["dc2", "dc3"]}, "v2": {"ServiceSubset": "v1"}}
}
"""

YAML = r"""
# a resolver
Kind: service-resolver
Name: s2
DefaultSubset: v1
ConnectTimeout: 250ms
Subsets:
  v1: {Filter: 'Service.Meta.version == "v1"'}
  v2:
    Filter: "Service.Meta.path matches `^\\w+$`"
    OnlyPassing: true
Failover:
  "*":
    Datacenters: [dc2, dc3]
  v2: {ServiceSubset: v1}
"""

HCL_ATTRIBUTES = r"""
# a resolver
Kind           = "service-resolver"
Name           = "s2"
DefaultSubset  = "v1"
ConnectTimeout = "250ms"
Subsets = {
  "v1" = {
    Filter = "Service.Meta.version == \"v1\""
  }
  v2 = { Filter = "Service.Meta.path matches `^\\w+$`", OnlyPassing = true }
}
Failover = {
  "*" = { Datacenters = ["dc2", "dc3"] } // both
  "v2" = { ServiceSubset = "v1" },
}
"""

HCL_BLOCKS = r"""
kind = "service-resolver"
name = "s2"
default_subset = "v1"
connect_timeout = "250ms"
subsets {
  v1 {
    filter = "Service.Meta.version == \"v1\""
  }
  v2 {
    filter = "Service.Meta.path matches `^\\w+$`" /* a raw string */
    only_passing = true
  }
}
failover "*" {
  datacenters = ["dc2", "dc3"]
}
failover "v2" {
  service_subset = "v1"
}
"""


@pytest.mark.parametrize(
    ("text", "name"),
    [(JSON, "s2.json"), (YAML, "s2.yml"), (YAML, "s2.YAML"), (HCL_ATTRIBUTES, "s2.hcl"), (JSON, "-"), (YAML, "-")],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_every_format_says_the_same(text: str, name: str, newline: str) -> None:
    assert load_text(text.replace("\n", newline), name) == [RESOLVER]


def test_blocks_are_lists_of_bodies_and_labels_are_bodies_around_them() -> None:
    (document,) = load_text(HCL_BLOCKS, "s2.hcl")
    assert document == {
        "kind": "service-resolver",
        "name": "s2",
        "default_subset": "v1",
        "connect_timeout": "250ms",
        "subsets": [
            {
                "v1": [{"filter": 'Service.Meta.version == "v1"'}],
                "v2": [{"filter": "Service.Meta.path matches `^\\w+$`", "only_passing": True}],
            }
        ],
        "failover": [{"*": [{"datacenters": ["dc2", "dc3"]}]}, {"v2": [{"service_subset": "v1"}]}],
    }
    assert isinstance(document["subsets"], Blocks)
    assert isinstance(document["failover"], Blocks)
    assert isinstance(document["subsets"][0]["v1"], Blocks)


@pytest.mark.parametrize(
    ("text", "name"), [(JSON, "a.json"), (YAML, "a.yaml"), (HCL_ATTRIBUTES, "a.hcl"), (HCL_BLOCKS, "a.hcl")]
)
def test_every_style_is_the_same_entry(text: str, name: str) -> None:
    (document,) = load_text(text, name)
    assert entry_json(parse_entry(document)) == entry_json(parse_entry(RESOLVER))


TWO = [{"kind": "namespace", "name": "a"}, {"kind": "namespace", "name": "b"}]

SEVERAL = {
    "a list in JSON": ("n.json", '[{"kind": "namespace", "name": "a"}, {"kind": "namespace", "name": "b"}]'),
    "a list in YAML": ("n.yaml", "- {kind: namespace, name: a}\n- {kind: namespace, name: b}\n"),
    "documents in YAML": ("n.yaml", "---\nkind: namespace\nname: a\n---\n---\nkind: namespace\nname: b\n...\n"),
    "what a loop over `consul config read` appends": (
        "n.json",
        '{\n  "kind": "namespace",\n  "name": "a"\n}\n\n{"kind": "namespace", "name": "b"}\n',
    ),
    "the same on standard input": ("-", '{"kind": "namespace", "name": "a"}{"kind": "namespace", "name": "b"}'),
    "a byte order mark": ("n.yaml", "\ufeff[{kind: namespace, name: a}, {kind: namespace, name: b}]"),
}


@pytest.mark.parametrize(("name", "text"), SEVERAL.values(), ids=SEVERAL.keys())
def test_one_file_may_hold_several_documents(name: str, text: str) -> None:
    assert load_text(text, name) == TWO


def test_a_document_may_be_none() -> None:
    assert load_text("[]", "-") == []


def test_yaml_has_the_values_of_json() -> None:
    text = (
        "{date: 2024-01-01, country: no, switch: on, zeros: 010, time: 1:30, hex: 0x1f, inf: .inf, version: v1, "
        "yes: 1, whole: -12, float: 1.50, big: 1e3, nothing: ~, empty: , 'true': true, quoted: '1', "
        "base: &base {a: 1}, merged: {<<: *base, b: 2}}"
    )
    assert load_text(text, "values.yaml") == [
        {
            "date": "2024-01-01",
            "country": "no",
            "switch": "on",
            "zeros": "010",
            "time": "1:30",
            "hex": "0x1f",
            "inf": ".inf",
            "version": "v1",
            "yes": 1,
            "whole": -12,
            "float": 1.5,
            "big": 1000.0,
            "nothing": None,
            "empty": None,
            "true": True,
            "quoted": "1",
            "base": {"a": 1},
            "merged": {"a": 1, "b": 2},
        }
    ]


def test_the_free_spelling_of_consuls_own_files_is_read() -> None:
    text = """
    /* as Consul's parser takes it */ "Kind" =
      "service-router", Name /* here, too */ = "web"
    Meta { "team" = "a", a.b = "c" d = "${e}" }
    Routes = [
      {
        Match {
          HTTP {
            PathPrefix = "/admin"
            Header { Name = "x-debug", Exact = "{" }
            Header { Name = "x-trace", Present = true }
          },
        }
        Destination { Service = "admin" } # here { too
      },
      # anything else goes to web
    ]
    """
    (document,) = load_text(text, "web.hcl")
    assert entry_json(parse_entry(document)) == {
        "Kind": "service-router",
        "Name": "web",
        "Meta": {"team": "a", "a.b": "c", "d": "${e}"},
        "Routes": [
            {
                "Match": {
                    "HTTP": {
                        "PathPrefix": "/admin",
                        "Header": [{"Name": "x-debug", "Exact": "{"}, {"Name": "x-trace", "Present": True}],
                    }
                },
                "Destination": {"Service": "admin"},
            }
        ],
    }


def test_a_mapping_may_come_as_several_blocks_but_each_name_once() -> None:
    text = 'kind = "service-resolver"\nname = "web"\nmeta { a = "1" }\nmeta { b = "2" }\n'
    (document,) = load_text(text, "web.hcl")
    assert entry_json(parse_entry(document))["Meta"] == {"a": "1", "b": "2"}
    with pytest.raises(InvalidInput, match=r'eta: has "a" twice; keep one$'):
        parse_entry(load_text(f'{text}meta {{ a = "3" }}', "web.hcl")[0])


NOT_DATA = "has to be evaluated; only plain values can be read"
EARLY = 'the text ends too early; is a "{", "[" or quote not closed?'

BROKEN: list[tuple[str, str, str]] = [
    ("a.json", "", "a.json: is empty; write a document, or [] for none"),
    ("a.yaml", "# nothing yet\n---\n", "a.yaml: is empty; write a document, or [] for none"),
    ("-", " \n", "standard input: is empty; write a document, or [] for none"),
    (
        "a.json",
        '{"a": 1,\n "b": }',
        "a.json: line 2: is not JSON: unexpected character, expected a JSON value (column 7)",
    ),
    ("a.json", "a: 1", "a.json: line 1: is not JSON: unexpected character, expected a JSON value (column 1)"),
    ("-", "{a: 1}", "standard input: line 1: is not JSON: unexpected character, expected a string key (column 2)"),
    ("a.json", '{"a": 1, "a": 2}', 'a.json: the key "a" is given twice'),
    ("a.json", '{"a": NaN}', "a.json: line 1: is not JSON: unexpected character, expected a JSON value (column 7)"),
    ("a.json", '[{"a": 1}, "b"]', 'a.json: the document: a mapping is required, not "b"'),
    ("a.json", "[" * 100_000, "a.json: is nested too deeply: more than 64 levels"),
    ("a.yaml", "a: 1\nb: 2\na: 3", 'a.yaml: line 3: the key "a" is given twice'),
    ("a.yaml", "a:\n  1: x", 'a.yaml: line 2: 1 is not a string; quote it: "1"'),
    ("a.yaml", "? [a]\n: b", "a.yaml: line 1: a key is not a string"),
    ("a.yaml", "a: 1\n---\n- b", 'a.yaml: document 2: a mapping is required, not "b"'),
    ("a.txt", "hello", 'a.txt: the document: a mapping is required, not "hello"'),
    ("a.yaml", "a: &x [*x]", "a.yaml: line 1: *x contains itself"),
    ("a.yaml", "- " * 100_000, "a.yaml: line 1: is nested too deeply: more than 64 levels"),
    ("a.hcl", 'a = upper("x")', f"a.hcl: line 1: an expression {NOT_DATA}"),
    ("a.hcl", "a = 1\nb = 1 + 2", f"a.hcl: line 2: an expression {NOT_DATA}"),
    ("a.hcl", "a = !true", f"a.hcl: line 1: an expression {NOT_DATA}"),
    ("a.hcl", "a = b", 'a.hcl: line 1: b is not a value; quote it: "b"'),
    ("a.hcl", 'a = "\\."', 'a.hcl: line 1: "\\." is no escape; write a backslash twice'),
    ("a.hcl", "a = 1\na = 2", 'a.hcl: line 2: "a" is given twice'),
    ("a.hcl", "a {}\na = 2", 'a.hcl: line 2: "a" is given twice'),
    ("a.hcl", "a = {}\na {}", 'a.hcl: line 2: "a" is given twice'),
    ("a.hcl", "a = { b = 1\nb = 2 }", 'a.hcl: line 2: "b" is given twice'),
    ("a.hcl", 'a "b" {}\na {}', 'a.hcl: line 2: "a" is given with and without a label'),
    ("a.hcl", 'a {}\na "b" {}', 'a.hcl: line 2: "a" is given with and without a label'),
    ("a.hcl", 'a "b" {}\na "b" {}', 'a.hcl: line 2: the block a "b" is given twice'),
    ("a.hcl", "a {\n b = 1\n", f"a.hcl: line 2: {EARLY}"),
    ("a.hcl", 'a = "b\n', f"a.hcl: line 1: {EARLY}"),
    (
        "a.hcl",
        "a = 1\nkind: x",
        'a.hcl: line 2: cannot be read as HCL: a name and its value have "=" between them, not ":"',
    ),
]


@pytest.mark.parametrize(("name", "text", "message"), BROKEN, ids=[f"{row[0]} {row[1][:30]!r}" for row in BROKEN])
def test_a_broken_file_is_refused_with_name_line_and_reason(name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        load_text(text, name)
    assert str(refused.value) == message


# What is missing at the end is missed on the last line or behind it, as PyYAML was built.
NOT_YAML = [("a: [1", 1), ("a: 1\nb: *", 2), ("a: 1\n\tb: 2", 2), ("a: !!python/object:os.system x", 1)]


@pytest.mark.parametrize(("text", "line"), NOT_YAML)
def test_what_is_not_yaml_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        load_text(text, "a.yaml")
    (problem,) = refused.value.problems
    assert (problem.thing, problem.field) in [("a.yaml", f"line {line}"), ("a.yaml", f"line {line + 1}")]
