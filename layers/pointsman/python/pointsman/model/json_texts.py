"""Reads a file of JSON texts one after another, as a loop over a command appends what it prints."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from pointsman.model.bounded_json import read_json
from pointsman.model.errors import InvalidInput

MOST_JSON_TEXTS: Final = 10_000
"""JSON texts one after another in one file."""

QUOTED: Final = r'"(?:\\(?s:.)|[^"\\])*+(?:"|\\?\Z)'
"""A string of JSON; one that does not end goes to the end, so that no text is looked at twice."""

_ANOTHER = re.compile(r"\s*[\[{]")
_BRACKETS = re.compile(QUOTED + r"|[][{}]")


def read_jsons(text: str, name: str, *, most_bytes: int) -> list[Any]:
    """The values of the JSON texts that `text`, of the file `name`, has one after another; keys are unique.

    Raises InvalidInput as `read_json` does, with the number of the text if there are several.
    """
    try:
        return [read_json(text, name, most_bytes=most_bytes, unique_keys=True)]
    except InvalidInput:
        apart = list(islice(_apart(text), MOST_JSON_TEXTS + 1))
        if len(apart) == 1:
            raise
    if len(apart) > MOST_JSON_TEXTS:
        raise InvalidInput.single(name, "", f"has more than {MOST_JSON_TEXTS} documents; split it")
    return [
        read_json(each, f"{name}: document {i}", most_bytes=most_bytes, unique_keys=True)
        for i, each in enumerate(apart, start=1)
    ]


def _apart(text: str) -> Iterator[str]:
    """The JSON texts that `text` has one after another. What is no JSON stays with the text before it."""
    start = depth = 0
    for each in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(each[0], 0)
        if depth < 0:
            break
        if not depth and each[0] in "]}" and _ANOTHER.match(text, each.end()):
            yield text[start : each.end()].strip()
            start = each.end()
    yield text[start:].strip()
