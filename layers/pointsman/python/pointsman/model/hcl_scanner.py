"""The tokens of HCL 1: names, numbers, texts and marks, with the comments left out.

Each token is read once, in time linear in the text.
"""

import re
from typing import Final, NoReturn

from pointsman.model.go_literals import LiteralError, escaped


class HclError(ValueError):
    """Text that is not HCL; `line` (from 1) is the place, 0 where it is not known."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        super().__init__(reason)


# Possessive throughout: no part of the text is read twice.
_TOKEN: Final = re.compile(
    r"""(?P<heredoc><<(?P<indented>-?)(?P<tag>\w*+)\n)
    |(?P<number>-?[0-9]\w*+(?:\.\w*+)?(?:(?<=[eE])[-+][0-9]++)?|\.[0-9]\w*+)
    |(?P<name>[^\W\d][\w.-]*+)
    |(?P<mark>["{}\[\],=])""",
    re.VERBOSE,
)
_SKIP: Final = re.compile(r"(?:[ \t\r\n]++|\#[^\n]*+|//[^\n]*+)++")
_NO_CHARACTER: Final = re.compile("[\0\ue123]")
_PLAIN: Final = re.compile(r'(?:[^"\\\n$]++|\$(?!\{))++')
_TEMPLATE_PART: Final = re.compile(r"[^{}\\]++")
NOT_DATA: Final = "an expression has to be evaluated; only plain values can be read"
_EARLY: Final = 'the text ends too early; is a "{", "[" or quote not closed?'
_INSTEAD: Final = {
    "'": 'a text is quoted with "',
    "`": 'a text is quoted with "',
    ":": 'a name and its value have "=" between them, not ":"',
    "*": 'quote it: "*"',
    "\ufeff": "it begins with a byte order mark; save it without one",
    "\xa0": "a no-break space; write a plain one",
    "/": "a comment begins with #, // or /*",
    "<": "a text of several lines begins with <<, a name of letters, digits and _, and the end of the line",
    ";": "an item ends with its line, or with a comma",
}
"""What to write instead of a character that HCL 1 does not have."""


class Scanner:
    """Where the reading of a text is: the token that is next. `text` has no carriage returns at the ends of lines."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.end = 0  # of the token before
        self.kind = ""  # of the token that is next: string, heredoc, number, name, a mark, other, or "" at the end
        self.token = ""  # as it is written; of a string or heredoc, what it stands for
        self.at = 0
        self.stop = 0
        if wrong := _NO_CHARACTER.search(text):
            raise HclError(self.line(wrong.start()), f"has the character U+{ord(wrong[0]):04X}, which no text has")
        self.advance()

    def advance(self) -> None:
        """Go on to the next token."""
        at = self.end = self.stop
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
            self.stop = at + len(self.token)
            return
        self.kind, self.token, self.stop = match.lastgroup or "", match[0], match.end()
        if match["heredoc"]:
            self.kind, self.token = "heredoc", self.heredoc(match)
        elif self.token == '"':
            self.kind, self.token = "string", self.string()
        elif self.kind == "mark":
            self.kind = self.token
        elif self.kind == "name" and not self.token.isascii():
            self.check_letters()

    def check_letters(self) -> None:
        """Raise HclError if the name that is next has a character that HCL 1 has in no name."""
        for char in self.token:
            if not (char.isalpha() or char.isdecimal() or char in "_-."):
                self.refuse(f'{char} is not a letter; quote the name: "{self.token[:60]}"')

    def heredoc(self, opening: re.Match[str]) -> str:
        """What a heredoc stands for, and set `stop` behind the line that closes it.

        The indentation of an indented one is that of its last line; if a line has less, all lines stay as they are.
        """
        tag, indented = opening["tag"], bool(opening["indented"])
        if not tag or not all(char.isalpha() or char.isdecimal() or char == "_" for char in tag):
            self.refuse("a name of letters and digits follows <<, as in <<EOF")
        start = opening.end()
        while (end := self.text.find("\n", start)) >= 0:
            line = self.text[start:end]
            margin = line.removesuffix(tag)
            if margin != line and not margin.strip(" \t\v\f\r"):
                if indented and not margin:
                    raise HclError(self.line(start), f"the end of an indented text is indented, too; or write <<{tag}")
                break
            start = end + 1
        else:
            if self.text.rpartition("\n")[2].strip() == tag:
                self.refuse(f"put a line feed behind the last line, {tag}: without one it does not close its text")
            self.refuse(f"the text after <<{tag} is not closed: there is no line {tag}")
        self.stop = end + 1
        body = self.text[opening.end() : start]
        if not indented:
            return body + margin
        lines = body.split("\n")[:-1]
        if all(line.startswith(margin) for line in lines):
            return "".join(f"{line.removeprefix(margin)}\n" for line in lines)
        return body

    def string(self) -> str:
        """What the text in quotes that begins at `at` stands for, and set `stop` behind it."""
        out = bytearray()
        at = self.stop
        while not self.text.startswith('"', at):
            if plain := _PLAIN.match(self.text, at):
                out += plain[0].encode()
                at = plain.end()
            elif self.text.startswith("\\", at):
                part, at = self.escape(at)
                out += part
            elif self.text.startswith("${", at):
                at, start = self.template(at), at
                out += self.text[start:at].encode()
            else:
                raise HclError(self.line(at), _EARLY)
        self.stop = at + 1
        try:
            return out.decode()
        except UnicodeDecodeError:
            self.refuse("its \\x or octal escapes are not UTF-8")

    def template(self, at: int) -> int:
        """The end of the `${…}` at `at`, which is kept as it is, quotes and line feeds included."""
        start, depth, at = at, 1, at + 2
        while depth:
            if part := _TEMPLATE_PART.match(self.text, at):
                at = part.end()
            if at >= len(self.text):
                raise HclError(self.line(start), "${ is not closed: there is no }")
            if self.text[at] == "\\":
                at = self.escape(at)[1]
            else:
                depth += 1 if self.text[at] == "{" else -1
                at += 1
        return at

    def escape(self, at: int) -> tuple[bytes, int]:
        """What the escape at `at` stands for, and its end."""
        try:
            return escaped(self.text, at)
        except LiteralError as error:
            raise HclError(self.line(at), str(error)) from None

    def line(self, at: int | None = None) -> int:
        """The line of an offset, of the next token without one."""
        return self.text.count("\n", 0, self.at if at is None else at) + 1

    def refuse(self, reason: str) -> NoReturn:
        """Raise HclError for the next token."""
        raise HclError(self.line(), reason)

    def unexpected(self) -> NoReturn:
        """Raise HclError: the next token cannot stand where it does."""
        if not self.kind:
            raise HclError(self.line(len(self.text.rstrip())), _EARLY)
        if self.kind == "other" and self.token in _INSTEAD:
            self.refuse(f"cannot be read as HCL: {_INSTEAD[self.token]}")
        if self.kind in ("[", "other") and "\n" not in self.text[self.end : self.at]:
            self.refuse(NOT_DATA)
        start = self.text.rfind("\n", 0, self.at) + 1
        shown = self.text[start : start + 200].partition("\n")[0].strip()[:60]
        self.refuse(f"cannot be read as HCL: {shown}")

    def take(self, kind: str) -> None:
        """Go past a token of this kind."""
        if self.kind != kind:
            self.unexpected()
        self.advance()
