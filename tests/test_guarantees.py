"""docs/guarantees.md names tests that exist and that `make test` runs."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAGE)
LEFT_OUT = {"skip", "skipif", "xfail", "importorskip", "soak"}
"""What keeps a test out of `make test`, or lets it fail there unnoticed."""


@cache
def module(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def words(node: ast.AST) -> set[str]:
    """Every name and attribute in `node`."""
    found = (each for each in ast.walk(node) if isinstance(each, ast.Attribute | ast.Name))
    return {each.attr if isinstance(each, ast.Attribute) else each.id for each in found}


def marks(decorator: ast.AST) -> set[str]:
    """What `decorator` says of all cases of a test: where only some of them have a mark, the others run."""
    if isinstance(decorator, ast.Call) and "parametrize" in words(decorator.func):
        cases = decorator.args[1].elts if isinstance(decorator.args[1], ast.List | ast.Tuple) else decorator.args[1:2]
        if not all(any(isinstance(each, ast.keyword) and each.arg == "marks" for each in ast.walk(c)) for c in cases):
            return set()
    return words(decorator)


@pytest.mark.parametrize("node", NAMED)
def test_a_named_test_is_there_and_make_test_runs_it(node: str) -> None:
    path, _, name = node.partition("::")
    assert Path(path).name.startswith("test_")
    body = module(path).body
    found = [each for each in body if isinstance(each, ast.FunctionDef) and each.name == name]
    assert len(found) == 1, f"{path} has {len(found)} tests of this name"
    of_module = [each.value for each in body if isinstance(each, ast.Assign) and "pytestmark" in words(each)]

    assert not set().union(*map(marks, [*found[0].decorator_list, *of_module])) & LEFT_OUT
    assert not set().union(*map(words, found[0].body)) & LEFT_OUT


def test_every_promise_names_tests_and_what_is_not_promised() -> None:
    promises = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]

    assert [each.split(".")[0] for each in promises] == [str(i + 1) for i in range(len(promises))]
    for each in promises:
        assert re.search(r"`tests/[\w/]+\.py::\w+`", each), each
        assert "\nNot promised:\n\n- " in each, each
    assert len(NAMED) == len(set(NAMED)) == PAGE.count("::")


def test_nothing_but_soak_tests_is_left_out_of_make_test() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    (recipe,) = re.findall(r"^test:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert options["testpaths"] == ["tests"]
    assert re.findall(r"-m '(.*?)'", options["addopts"]) == ["not soak"]
    assert not re.search(r" -[mk] |--ignore|--deselect|tests/", recipe)
    for conftest in (ROOT / "tests").rglob("conftest.py"):
        assert not re.search(r"collect_ignore|ignore_collect|collection_modifyitems", conftest.read_text())
