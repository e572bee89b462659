"""Reads the files that people bring: JSON and YAML, with CloudFormation's short forms and with placeholders."""

import re
from collections.abc import Mapping
from typing import Any, Final

from pointsman.model.errors import InvalidInput
from pointsman.model.json_texts import QUOTED, read_jsons
from pointsman.model.loading import LARGEST_FILE_BYTES, load_template

_BARE = re.compile(QUOTED + r"|\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_MUSTACHE = re.compile(r"\{\{-?\s*\.?([A-Za-z_][\w.]*)\s*-?\}\}")
_LISTED = re.compile(r"\[\s*(\$\{\w+\})\s*\]")
_PLACEHOLDER: Final = re.compile(r"\$(?:\{([A-Za-z_][\w:.]*)\}|([A-Za-z_]\w*))")
"""`$NAME` or `${NAME}`."""


def read_source(content: bytes, name: str) -> list[Any]:
    """The documents of a file, without what is empty: of JSON one after another, as a loop over `describe-…` appends
    them. Placeholders stand as text: `$PORT` and `{{PORT}}` as `${PORT}`.

    Raises InvalidInput with the file and the reason.
    """
    if len(content) > LARGEST_FILE_BYTES["JSON"]:
        raise InvalidInput.single(name, "", f"is longer than {LARGEST_FILE_BYTES['JSON']} bytes; split it")
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InvalidInput.single(name, "", f"is not UTF-8 (byte {error.start}); save it as that") from None
    text = _MUSTACHE.sub(r"${\1}", text)
    if "{{" in text:
        reason = "is a template that something else has to render first, for example `helm template`"
        raise InvalidInput.single(name, "", reason)
    if text.lstrip()[:1] in ("{", "["):
        quoted = _BARE.sub(lambda found: f'"${{{found[1] or found[2]}}}"' if found[0][0] == "$" else found[0], text)
        return read_jsons(quoted, name, most_bytes=LARGEST_FILE_BYTES["JSON"])
    return load_template(_LISTED.sub(r'["\1"]', text), name)


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with the placeholders replaced that `values` has."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1] or found[2], found[0]), text)


def placeholders(text: str) -> list[str]:
    """The names of the placeholders in `text`."""
    return [found[1] or found[2] for found in _PLACEHOLDER.finditer(text)]
