"""The page says what a stack costs: its sums are right, and what it counts is in the template."""

import re
from collections.abc import Iterator

import pytest

from tests.aws.template import Stack, source
from tests.fleet.process import REPOSITORY

PAGE = (REPOSITORY / "docs/aws.md").read_text()
SECTION = PAGE.partition("## What it costs a month\n")[2].partition("\n## ")[0]
FLEETS = (10, 1_000, 10_000)
TIMES = "\N{MULTIPLICATION SIGN}"
Row = tuple[str, str, list[str]]


def rows(section: str) -> Iterator[Row]:
    """The lines of the tables of prices: what, how it is reckoned, and what comes out for each fleet."""
    for line in section.splitlines():
        cells = [each.strip(" *") for each in line.strip("|").split("|")]
        if len(cells) == 5 and cells[2] not in ("10", "---"):
            yield cells[0], cells[1], cells[2:]


def reckoned(arithmetic: str, envoys: int) -> float:
    """What the arithmetic of a line comes to for so many Envoys."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", arithmetic)
    for sign, meaning in (
        (TIMES, "*"),
        ("÷", "/"),
        ("/M", "*1e-6"),
        ("/GB", "*1e-9"),
        (" ms", "*1e-3"),
        (" KB", "*1e3"),
    ):
        text = text.replace(sign, meaning)
    text = re.sub(r"(?<=\d) (?:GB-s|GB|s|[a-z]+(?: [a-z]+)*)(?![\w(])", "", text).replace("$", "")
    text = re.sub(r"(?<=\d) (?=[A-Z])", " * ", text)
    events = 600 * envoys
    names = {"N": envoys, "E": events, "M": 0.6 * events, "P": 345_600 * envoys, "min": min}
    return float(eval(text, {"__builtins__": {}}, names))


def printed(cell: str) -> tuple[float, float]:
    """A number of the page, and by how much it may be rounded."""
    text = cell.replace(",", "")
    return float(text), 0.51 * 10.0 ** -len(text.partition(".")[2])


@pytest.mark.parametrize("row", [each for each in rows(SECTION) if each[1]], ids=lambda row: row[0])
def test_a_line_comes_to_what_it_says(row: Row) -> None:
    _, arithmetic, cells = row
    for envoys, cell in zip(FLEETS, cells, strict=True):
        said, rounding = printed(cell)
        assert reckoned(arithmetic, envoys) == pytest.approx(said, abs=rounding), (arithmetic, envoys)


def test_the_sums_are_those_of_their_lines() -> None:
    sums = 0
    for table in SECTION.split("\n\n"):
        lines: list[str] = []
        for what, arithmetic, cells in rows(table):
            if what != "together":
                lines.append(arithmetic)
                continue
            sums += 1
            for envoys, cell in zip(FLEETS, cells, strict=True):
                said, rounding = printed(cell)
                # Whoever adds up the lines as they are printed gets a cent more or less.
                assert sum(reckoned(each, envoys) for each in lines) == pytest.approx(said, abs=rounding + 0.02), cell
            break
    assert sums == 3


def test_what_is_counted_is_in_the_template() -> None:
    stack = Stack()
    watched = 0
    for _, alarm in stack.of("AWS::CloudWatch::Alarm"):
        for metric in alarm.get("Metrics", [{"MetricStat": {}}]):
            condition, *ways = metric.get("Fn::If", (None, metric))
            watched += "MetricStat" in ways[not stack.holds(condition)]
    table = PAGE.partition("| metric | `service` |")[2].partition("\n\n")[0]
    metrics_said = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([a-z, ]+) \|", table, re.MULTILINE)
    own = sum(
        names.count("`") // 2 * len([each for each in services.split(", ") if each != "discovery"])
        for names, services in metrics_said
    )
    found = {what: arithmetic for what, arithmetic, _ in rows(SECTION)}
    dashboards = len(list(stack.of("AWS::CloudWatch::Dashboard")))
    assert found["alarms, metrics, dashboard"] == (
        f"{watched} {TIMES} $0.10 + {own} {TIMES} $0.30 + {dashboards} {TIMES} $3.00"
    )
    functions = len(list(stack.of("AWS::Lambda::Function")))
    gigabytes = source()["Parameters"]["Memory"]["Default"] // 1024
    assert found["SnapStart, kept"].startswith(f"{functions} functions {TIMES} {gigabytes} GB {TIMES}")
