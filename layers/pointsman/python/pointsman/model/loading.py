"""Reads the documents of a config file: JSON, YAML or HCL, by the file's name."""

from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pointsman.model.bounded_json import MOST_DEPTH
from pointsman.model.complaints import shown
from pointsman.model.errors import InvalidInput
from pointsman.model.hcl import load_hcl
from pointsman.model.hcl_scanner import HclError
from pointsman.model.json_texts import read_jsons

if TYPE_CHECKING:
    import yaml

Document = dict[str, Any]

_FORMATS: Final = {"json": "JSON", "yaml": "YAML", "yml": "YAML", "hcl": "HCL"}

LARGEST_FILE_BYTES: Final = {"JSON": 6 * 1024 * 1024, "YAML": 2 * 1024 * 1024, "HCL": 1024 * 1024}
"""Bytes of one file, by format. JSON reads ten times as fast, and may be as long as a request."""

MOST_BYTES: Final = max(LARGEST_FILE_BYTES.values())
"""Bytes of a file of any format: read at most one byte more."""

MOST_YAML_VALUES: Final = 100_000
"""Values of one YAML file, keys included; each alias counts as all that it stands for."""

_LONGEST_NUMBER: Final = 100
_EMPTY: Final = "is empty; write a document, or [] for none"


def load_bytes(content: bytes, name: str) -> list[Document]:
    """The documents of `content`, as `load_text` returns them. Raises InvalidInput also if it is not UTF-8."""
    if len(content) > MOST_BYTES:
        _refuse(name, None, f"is longer than {MOST_BYTES} bytes; split it")
    try:
        return load_text(content.decode(), name)
    except UnicodeDecodeError as error:
        _refuse(name, None, f"is not UTF-8 (byte {error.start}); save it as that")


def load_text(text: str, name: str) -> list[Document]:
    """The documents of `text`, in order: config entries or registrations, field names as they are written.

    The ending of `name` gives the format: `.json`, `.yaml` or `.yml`, `.hcl`. Any other name, such as `-`: JSON if it
    starts with `{` or `[`, else YAML. Each JSON text, as `consul config read` prints one after another, and each
    document of a YAML stream hold one document or a list of them; HCL holds one. What they are is read by
    `pointsman.model.consul_documents`.

    Blocks of HCL arrive as `pointsman.model.hcl.Blocks`: a list, of one element for a single block.

    Raises InvalidInput with the file, the line if known, and the reason; also for a key given twice, for an empty file,
    for values that JSON does not have, and beyond the bounds LARGEST_FILE_BYTES, MOST_DEPTH, MOST_VALUES,
    MOST_YAML_VALUES, MOST_HCL_VALUES. A date in YAML is a string, and so are `yes`, `no`, `on` and `off`: country codes
    and switches keep their spelling.
    """
    if not text.removeprefix("\ufeff").strip():
        _refuse(name, None, _EMPTY)
    kind = _FORMATS.get(name.lower().rpartition(".")[2])
    if kind != "HCL":  # which knows no byte order mark
        text = text.removeprefix("\ufeff")
    kind = kind or ("JSON" if text.lstrip()[0] in "{[" else "YAML")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        _refuse(name, text.count("\n", 0, error.start) + 1, "has half of a surrogate pair, which is no character")
    if size > LARGEST_FILE_BYTES[kind]:
        _refuse(name, None, f"is longer than {LARGEST_FILE_BYTES[kind]} bytes, the most for {kind}; split it")
    loaded = {"JSON": _json, "YAML": _yaml, "HCL": _hcl}[kind](text, name)
    if not loaded:
        _refuse(name, None, _EMPTY)
    places = [f"document {i}" for i in range(1, len(loaded) + 1)] if len(loaded) > 1 else ["the document"]
    return [item for value, place in zip(loaded, places, strict=True) for item in _documents(value, name, place)]


def _thing(name: str) -> str:
    return "standard input" if name == "-" else name


def _refuse(name: str, line: int | None, reason: str) -> NoReturn:
    raise InvalidInput.single(_thing(name), f"line {line}" if line else "", reason)


def _documents(value: Any, name: str, place: str) -> list[Document]:
    """The documents that a loaded value is: one, or those of a list."""
    items = value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, dict):
            _refuse(name, None, f"{place}: a mapping is required, not {shown(item)}")
    return list(items)


def _json(text: str, name: str) -> list[Any]:
    return read_jsons(text, _thing(name), most_bytes=LARGEST_FILE_BYTES["JSON"])


def _hcl(text: str, name: str) -> list[Any]:
    try:
        return [load_hcl(text)]
    except HclError as error:
        _refuse(name, error.line or None, str(error))


def load_template(text: str, name: str) -> list[Any]:
    """The documents of a YAML file, where CloudFormation's short forms may stand: `!Ref X` is `{"Ref": X}`, and
    `!Sub X` is `{"Fn::Sub": X}`. Keys may be numbers, and are text.

    Raises InvalidInput as `load_text` does, within the same bounds.
    """
    if (size := len(text.encode())) > LARGEST_FILE_BYTES["YAML"]:
        _refuse(name, None, f"has {size} bytes, {LARGEST_FILE_BYTES['YAML']} are the most for YAML; split it")
    return _yaml(text, name, short_forms=True)


def _yaml(text: str, name: str, short_forms: bool = False) -> list[Any]:
    import yaml

    try:
        _check_yaml(text, name)
        loader = _yaml_loader(short_forms)
        return [document for document in yaml.load_all(text, Loader=loader) if document is not None]
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


def _check_yaml(text: str, name: str) -> None:
    """Refuse text that is too deep or has too many values, before anything is built from it.

    The parser in C uses its stack for every level, and would crash the process. An alias is short, but what it stands
    for may be long, and made of aliases; so each counts as all that it stands for.
    """
    import yaml

    values = 0
    sizes: dict[str, int] = {}
    # For each open collection: its anchor, and the number of values before it.
    within: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=_yaml_loader()):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.DocumentStartEvent):
            sizes.clear()
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = within.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.AliasEvent):
                if any(event.anchor == anchor for anchor, _ in within):
                    _refuse(name, line, f"*{event.anchor} contains itself")
                values += sizes.get(event.anchor or "", 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                within.append((event.anchor, values))
                values += 1
                if len(within) > MOST_DEPTH:
                    _refuse(name, line, f"is nested too deeply: more than {MOST_DEPTH} levels")
            else:
                values += 1
            if values > MOST_YAML_VALUES:
                _refuse(name, line, f"has more than {MOST_YAML_VALUES} values; split it, or write it as JSON")


@cache
def _yaml_loader(short_forms: bool = False) -> "type[yaml.SafeLoader]":
    """PyYAML's safe loader with the values of JSON only: those of YAML 1.2's core schema, keys that are strings.

    With `short_forms` it reads those of CloudFormation too.
    """
    import re

    import yaml

    # The parser in C is ten times as fast, if PyYAML was built with it.
    base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc,valid-type]
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key_node, _ in node.value:
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
                if short_forms and key_node.tag == "tag:yaml.org,2002:int":
                    key_node.tag = "tag:yaml.org,2002:str"
                if key is None or key_node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                    shown = f'{key} is not a string; quote it: "{key}"' if key else "a key is not a string"
                    raise yaml.constructor.ConstructorError(None, None, shown, key_node.start_mark)
                if key in seen:
                    problem = f'the key "{key}" is given twice'
                    raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
                seen.add(key)
            return dict(super().construct_mapping(node, deep=True))

    def number(loader: Any, node: yaml.ScalarNode) -> int | float:
        """A number of at most 64 bits: Python takes too long for more digits, or raises an error of its own."""
        text = str(loader.construct_scalar(node))
        problem = "a number that 64 bits do not hold; quote it"
        if len(text) <= _LONGEST_NUMBER:
            value = int(text) if node.tag.endswith(":int") else float(text)
            if isfinite(value) and (isinstance(value, float) or -(2**63) <= value < 2**64):
                return value
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)

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
    Loader.yaml_constructors |= {prefix + "int": number, prefix + "float": number}
    if short_forms:
        Loader.yaml_multi_constructors = {"!": _short_form}
    return Loader


def _short_form(loader: Any, tag: str, node: Any) -> Document:
    """The long form of CloudFormation's `!tag`."""
    value: Any
    if node.id == "scalar":
        value = loader.construct_scalar(node)
    else:
        value = loader.construct_sequence(node, deep=True) if node.id == "sequence" else loader.construct_mapping(node)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}
