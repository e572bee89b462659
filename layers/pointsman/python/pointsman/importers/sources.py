"""Reads the files that people bring: JSON and YAML, with CloudFormation's short forms and with placeholders."""

import re
from collections.abc import Mapping
from typing import Any, Final

from pointsman.model.errors import InvalidInput
from pointsman.model.json_texts import QUOTED, read_jsons
from pointsman.model.loading import LARGEST_FILE_BYTES, load_template

_BARE = re.compile(QUOTED + r"|\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_MUSTACHE = re.compile(r"\{\{-?\s*\.?([A-Za-z_][\w.]*)\s*-?\}\}")
_RESOLVED = re.compile(r"\{\{resolve:([^{}]*)\}\}")
_FLOWING = re.compile(r"([\[,:]\s*)(\$\{\w+\})(?=\s*[],}])")
_PLACEHOLDER: Final = re.compile(r"\$(?:\{([A-Za-z_][\w:.]*)\}|([A-Za-z_]\w*))")
"""`$NAME` or `${NAME}`."""

UNRENDERED: Final = "is a template that something else has to render first, for example `helm template`"
"""The reason of what has the marks of a template's language."""


def read_source(content: bytes, name: str) -> list[Any]:
    """The documents of a file, without what is empty: of JSON one after another, as a loop over `describe-…` appends
    them. Placeholders stand as text: `$PORT` and `{{PORT}}` as `${PORT}`, and what CloudFormation looks up in other
    services, `{{resolve:ssm:port}}`, as `${resolve_ssm_port}`.

    Raises InvalidInput with the file and the reason.
    """
    if len(content) > LARGEST_FILE_BYTES["JSON"]:
        raise InvalidInput.single(name, "", f"is longer than {LARGEST_FILE_BYTES['JSON']} bytes; split it")
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InvalidInput.single(name, "", f"is not UTF-8 (byte {error.start}); save it as that") from None
    text = _RESOLVED.sub(lambda found: f"${{resolve_{re.sub(r'[^A-Za-z0-9]+', '_', found[1]).strip('_')}}}", text)
    text = _MUSTACHE.sub(r"${\1}", text)
    try:
        if text.lstrip()[:1] in ("{", "["):
            quoted = _BARE.sub(lambda found: f'"${{{found[1] or found[2]}}}"' if found[0][0] == "$" else found[0], text)
            return read_jsons(quoted, name, most_bytes=LARGEST_FILE_BYTES["JSON"])
        return _yaml(text, name)
    except InvalidInput:
        if "{{" in text:
            raise InvalidInput.single(name, "", UNRENDERED) from None
        raise


def _yaml(text: str, name: str) -> list[Any]:
    """Of YAML; a `${NAME}` that its flow style takes for a block is quoted."""
    try:
        return load_template(text, name)
    except InvalidInput:
        if (quoted := _FLOWING.sub(r'\1"\2"', text)) == text:
            raise
        try:
            return load_template(quoted, name)
        except InvalidInput:
            pass
        raise


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with the placeholders replaced that `values` has."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1] or found[2], found[0]), text)


def placeholders(text: str) -> list[str]:
    """The names of the placeholders in `text`."""
    return [found[1] or found[2] for found in _PLACEHOLDER.finditer(text)]
