"""HCL as Consul's own parser reads it: HCL 1, whose files hold data and nothing to evaluate.

No library reads it, because files come from outside: this reader takes one pass, in time linear in the text, with
bounds on depth and number of values. It makes of a text what HCL 1.0.0 makes of it, or refuses it; it also refuses what
that parser passes over in silence, such as a name without a value at the end.
"""

import math
import re
from typing import Any, Final, NoReturn

from pointsman.model.bounded_json import MOST_DEPTH, read_json
from pointsman.model.errors import InvalidInput
from pointsman.model.go_literals import LiteralError, parse_int
from pointsman.model.hcl_scanner import NOT_DATA, HclError, Scanner

MOST_HCL_VALUES: Final = 100_000
"""Values and blocks in one text."""

_FLOAT: Final = re.compile(r"(?:-?[0-9]+(?:\.[0-9]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|\.[0-9]+)\Z")
_BOOLEANS: Final = {"true": True, "false": False}
_LONGEST_NUMBER: Final = 100
_UTF8_BYTES: Final = 4  # of a character, at most


class Blocks(list[dict[str, Any]]):
    """The bodies of all blocks of one name (`subsets { … }`), in order; of a block with a label, a body with the label
    as its only name.

    HCL does not say whether a block is a mapping or an element of a list, or whether several are parts of one mapping:
    what is meant says the field that they are for (pointsman.model.shape).
    """


def load_hcl(text: str) -> dict[str, Any]:
    """The attributes and blocks of `text`, names as they are written.

    An attribute (`name = value`) is its value. Blocks are a `Blocks` list, also a single one: `failover "v1" { … }` and
    `failover "v2" { … }` together are `{"failover": [{"v1": [{…}]}, {"v2": [{…}]}]}`. Whole numbers may be hexadecimal
    (`0x…`) or octal (with a leading 0). `${…}` and `%{…}` are text like any other, quotes inside `${…}` included. A
    text that begins with `{` is JSON.

    Raises HclError for text that is not HCL 1, for a name that is given twice and for a number beyond 64 bits, and
    beyond MOST_DEPTH or MOST_HCL_VALUES. How long the text may be is the caller's business.
    """
    if text.lstrip().startswith("{"):
        return _json(text)
    return _Reader(text.replace("\r\n", "\n")).document()


def _json(text: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = read_json(
            text, "it", most_bytes=_UTF8_BYTES * len(text), most_values=MOST_HCL_VALUES, unique_keys=True
        )
    except InvalidInput as error:
        place, reason = error.problems[0].field, error.problems[0].reason
        line = int(place.removeprefix("line ")) if place else 0
        raise HclError(line, f'{reason}; a text that begins with "{{" is read as JSON') from None
    return value


class _Reader(Scanner):
    """The state of one reading: beside the token that is next, the depth and number of values so far."""

    def __init__(self, text: str) -> None:
        self.depth = 0
        self.values = 0
        super().__init__(text)

    def enter(self) -> None:
        """Go past an opening bracket."""
        self.depth += 1
        if self.depth > MOST_DEPTH:
            self.refuse(f"is nested too deeply: more than {MOST_DEPTH} levels")
        self.advance()

    def leave(self, kind: str) -> None:
        """Go past a closing bracket."""
        self.depth -= 1
        self.take(kind)

    def count(self) -> None:
        """Note one more value or block."""
        self.values += 1
        if self.values > MOST_HCL_VALUES:
            self.refuse(f"has more than {MOST_HCL_VALUES} values; split it, or write it as JSON")

    def document(self) -> dict[str, Any]:
        """All of the text."""
        return self.body("")

    def body(self, closing: str) -> dict[str, Any]:
        """Attributes and blocks up to `closing`."""
        out = _Body()
        while self.kind != closing:
            at = self.at
            path = [self.name()]
            while self.kind in ("name", "string"):
                path.append(self.name())
            self.count()
            if self.kind == "=" and len(path) == 1:
                self.advance()
                wrong = out.attribute(path[0], self.value())
            elif self.kind == "=":
                self.refuse(f'a block with a label has no "=": {path[0]} "{path[1]}" {{ … }}')
            elif self.kind == "{":
                wrong = out.block(path, self.object())
            elif self.kind == "}":
                raise HclError(self.line(at), f'"{path[0]}" has no value; write {path[0]} = …')
            else:
                self.unexpected()
            if wrong:
                raise HclError(self.line(at), wrong)
            if self.kind == ",":
                self.advance()
        return out.items

    def name(self) -> str:
        """The name of an attribute, or a name or label of a block."""
        if self.kind == "number" or (self.kind == "name" and self.token in _BOOLEANS):
            self.refuse(f'{self.token[:60]} is not a name; quote it: "{self.token[:60]}"')
        if self.kind not in ("string", "name"):
            self.unexpected()
        text = self.token
        self.advance()
        return text

    def value(self) -> Any:
        """A value, and go past it."""
        self.count()
        if self.kind == "{":
            return self.object()
        if self.kind == "[":
            return self.list()
        value = self.scalar()
        self.advance()
        if self.kind == "[" and "\n" not in self.text[self.end : self.at]:
            self.refuse(NOT_DATA)
        return value

    def scalar(self) -> str | int | float | bool:
        """The value that the next token is."""
        if self.kind in ("string", "heredoc"):
            return self.token
        if self.kind == "number":
            return self.number()
        if self.kind != "name":
            self.unexpected()
        if self.token not in _BOOLEANS:
            self.no_value()
        return _BOOLEANS[self.token]

    def no_value(self) -> NoReturn:
        """Raise HclError: the name that is next is no value."""
        if self.text.startswith("(", self.stop):
            self.refuse(NOT_DATA)
        text = self.token[:60]
        if text.lower() in _BOOLEANS:
            self.refuse(f"{text} is not a value; write {text.lower()}")
        if text == "null":
            self.refuse("null is not a value of HCL; leave the field out")
        self.refuse(f'{text} is not a value; quote it: "{text}"')

    def list(self) -> list[Any]:
        """A list, and go past it."""
        out: list[Any] = []
        self.enter()
        while self.kind != "]":
            out.append(self.value())
            if self.kind == ",":
                self.advance()
            elif self.kind != "]":
                self.unexpected()
        self.leave("]")
        return out

    def object(self) -> dict[str, Any]:
        """What is in braces, and go past it."""
        self.enter()
        out = self.body("}")
        self.leave("}")
        return out

    def number(self) -> int | float:
        """The number that the next token is."""
        text = self.token
        if len(text) > _LONGEST_NUMBER:
            self.refuse("a number with too many digits; quote it")
        try:
            return parse_int(text)
        except LiteralError as error:
            if "64 bits" in str(error):
                self.refuse(f"{error}; quote it")
        if not _FLOAT.match(text):
            self.refuse(f'{text} is not a value; quote it: "{text}"')
        value = float(text)
        if not math.isfinite(value):
            self.refuse(f"{text} is beyond what a number holds; quote it")
        return value


class _Body:
    """What is in one pair of braces so far."""

    def __init__(self) -> None:
        self.items: dict[str, Any] = {}
        self.labels: dict[str, set[tuple[str, ...]]] = {}  # of blocks, by name; an empty one for a block without
        self.spelled: dict[str, str] = {}  # the first spelling of each name, by the name in small letters

    def attribute(self, name: str, value: Any) -> str:
        """Add an attribute; what is wrong with that, "" if nothing."""
        if name in self.items:
            return f'"{name}" is given twice'
        self.items[name] = value
        return self.spelling(name)

    def block(self, path: list[str], body: dict[str, Any]) -> str:
        """Add a block, `path` its name and labels; what is wrong with that, "" if nothing."""
        name, labels = path[0], tuple(path[1:])
        others = self.labels.setdefault(name, set())
        if name in self.items and not isinstance(self.items[name], Blocks):
            return f'"{name}" is given twice'
        if labels in others and labels:
            return 'the block {} "{}" is given twice'.format(name, '" "'.join(labels))
        if others and (() in others) != (not labels):
            return f'"{name}" is given with and without a label'
        others.add(labels)
        for label in reversed(labels):
            body = {label: Blocks([body])}
        self.items.setdefault(name, Blocks()).append(body)
        return self.spelling(name)

    def spelling(self, name: str) -> str:
        """What is wrong with a name of blocks with labels that is there in other capitals: HCL takes them for one."""
        first = self.spelled.setdefault(name.lower(), name)
        if first != name and any(labels - {()} for labels in map(self.labels.get, (first, name)) if labels):
            return f'"{name}" is "{first}" in other capitals; write them alike'
        return ""
