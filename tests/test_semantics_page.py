"""The examples of docs/semantics.md are real."""

import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.plan import sidecar_plans
from pointsman.chain.validate import validate
from pointsman.failover.selection import select
from pointsman.failover.sentence import sentence
from pointsman.model.entries import Entry, key_of, parse_entry
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.filters.language import parse
from pointsman.model.loading import load_text
from pointsman.model.names import ServiceName
from pointsman.xds.rendered import instances_of

from tests.entry_strategies import instance

PAGE = (Path(__file__).parents[1] / "docs" / "semantics.md").read_text(encoding="utf-8")


class Block(NamedTuple):
    """A fenced block: the line it is on, what it says it is, and what it holds."""

    line: int
    kind: str
    text: str


BLOCKS = [
    Block(PAGE.count("\n", 0, found.start()) + 1, found[1], found[2])
    for found in re.finditer(r"^```([^\n]+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
]
ACCEPTED = [block for block in BLOCKS if block.kind in ("json", "yaml", "hcl")]
REFUSED = [(block, said) for block, said in pairwise(BLOCKS) if block.kind.removesuffix(" refused") != block.kind]


def batch(block: Block) -> tuple[list[Entry], list[Problem]]:
    """The entries of `block`, and what is wrong with them as one batch for an empty mesh."""
    entries, problems = [], []
    for document in load_text(block.text, f"page.{block.kind.split()[0]}"):
        try:
            entries.append(parse_entry(document))
        except InvalidInput as error:
            problems += error.problems
    return entries, problems or validate(EntrySet.of(entries), map(key_of, entries))


@pytest.mark.parametrize("block", ACCEPTED, ids=lambda block: f"line {block.line}")
def test_what_the_page_shows_is_accepted(block: Block) -> None:
    entries, problems = batch(block)

    assert entries
    assert problems == []


@pytest.mark.parametrize(("block", "said"), REFUSED, ids=[f"line {block.line}" for block, _ in REFUSED])
def test_what_the_page_shows_as_refused_is_refused_in_these_words(block: Block, said: Block) -> None:
    _, problems = batch(block)

    assert said.kind == "text"
    assert str(InvalidInput(problems)) == said.text.strip()


def test_every_filter_on_the_page_is_one() -> None:
    expressions = [line for block in BLOCKS if block.kind == "filter" for line in block.text.splitlines()]

    assert expressions
    for expression in expressions:
        assert parse(expression)


def test_the_sentence_on_the_page_is_what_its_example_comes_to() -> None:
    (number,) = [i for i, block in enumerate(BLOCKS) if "first with a healthy instance" in block.text]
    entries, _ = batch(BLOCKS[number - 1])
    (plan,) = sidecar_plans(compile_chain(EntrySet.of(entries), ServiceName("default", "web"), "dc1", "dc1"))
    catalog = {
        "dc1": [instance("default", "web", i, "dc1", "v1", "critical") for i in range(3)],
        "dc2": [instance("default", "web", 0, "dc2", "v1", "passing")],
    }

    assert sentence(plan, select(plan, instances_of(catalog))) == BLOCKS[number].text.strip()


def test_the_sections_are_where_the_code_says_they_are() -> None:
    sections = re.findall(r"^## (\d+)\. (.+)$", PAGE, re.MULTILINE)

    assert [int(number) for number, _ in sections] == list(range(1, 12))
