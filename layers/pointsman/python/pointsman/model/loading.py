"""The documents of a config file: JSON, YAML or HCL, told apart by the file's name."""

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pointsman.model.errors import InvalidInput
from pointsman.model.hcl import Blocks, HclError, load_hcl

if TYPE_CHECKING:
    import yaml

Document = dict[str, Any]

_FORMATS: Final = {"json": "JSON", "yaml": "YAML", "yml": "YAML", "hcl": "HCL"}
_DEEPEST: Final = 100
_EMPTY: Final = "is empty; write a document, or [] for none"


def load_text(text: str, name: str) -> list[Document]:
    """The documents of `text`, in order: config entries or registrations, field names as they are written.

    The ending of `name` says what it is: `.json`, `.yaml` or `.yml`, `.hcl`. Any other name, such as `-`: JSON if it
    starts with `{` or `[`, else YAML. JSON and each document of a YAML stream hold one document or a list of them; HCL
    holds one. A document with nothing but `config_entries` (a list, or `bootstrap` with a list, as in a Consul
    agent's configuration) stands for the entries in it.

    Blocks of HCL arrive as `pointsman.model.hcl.Blocks`: a list, of one element for a single block.

    Raises InvalidInput, which names the file, the line where it is known, and the reason; also for a key that is given
    twice, for an empty file, and for values that JSON does not have. A date in YAML is a string, and so are `yes`,
    `no`, `on` and `off`: country codes and switches keep their spelling.
    """
    text = text.removeprefix("\ufeff")
    if not text.strip():
        _refuse(name, None, _EMPTY)
    kind = _FORMATS.get(name.lower().rpartition(".")[2]) or ("JSON" if text.lstrip()[0] in "{[" else "YAML")
    try:
        loaded = {"JSON": _json, "YAML": _yaml, "HCL": _hcl}[kind](text, name)
        if not loaded:
            _refuse(name, None, _EMPTY)
        places = [f"document {i}" for i in range(1, len(loaded) + 1)] if len(loaded) > 1 else ["the document"]
        return [item for value, place in zip(loaded, places, strict=True) for item in _documents(value, name, place)]
    except RecursionError:
        _refuse(name, None, "is nested too deeply")


def _refuse(name: str, line: int | None, reason: str) -> NoReturn:
    raise InvalidInput.single("standard input" if name == "-" else name, f"line {line}" if line else "", reason)


def _documents(value: Any, name: str, place: str) -> list[Document]:
    """The documents that a loaded value is: one, those of a list, or those inside `config_entries`."""
    if isinstance(value, dict) and value.keys() == {"config_entries"}:
        value = value["config_entries"]
        boxes = value if isinstance(value, Blocks) else [value]
        if len(boxes) == 1 and isinstance(boxes[0], dict) and boxes[0].keys() == {"bootstrap"}:
            value = boxes[0]["bootstrap"]
        place = "config_entries"
    items = value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, dict):
            _refuse(name, None, f"{place}: a mapping is wanted, not {json.dumps(item)[:60]}")
    return list(items)


def _json(text: str, name: str) -> list[Any]:
    def unique(pairs: list[tuple[str, Any]]) -> Document:
        out: Document = {}
        for key, value in pairs:
            if key in out:
                _refuse(name, None, f'the key "{key}" is given twice')
            out[key] = value
        return out

    def unknown(constant: str) -> NoReturn:
        _refuse(name, None, f"{constant} is not a number that JSON has")

    try:
        return [json.loads(text, object_pairs_hook=unique, parse_constant=unknown)]
    except json.JSONDecodeError as error:
        _refuse(name, error.lineno, f"not JSON: {error.msg} (column {error.colno})")


def _hcl(text: str, name: str) -> list[Any]:
    try:
        return [load_hcl(text)]
    except HclError as error:
        _refuse(name, error.line, str(error))


def _yaml(text: str, name: str) -> list[Any]:
    import yaml

    try:
        _refuse_deep_yaml(text, name)
        return [document for document in yaml.load_all(text, Loader=_yaml_loader()) if document is not None]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        reason = error.problem or "it cannot be read"
        if not isinstance(error, yaml.constructor.ConstructorError):
            reason = f"not YAML: {reason}"
        if "alias" in f"{error.context} {error.problem}":
            reason += '; a "*" is quoted: "*"'
        _refuse(name, line, reason)
    except yaml.YAMLError as error:
        _refuse(name, None, f"not YAML: {' '.join(str(error).split())}")


def _refuse_deep_yaml(text: str, name: str) -> None:
    """The parser in C takes its stack for every level and would take the process down with it."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=_yaml_loader()):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                _refuse(name, event.start_mark.line + 1 if event.start_mark else None, "is nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


@cache
def _yaml_loader() -> "type[yaml.SafeLoader]":
    """PyYAML's safe loader with the values of JSON only: those of YAML 1.2's core schema, keys that are strings."""
    import re

    import yaml

    # The parser in C is ten times as fast, where PyYAML was built with it.
    base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc,valid-type]
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key_node, _ in node.value:
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
                if key is None or key_node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                    shown = f'{key} is not a string; quote it: "{key}"' if key else "a key is not a string"
                    raise yaml.constructor.ConstructorError(None, None, shown, key_node.start_mark)
                if key in seen:
                    problem = f'the key "{key}" is given twice'
                    raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
                seen.add(key)
            return dict(super().construct_mapping(node, deep=True))

    prefix = "tag:yaml.org,2002:"
    Loader.yaml_implicit_resolvers = {}
    for kind, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
        ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
        ("merge", r"<<", ["<"]),
    ):
        Loader.add_implicit_resolver(prefix + kind, re.compile(rf"^(?:{pattern})$"), first)
    kept = {prefix + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map")} | {None}
    Loader.yaml_constructors = {
        tag: constructor for tag, constructor in yaml.SafeLoader.yaml_constructors.items() if tag in kept
    }
    return Loader
