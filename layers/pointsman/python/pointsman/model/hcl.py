"""HCL as data: the values of a file, without the language's expressions.

No library reads it, because files come from outside: this reader takes one pass, in time linear in the text, with
bounds on depth and number of values. Consul's own files are HCL 1; this reads its blocks inside lists (`Routes = [{
Match { … } }]`), quoted names of blocks, commas and free white space, and what HCL 2 adds for plain values.
"""

import math
import re
from typing import Any, Final, NoReturn

from pointsman.model.bounded_json import MOST_DEPTH
from pointsman.model.go_literals import LiteralError, parse_int

MOST_HCL_VALUES: Final = 100_000
"""Values and blocks in one text."""


class HclError(ValueError):
    """Text that is not HCL, or is more than data; `line` (from 1) is the place."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        super().__init__(reason)


class Blocks(list[dict[str, Any]]):
    """The bodies of all blocks of one name without labels (`subsets { … }`), in order.

    HCL does not say whether a block is a mapping or an element of a list: where a mapping is meant, take the only
    element.
    """


def load_hcl(text: str) -> dict[str, Any]:
    """The attributes and blocks of `text`, names as they are written.

    An attribute (`name = value`) is its value. Blocks without labels are a `Blocks` list, also a single one. A label
    is a key: `failover "v1" { … }` and `failover "v2" { … }` together are `{"failover": {"v1": {…}, "v2": {…}}}`.
    Whole numbers are read as HCL 1 reads them: `0x…` is hexadecimal, and one that begins with 0 octal.

    Raises HclError for text that is not HCL, for anything that would have to be evaluated (references, functions,
    templates, operators), for a name given twice, for a number beyond 64 bits, and beyond MOST_DEPTH or
    MOST_HCL_VALUES.
    """
    return _Reader(text).document()


# Possessive throughout: no part of the text is read twice.
_TOKEN: Final = re.compile(
    r"""(?P<heredoc><<-?(?P<tag>[^\W\d][\w.-]*+)[ \t]*+\r?\n)
    |(?P<string>"(?:[^"\\\r\n]++|\\.)*+")
    |(?P<number>-?[0-9][0-9A-Za-z]*+(?:\.[0-9A-Za-z]++)?(?:(?<=[eE])[-+][0-9]++)?)
    |(?P<name>[^\W\d][\w.-]*+)
    |(?P<mark>[{}\[\](),=:])""",
    re.VERBOSE | re.DOTALL,
)
_SKIP: Final = re.compile(r"(?:\s++|\#[^\n]*+|//[^\n]*+)++")
_FLOAT: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)\Z")
_PART: Final = re.compile(
    r"\\(?:(?P<simple>[nrt\"\\])|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<unknown>.?))"
    r"|(?P<escaped>\$\$\{|%%\{)|(?P<template>[$%]\{)",
    re.DOTALL,
)
_SIMPLE_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_LITERALS: Final = {"true": True, "false": False, "null": None}
_NOT_DATA: Final = "has to be evaluated; only plain values can be read"
_TEMPLATE: Final = f"a template (${{…}} or %{{…}}) {_NOT_DATA}"
_EARLY: Final = 'the text ends too early; is a "{", "[" or quote not closed?'
_LONGEST_NUMBER: Final = 100


class _Reader:
    """The state of one reading: the next token, and the depth and number of values so far."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.end = 0  # of the token before
        self.depth = 0
        self.values = 0
        self.kind = ""  # of the token that is next: string, number, name, a mark, or "" at the end
        self.token = ""
        self.at = 0
        self.advance()

    # --- tokens ---

    def advance(self) -> None:
        """Go on to the next token."""
        at = self.end = self.at + len(self.token)
        while True:
            if found := _SKIP.match(self.text, at):
                at = found.end()
            if not self.text.startswith("/*", at):
                break
            closed = self.text.find("*/", at + 2)
            if closed < 0:
                raise HclError(self.line(at), "a comment is not closed: there is no */")
            at = closed + 2
        self.at = at
        match = _TOKEN.match(self.text, at)
        if match is None:
            self.kind, self.token = ("other", self.text[at]) if at < len(self.text) else ("", "")
            return
        self.kind, self.token = match.lastgroup or "", match[0]
        if match["heredoc"]:
            self.kind, self.token = "heredoc", self.heredoc(match)
        elif self.kind == "mark":
            self.kind = self.token

    def heredoc(self, opening: re.Match[str]) -> str:
        """The text of a heredoc, from its marker to the line that closes it."""
        start, end = opening.end(), -1
        while start < len(self.text):
            end = self.text.find("\n", start)
            end = end if end >= 0 else len(self.text)
            if self.text[start:end].strip(" \t\r") == opening["tag"]:
                return self.text[opening.start() : end]
            start = end + 1
        raise HclError(self.line(opening.start()), _EARLY)

    def line(self, at: int | None = None) -> int:
        """The line of an offset, of the next token without one."""
        return self.text.count("\n", 0, self.at if at is None else at) + 1

    def refuse(self, reason: str) -> NoReturn:
        """Raise HclError for the next token."""
        raise HclError(self.line(), reason)

    def unexpected(self) -> NoReturn:
        """Raise HclError: the next token cannot stand where it does."""
        if not self.kind or self.token == '"':
            lines = self.text.splitlines() or [""]
            raise HclError(self.line() if self.kind else len(lines), _EARLY)
        if self.kind in ("[", "(", "other") and "\n" not in self.text[self.end : self.at]:
            self.refuse(f"an expression {_NOT_DATA}")
        start = self.text.rfind("\n", 0, self.at) + 1
        shown = self.text[start : start + 200].partition("\n")[0].strip()[:60]
        self.refuse(f"cannot be read as HCL: {shown}")

    def take(self, kind: str) -> None:
        """Go past a token of this kind."""
        if self.kind != kind:
            self.unexpected()
        self.advance()

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

    # --- structure ---

    def document(self) -> dict[str, Any]:
        """All of the text."""
        out = self.object() if self.kind == "{" else self.body("")
        if self.kind:
            self.unexpected()
        return out

    def body(self, closing: str) -> dict[str, Any]:
        """Attributes and blocks up to `closing`."""
        out: dict[str, Any] = {}
        attributes: set[str] = set()
        while self.kind != closing:
            at = self.at
            path = [self.name()]
            while self.kind in ("name", "string"):
                path.append(self.name())
            self.count()
            is_attribute = self.kind == "=" and len(path) == 1
            if path[0] in attributes or (is_attribute and path[0] in out):
                raise HclError(self.line(at), f'"{path[0]}" is given twice')
            if is_attribute:
                self.advance()
                attributes.add(path[0])
                out[path[0]] = self.value()
            elif self.kind == "{":
                self.enter()
                inner = self.body("}")
                self.leave("}")
                self.add_block(out, path, inner, at)
            else:
                self.unexpected()
            if self.kind == ",":
                self.advance()
        return out

    def add_block(self, out: dict[str, Any], path: list[str], body: dict[str, Any], at: int) -> None:
        """Put the block at the offset `at` among the others."""
        blocks = out.setdefault(path[0], Blocks() if len(path) == 1 else {})
        if isinstance(blocks, Blocks) != (len(path) == 1):
            raise HclError(self.line(at), f'"{path[0]}" is given with and without a label')
        if isinstance(blocks, Blocks):
            blocks.append(body)
            return
        for label in path[1:-1]:
            blocks = blocks.setdefault(label, {})
        if path[-1] in blocks:
            raise HclError(self.line(at), f'the block {path[0]} "{path[-1]}" is given twice')
        blocks[path[-1]] = body

    def name(self) -> str:
        """The name of an attribute, or a name or label of a block."""
        if self.kind == "string":
            text = self.string()
        elif self.kind == "name":
            text = self.token
        else:
            self.unexpected()
        self.advance()
        return text

    def value(self) -> Any:
        """A value, and go past it."""
        self.count()
        if self.kind == "{":
            return self.object()
        if self.kind == "[":
            return self.list()
        if self.kind == "(":
            self.enter()
            value = self.value()
            self.leave(")")
            return value
        value = self.scalar()
        self.advance()
        if self.kind in ("(", "[") and "\n" not in self.text[self.end : self.at]:
            self.refuse(f"an expression {_NOT_DATA}")
        return value

    def scalar(self) -> str | int | float | bool | None:
        """The value that the next token is."""
        if self.kind == "string":
            return self.string()
        if self.kind == "heredoc":
            return self.heredoc_text()
        if self.kind == "number":
            return self.number()
        if self.kind != "name" or self.token not in _LITERALS:
            self.no_value()
        return _LITERALS[self.token]

    def no_value(self) -> NoReturn:
        """Raise HclError: the next token is no value."""
        if self.kind != "name":
            self.unexpected()
        if self.text.startswith("(", self.at + len(self.token)):
            self.refuse(f"an expression {_NOT_DATA}")
        self.refuse(f'{self.token[:60]} is not a value; quote it: "{self.token[:60]}"')

    def list(self) -> list[Any]:
        """A list, and go past it."""
        out: list[Any] = []
        self.enter()
        if self.kind == "name" and self.token == "for":
            self.refuse(f"an expression {_NOT_DATA}")
        while self.kind != "]":
            out.append(self.value())
            if self.kind == ",":
                self.advance()
            elif self.kind != "]":
                self.unexpected()
        self.leave("]")
        return out

    def object(self) -> dict[str, Any]:
        """An object, and go past it. A block in it is an object, too."""
        out: dict[str, Any] = {}
        self.enter()
        while self.kind != "}":
            at = self.at
            path = [self.key()]
            while self.kind in ("name", "string"):
                path.append(self.name())
            inner = out
            for name in path[:-1]:
                inner = inner.setdefault(name, {})
                if not isinstance(inner, dict):
                    raise HclError(self.line(at), f'"{name}" is given twice')
            if path[-1] in inner:
                raise HclError(self.line(at), f'"{path[-1]}" is given twice')
            if self.kind != "{":
                if len(path) > 1 or self.kind not in ("=", ":"):
                    self.unexpected()
                self.advance()
            inner[path[-1]] = self.value()
            if self.kind == ",":
                self.advance()
        self.leave("}")
        return out

    def key(self) -> str:
        """The key of an object's element, and go past it."""
        if self.kind == "number":
            text = self.token
            self.advance()
            return text
        if self.kind == "(":
            self.refuse(f"a key that {_NOT_DATA}")
        return self.name()

    # --- scalars ---

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

    def string(self) -> str:
        """The text that the next token, a quoted one, stands for."""
        return _PART.sub(self.part, self.token[1:-1]) if "\\" in self.token or "{" in self.token else self.token[1:-1]

    def part(self, part: re.Match[str]) -> str:
        """What an escape stands for."""
        if part["template"]:
            self.refuse(f"{_TEMPLATE}; a literal ${{ is written $${{")
        if part["escaped"]:
            return part["escaped"][1:]
        if part["unknown"] is not None:
            self.refuse(f'"{part[0]}" is no escape; write a backslash twice')
        if part["simple"]:
            return _SIMPLE_ESCAPES[part["simple"]]
        code = int(part["short"] or part["long"], 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            self.refuse(f'"{part[0]}" is no character')
        return chr(code)

    def heredoc_text(self) -> str:
        """The text of the heredoc that is next."""
        marker, *lines = self.token.splitlines()
        lines.pop()
        if any(re.search(r"(?<![$%])[$%]\{", line) for line in lines):
            self.refuse(_TEMPLATE)
        if marker.startswith("<<-"):
            indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
            lines = [line[min(indents, default=0) :] for line in lines]
        return "".join(f"{line}\n" for line in lines).replace("$${", "${").replace("%%{", "%{")
