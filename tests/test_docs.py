"""What the pages refer to is there: other pages and their sections, files of the code, tests."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "layers" / "pointsman" / "python" / "pointsman"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, *sorted(ROOT.glob("*.md"))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"\[(.+?)\]\(.*?\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_every_file_of_the_code_that_is_named_is_there(page: Path) -> None:
    for path in re.findall(r"`([a-z][\w/]*/\w+\.(?:py|yaml|lock))`", prose(page)):
        assert (ROOT / path).exists() or (PACKAGE / path).exists(), path


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_every_test_that_is_named_is_there(page: Path) -> None:
    for path, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", prose(page)):
        assert f"\ndef {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_a_page_says_first_for_whom_it_is(page: Path) -> None:
    beginning = " ".join(prose(page).splitlines()[1:10])

    assert re.search(r"\b[Ff]or (those|everyone|operators|developers|people|strangers|you)\b", beginning)


@pytest.mark.parametrize("page", [page for page in DOCS if page.name != "README.md"], ids=name)
def test_the_index_names_every_page(page: Path) -> None:
    assert f"({page.name})" in (ROOT / "docs" / "README.md").read_text(encoding="utf-8")


def test_every_word_in_italics_of_the_concepts_is_in_the_glossary() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    entries = {word for line in re.findall(r"^### (.+)$", glossary, re.MULTILINE) for word in line.lower().split(", ")}
    words = {
        " ".join(each.split()).lower()
        for each in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", prose(DOCS[0].with_name("concepts.md")))
    }

    assert len(words) > 15
    assert sorted(word for word in words if not {word, word.removesuffix("s"), f"{word[:-3]}y"} & entries) == []
