"""Values as Go writes them in text: quoted strings, integers, booleans (the package strconv).

Consul reads the values of its filter expressions by these rules, and so does Pointsman.
"""

import re

_SIMPLE = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
}
_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\\"])|(?P<octal>[0-3][0-7]{2})|x(?P<byte>[0-9a-fA-F]{2})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))"
)
_INTEGER = re.compile(r"(?P<sign>[+-]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|(?P<octal>0[0-7]*)|(?P<decimal>[1-9][0-9]*))")
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


class LiteralError(ValueError):
    """Text that Go does not accept as such a value; `offset` is the place in it."""

    def __init__(self, offset: int, reason: str) -> None:
        self.offset = offset
        super().__init__(reason)


def unquote(literal: str) -> str:
    """The string that a Go literal in double quotes or backquotes (included in `literal`) stands for.

    In double quotes Go's escapes apply; in backquotes everything is literal, except that carriage returns are dropped.
    Raises LiteralError.
    """
    body = literal[1:-1]
    if literal[0] == "`":
        return body.replace("\r", "")
    out = bytearray()
    at = 0
    while at < len(body):
        if body[at] == "\n":
            raise LiteralError(at + 1, "a string in double quotes ends on its line; use backquotes or \\n")
        if body[at] != "\\":
            out += body[at].encode()
            at += 1
            continue
        try:
            part, at = escaped(body, at)
        except LiteralError as error:
            raise LiteralError(error.offset + 1, f"{error}, or quote with backquotes") from None
        out += part
    try:
        return out.decode()
    except UnicodeDecodeError:
        raise LiteralError(0, "its \\x or octal escapes are not UTF-8") from None


def escaped(text: str, at: int) -> tuple[bytes, int]:
    """What the escape that begins at `at` (a backslash) stands for, and its end. Raises LiteralError."""
    escape = _ESCAPE.match(text, at)
    if escape is None:
        raise LiteralError(at, f'"{text[at : at + 2]}" is no escape; write a backslash twice')
    if escape["simple"]:
        return _SIMPLE[escape["simple"]].encode(), escape.end()
    if escape["octal"]:
        return bytes([int(escape["octal"], 8)]), escape.end()
    if escape["byte"]:
        return bytes([int(escape["byte"], 16)]), escape.end()
    try:
        return chr(int(escape["short"] or escape["long"], 16)).encode(), escape.end()
    except (ValueError, OverflowError, UnicodeEncodeError):
        raise LiteralError(at, f'"{escape[0]}" is no character; write the backslash twice') from None


def quote(text: str) -> str:
    """`text` as a literal in double quotes without double quotes inside; `unquote` is its inverse."""
    return '"' + "".join(_quoted(char) for char in text) + '"'


def _quoted(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if char == '"' or not char.isprintable():
        return f"\\x{ord(char):02x}" if ord(char) < 0x80 else f"\\U{ord(char):08x}"
    return char


def parse_int(text: str) -> int:
    """The 64-bit integer that `text` is: decimal, `0x…` hexadecimal or `0…` octal, with a sign. Raises LiteralError."""
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise LiteralError(0, f'"{text}" is not an integer')
    if match["hex"]:
        value = int(match["hex"], 16)
    else:
        value = int(match["octal"], 8) if match["octal"] else int(match["decimal"])
    value = -value if match["sign"] == "-" else value
    if not -(2**63) <= value < 2**63:
        raise LiteralError(0, f"{text} is beyond 64 bits")
    return value


def parse_bool(text: str) -> bool:
    """The boolean that `text` is: true or false, as a word, a letter or 1 and 0. Raises LiteralError."""
    if text not in _BOOLEANS:
        raise LiteralError(0, f'"{text}" is neither true nor false')
    return _BOOLEANS[text]
