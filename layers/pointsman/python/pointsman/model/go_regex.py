"""Regular expressions as Go has them (RE2), evaluated by Python's `re`.

Source of the syntax: the documentation of Go's package regexp/syntax. What Go refuses is refused (look-around,
back-references, possessive repetition, more than 1000 repetitions); what both know but read differently (`$`, `\\d`,
`\\s`, flags in the middle, `[[:alpha:]]`, `\\z`, `\\Q…\\E`) is rewritten so that Python reads it as Go does. Unicode
classes (`\\p{…}`), `\\C` and the flag U are Go's, but Python has no equal: they are refused, too.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

_Ranges = tuple[tuple[int, int], ...]

_CLASSES: Final[dict[str, _Ranges]] = {
    "alnum": ((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)),
    "alpha": ((0x41, 0x5A), (0x61, 0x7A)),
    "ascii": ((0x00, 0x7F),),
    "blank": ((0x09, 0x09), (0x20, 0x20)),
    "cntrl": ((0x00, 0x1F), (0x7F, 0x7F)),
    "digit": ((0x30, 0x39),),
    "graph": ((0x21, 0x7E),),
    "lower": ((0x61, 0x7A),),
    "print": ((0x20, 0x7E),),
    "punct": ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    "space": ((0x09, 0x0D), (0x20, 0x20)),
    "upper": ((0x41, 0x5A),),
    "word": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    "xdigit": ((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)),
    # Perl's white space has no vertical tab, unlike the class of POSIX above.
    "perl": ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)),
}
_PERL: Final = {"d": "digit", "w": "word", "s": "perl"}

_NAMED = re.compile(r"\(\?P<([A-Za-z0-9_]+)>")
_FLAGS = re.compile(r"\(\?(?P<on>[imsU]*)(?P<off>-[imsU]+)?(?P<end>[:)])")
_REPEAT = re.compile(r"(?:[*+?]|\{(?P<low>[0-9]+)(?:,(?P<high>[0-9]*))?\})\??")
_POSIX = re.compile(r"\[:(?P<not>\^?)(?P<name>[a-z]+):\]")
_CHARACTER = re.compile(
    r"\\(?:(?P<octal>0[0-7]{0,2}|[1-7][0-7]{1,2})|x(?P<hex>[0-9A-Fa-f]{2})|x\{(?P<long>[0-9A-Fa-f]+)\}"
    r"|(?P<control>[afnrtv])|(?P<mark>[!-/:-@\[-`{-~]))"
)
_CONTROLS: Final = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_MOST_REPETITIONS: Final = 1000


class RegexError(ValueError):
    """A regular expression that Go would refuse, or that cannot be evaluated here."""


class UnsupportedRegex(RegexError):
    """One that Go accepts and that cannot be evaluated here."""


@lru_cache(maxsize=4096)
def go_regex(pattern: str) -> re.Pattern[str]:
    """`pattern` (Go's syntax) compiled; `.search` is what Go's MatchString does. Raises RegexError."""
    try:
        return re.compile(_Translation(pattern).run())
    except (re.error, OverflowError, RecursionError) as error:
        raise RegexError(str(error)) from None


@dataclass(slots=True)
class _Group:
    """An open group: the flags that hold at this point of it, and whether a group of ours is open for them."""

    flags: frozenset[str]
    wrapped: bool = False


@dataclass(slots=True)
class _Translation:
    """The working state of one rewrite."""

    pattern: str
    at: int = 0
    out: list[str] = field(default_factory=list)
    groups: list[_Group] = field(default_factory=lambda: [_Group(frozenset())])
    # What a repetition would repeat: nothing yet, one thing, or something that is repeated already.
    last: str = "nothing"

    def run(self) -> str:
        while self.at < len(self.pattern):
            self._step(self.pattern[self.at])
        if len(self.groups) > 1:
            raise RegexError('a "(" is not closed')
        self._unwrap()
        return "".join(self.out)

    def _emit(self, text: str, length: int, last: str = "thing") -> None:
        self.out.append(text)
        self.at += length
        self.last = last

    def _step(self, char: str) -> None:
        if char == "\\":
            self._escape()
        elif char == "[":
            self._bracket()
        elif char == "(":
            self._open()
        elif char == ")":
            if len(self.groups) == 1:
                raise RegexError('there is no "(" for a ")"')
            self._unwrap()
            self.groups.pop()
            self._emit(")", 1)
        elif char == "|":
            wrapped = self.groups[-1].wrapped
            self._unwrap()
            self._emit("|", 1, "nothing")
            if wrapped:
                self._wrap()
        elif char in "*+?" or (char == "{" and _REPEAT.match(self.pattern, self.at)):
            self._repeat()
        elif char == "$":
            # Without (?m), Go's "$" is the very end, Python's also before a last line feed.
            self._emit("$" if "m" in self.groups[-1].flags else r"\Z", 1)
        else:
            self._emit(char if char in ".^" else re.escape(char), 1)

    def _repeat(self) -> None:
        repeat = _REPEAT.match(self.pattern, self.at)
        assert repeat is not None
        if self.last == "nothing":
            raise RegexError(f'nothing stands before "{repeat[0]}" to repeat')
        if self.last == "repeat":
            raise RegexError(f'"{repeat[0]}" repeats a repetition')
        if max(int(repeat["low"] or 0), int(repeat["high"] or 0)) > _MOST_REPETITIONS:
            raise RegexError(f'"{repeat[0]}" repeats more than {_MOST_REPETITIONS} times')
        self._emit(repeat[0], len(repeat[0]), "repeat")

    def _open(self) -> None:
        inherited = self.groups[-1].flags
        named = _NAMED.match(self.pattern, self.at)
        flagged = _FLAGS.match(self.pattern, self.at)
        if named:
            self.groups.append(_Group(inherited))
            self._emit(named[0], len(named[0]), "nothing")
        elif flagged and (flagged["end"] == ":" or flagged["on"] or flagged["off"]):
            on, off = flagged["on"], flagged["off"] or ""
            if "U" in on + off:
                raise UnsupportedRegex("the flag U is not supported; write the lazy repetitions out")
            flags = (inherited | set(on)) - set(off)
            if flagged["end"] == ":":
                self.groups.append(_Group(flags))
                self._emit(_opening(flags), len(flagged[0]), "nothing")
            else:
                self._unwrap()
                self.groups[-1].flags = flags
                self._wrap()
                self.at += len(flagged[0])
        elif self.pattern.startswith("(?", self.at):
            raise RegexError(f'"{self.pattern[self.at : self.at + 4]}" is not in Go\'s regular expressions')
        else:
            self.groups.append(_Group(inherited))
            self._emit("(", 1, "nothing")

    def _wrap(self) -> None:
        """Python sets flags for a whole group only: open one that reaches to the next "|" or ")"."""
        self.groups[-1].wrapped = True
        self._emit(_opening(self.groups[-1].flags), 0, "nothing")

    def _unwrap(self) -> None:
        if self.groups[-1].wrapped:
            self.groups[-1].wrapped = False
            self._emit(")", 0)

    def _escape(self) -> None:
        letter = self.pattern[self.at + 1 : self.at + 2]
        if letter.lower() in _PERL and letter:
            self._emit(f"[{_ranges(_PERL[letter.lower()], letter.isupper())}]", 2)
        elif letter in ("b", "B"):
            self._emit(rf"(?a:\{letter})", 2)
        elif letter in ("A", "z"):
            self._emit(r"\A" if letter == "A" else r"\Z", 2)
        elif letter == "Q":
            end = self.pattern.find(r"\E", self.at)
            end = len(self.pattern) if end < 0 else end
            for char in self.pattern[self.at + 2 : end]:
                self._emit(re.escape(char), 0)
            self.at = end + 2
        else:
            self._emit(re.escape(self._character()), 0)

    def _character(self) -> str:
        """The character that the escape here stands for."""
        match = _CHARACTER.match(self.pattern, self.at)
        if match is None:
            escape = self.pattern[self.at : self.at + 2]
            if escape == "\\":
                raise RegexError("it ends with a backslash")
            if escape in (r"\p", r"\P", r"\C"):
                raise UnsupportedRegex(f'"{escape}" is not supported')
            raise RegexError(f'"{escape}" is no escape in Go')
        self.at = match.end()
        if match["mark"]:
            return match["mark"]
        if match["control"]:
            return chr(_CONTROLS[match["control"]])
        code = int(match["octal"], 8) if match["octal"] else int(match["hex"] or match["long"], 16)
        if code > 0x10FFFF:
            raise RegexError(f'"{match[0]}" is no character')
        return chr(code)

    def _bracket(self) -> None:
        start = self.at
        negated = self.pattern.startswith("[^", start)
        self.at += 2 if negated else 1
        items: list[str] = []
        while not items or not self.pattern.startswith("]", self.at):
            if self.at >= len(self.pattern):
                raise RegexError(f'"{self.pattern[start : start + 10]}": a "[" is not closed')
            items.append(self._bracket_item())
        self._emit(f"[{'^' if negated else ''}{''.join(items)}]", 1)

    def _bracket_item(self) -> str:
        posix = _POSIX.match(self.pattern, self.at)
        if posix:
            if posix["name"] not in _CLASSES or posix["name"] == "perl":
                raise RegexError(f'"{posix[0]}" is no class')
            self.at = posix.end()
            return _ranges(posix["name"], bool(posix["not"]))
        letter = self.pattern[self.at + 1 : self.at + 2] if self.pattern[self.at] == "\\" else ""
        if letter and letter.lower() in _PERL:
            self.at += 2
            return _ranges(_PERL[letter.lower()], letter.isupper())
        low = self._bracket_character()
        rest = self.pattern[self.at : self.at + 2]
        if len(rest) < 2 or rest[0] != "-" or rest[1] == "]":
            return re.escape(low)
        self.at += 1
        high = self._bracket_character()
        if high < low:
            raise RegexError(f'"{low}-{high}" is a range backwards')
        return f"{re.escape(low)}-{re.escape(high)}"

    def _bracket_character(self) -> str:
        char = self.pattern[self.at]
        if char == "\\":
            return self._character()
        self.at += 1
        return char


def _opening(flags: frozenset[str]) -> str:
    on, off = ("".join(flag for flag in "ims" if (flag in flags) == wanted) for wanted in (True, False))
    return f"(?{on}-{off}:" if off else f"(?{on}:"


def _ranges(name: str, negated: bool) -> str:
    """The class `name`, or its complement, as the inside of a Python class."""
    ranges = _CLASSES[name]
    if negated:
        edges = [-1, *(edge for pair in ranges for edge in pair), 0x110000]
        gaps = zip(edges[::2], edges[1::2], strict=True)
        ranges = tuple((low + 1, high - 1) for low, high in gaps if low + 1 < high)
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)
