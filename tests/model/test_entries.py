"""Config entries: what is refused and with which words, what is accepted, and that it stays what it was."""

import gzip
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from pointsman.chain.entryset import EntrySet
from pointsman.chain.validate import validate
from pointsman.model.entries import EntryKey, entry_json, key_of, parse_entry
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.loading import load_text

JSON = dict[str, Any]
TESTS = Path(__file__).parent
REFUSED: list[JSON] = [
    row
    for name in ("entries", "resolvers", "splitters", "routers", "intentions", "policies", "chains")
    for row in yaml.safe_load((TESTS / "refused" / f"{name}.yaml").read_text(encoding="utf-8"))
]
"""Refused changes: the state `before`, what is written or deleted, and the reasons."""
ACCEPTED: list[JSON] = yaml.safe_load((TESTS / "accepted.yaml").read_text(encoding="utf-8"))
"""Documents and the entries that are kept of them."""


def state_of(entries: list[JSON]) -> EntrySet:
    """The state that `entries` make, which have to be acceptable."""
    after, problems = change(EntrySet.of([]), entries)
    assert problems == []
    return after


def change(state: EntrySet, write: list[Any], delete: list[EntryKey] | None = None) -> tuple[EntrySet, list[Problem]]:
    """`state` after one batch, and what is wrong with the batch."""
    entries, problems, deleted = [], [], delete or []
    for raw in write:
        try:
            entries.append(parse_entry(raw))
        except InvalidInput as error:
            problems += error.problems
    after = state.with_changes(entries, deleted)
    return after, problems or validate(after, [*map(key_of, entries), *deleted])


def key(text: str) -> EntryKey:
    kind, namespace, name = text.split("/")
    return kind, namespace, name


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["name"])
def test_what_is_wrong_is_refused_by_entry_field_and_reason(row: JSON) -> None:
    before = state_of(row.get("before", []))

    _, problems = change(before, row.get("write", []), [key(each) for each in row.get("delete", [])])

    assert problems
    assert str(InvalidInput(problems)) == row["says"]
    assert "\n" not in row["says"]


def test_headers_have_limits() -> None:
    def refusal(headers: JSON) -> str:
        routes = [{"Destination": {"RequestHeaders": headers}}]
        try:
            parse_entry({"Kind": "service-router", "Name": "web", "Routes": routes})
        except InvalidInput as error:
            return error.problems[0].reason
        return ""

    assert refusal({"Add": {f"x-{i}": "" for i in range(101)}}) == "names 101 headers, 100 are the most"
    assert refusal({"Remove": [f"x-{i}" for i in range(100)], "Set": {"x": "a" * 16_384}, "Add": {}}).startswith(
        "names"
    )
    assert refusal({"Set": {"x": "a" * 16_384}}) == ""
    assert refusal({"Set": {"x": "a" * 16_385}}).endswith("or more than 16384 bytes")
    assert refusal({"Remove": ["x" * 16_385]}).endswith("is not the name of a header")


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: row["name"])
def test_what_users_write_is_understood(row: JSON) -> None:
    entries = [parse_entry(document) for document in load_text(row["text"], f"entry.{row['ending']}")]

    assert [entry_json(entry) for entry in entries] == row["keeps"]


def test_an_entry_is_read_back_as_what_it_was() -> None:
    for name in ("resolver", "gateway"):
        with gzip.open(TESTS.parent / "conformance" / f"{name}_cases.jsonl.gz") as lines:
            recorded = [write["entry"] for line in lines for write in orjson.loads(line)["writes"] if write["accepted"]]
        for raw in [*recorded, *(raw for row in ACCEPTED for raw in load_text(row["text"], f"entry.{row['ending']}"))]:
            entry = parse_entry(raw)
            assert parse_entry(entry_json(entry)) == entry
            assert parse_entry(orjson.loads(orjson.dumps(entry_json(entry)))) == entry


NAMESPACE = {"Kind": "namespace", "Name": "team"}
HTTP = [{"Kind": "service-defaults", "Name": each, "Protocol": "http"} for each in ("web", "api")]
SPLIT = {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 50}, {"Weight": 50, "Service": "api"}]}
REDIRECT = {"Kind": "service-resolver", "Name": "web", "Redirect": {"Service": "api", "Namespace": "team"}}


@pytest.mark.parametrize(
    ("before", "write", "delete"),
    [
        pytest.param([], [REDIRECT, NAMESPACE], [], id="a namespace and what refers to it"),
        pytest.param(
            [NAMESPACE, REDIRECT],
            [],
            ["service-resolver/default/web", "namespace/default/team"],
            id="the end of a namespace and of what refers to it",
        ),
        pytest.param(
            [*HTTP, SPLIT],
            [each | {"Protocol": "grpc"} for each in HTTP],
            [],
            id="another protocol for all services of a chain",
        ),
        pytest.param(
            [*HTTP, SPLIT],
            [HTTP[0] | {"Protocol": "tcp"}],
            ["service-splitter/default/web"],
            id="tcp, and the end of the splitter",
        ),
        pytest.param(
            [{"Kind": "service-resolver", "Name": "api", "Redirect": {"Service": "web"}}],
            [{"Kind": "service-resolver", "Name": "web", "Redirect": {"Service": "api"}}],
            ["service-resolver/default/api"],
            id="a redirect turned round",
        ),
        pytest.param(
            [{"Kind": "namespace", "Name": "default"}, *HTTP],
            [],
            ["namespace/default/default"],
            id="the namespace that is always there, no longer by a word of its own",
        ),
    ],
)
def test_a_batch_is_judged_by_the_state_that_it_ends_in(
    before: list[JSON], write: list[JSON], delete: list[str]
) -> None:
    _, problems = change(state_of(before), write, [key(each) for each in delete])

    assert problems == []


def test_a_chain_goes_through_a_hundred_splitters_and_no_more() -> None:
    names = [f"s{i}" for i in range(102)]
    splitters = [
        {"Kind": "service-splitter", "Name": name, "Splits": [{"Weight": 100, "Service": following}]}
        for name, following in pairwise(names)
    ]
    http = {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}
    hundred = state_of([http, *splitters[1:]])

    _, problems = change(hundred, splitters[:1])

    text = 'discovery chain "s0" goes through more than 100 splitters, one after another'
    assert [str(problem) for problem in problems] == [f'service-splitter "s0": Splits: {text}']
