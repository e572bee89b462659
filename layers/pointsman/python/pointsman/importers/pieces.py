"""What is read from a source, piece by piece, and what became of each: nothing of it gets lost in silence."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

CONVERTED: Final = "converted"
NOT_NEEDED: Final = "not needed"
NAMED: Final = "named"


@dataclass(slots=True, eq=False)
class Piece:
    """A value of a source with the place where it stands: text, number, boolean, or a block or list of pieces.

    `fate` is what became of it, for a leaf: "", CONVERTED, NOT_NEEDED or NAMED.
    """

    file: str
    path: str
    value: Any
    fate: str = ""

    def get(self, *names: str) -> "Piece | None":
        """The piece below it that these names lead to, None if there is none."""
        piece: Piece | None = self
        for name in names:
            piece = piece.value.get(name) if piece is not None and isinstance(piece.value, dict) else None
        return piece

    def items(self, *names: str) -> "list[Piece]":
        """The pieces of the list that these names lead to; none if there is no list."""
        piece = self.get(*names)
        return piece.value if piece is not None and isinstance(piece.value, list) else []

    def text(self, *names: str) -> str:
        """The text there, "" if there is none."""
        piece = self.get(*names)
        return "" if piece is None or isinstance(piece.value, dict | list) else str(piece.value)

    def number(self, *names: str) -> int:
        """The number there, 0 if there is none."""
        piece = self.get(*names)
        return piece.value if piece is not None and isinstance(piece.value, int) else 0

    def plain(self) -> Any:
        """The value as JSON has it."""
        if isinstance(self.value, dict):
            return {key: each.plain() for key, each in self.value.items()}
        return [each.plain() for each in self.value] if isinstance(self.value, list) else self.value

    def holds(self, other: "Piece") -> bool:
        """Whether the source has `other` within this one."""
        rest = other.path.removeprefix(self.path)
        inside = not self.path or other.path == self.path or (rest != other.path and rest[:1] in (".", "["))
        return inside and self.file == other.file

    def leaves(self) -> "Iterator[Piece]":
        """Every leaf of it; an empty block or list is one."""
        below = self.value.values() if isinstance(self.value, dict) else self.value
        if isinstance(self.value, dict | list) and self.value:
            for each in below:
                yield from each.leaves()
        else:
            yield self


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the report: what became of the piece at `path` of `file`, all below it included.

    `text` is the entry that it went into, or the reason why it went into none; `instead` is what to do.
    """

    fate: str
    file: str
    path: str
    text: str
    instead: str = ""


@dataclass(slots=True)
class Ledger:
    """What became of every piece, in the order in which it was decided."""

    told: list[Told] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _services: list[tuple[Piece, str]] = field(default_factory=list)
    _lines: set[str] = field(default_factory=set)
    _texts: set[str] = field(default_factory=set)

    def is_service(self, piece: Piece | None, service: str) -> None:
        """It says that there is `service`, or that its requests go to its own instances."""
        if piece is not None:
            self._services.append((piece, service))

    def tell_services(self, there: Collection[str]) -> None:
        """Tell of all that `is_service` was said of: `there` are the services that the result has something of."""
        for piece, service in self._services:
            if service in there:
                self.convert(piece, f'service "{service}"')
            else:
                self.pass_over(piece, f"requests for {service} go to its instances, and nothing has to say so")

    def convert(self, piece: Piece | None, into: str) -> None:
        """It is in the entry or registration `into`."""
        self._tell(CONVERTED, piece, into, "")

    def pass_over(self, piece: Piece | None, reason: str) -> None:
        """Nothing has to be made of it, for that reason."""
        self._tell(NOT_NEEDED, piece, reason, "")

    def name(self, piece: Piece | None, reason: str, instead: str) -> None:
        """Nothing was made of it, for that reason; do `instead`."""
        self._tell(NAMED, piece, reason, instead)

    def remark(self, piece: Piece, text: str) -> None:
        """Something that is different from before, though all of it was converted."""
        line = f"{piece.file} {piece.path}: {text}"
        if line not in self._lines:
            self.remarks.append(line)
        self._lines.add(line)
        self._texts.add(text)

    def remark_once(self, piece: Piece, text: str) -> None:
        """The same of many pieces, said at the first of them."""
        if text not in self._texts:
            self.remark(piece, text)

    def _tell(self, fate: str, piece: Piece | None, text: str, instead: str) -> None:
        if piece is None:
            return
        open_leaves = [leaf for leaf in piece.leaves() if not leaf.fate]
        for leaf in open_leaves:
            leaf.fate = fate
        # What a source says at several places may be one piece here.
        beside = [leaf for leaf in open_leaves if not piece.holds(leaf)]
        for place in [*([piece] if len(beside) < len(open_leaves) else []), *beside]:
            self.told.append(Told(fate, place.file, place.path, text, instead))


def as_text(value: Any) -> str:
    """A value where a text belongs: as JSON writes it, if it is none."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def pieces(file: str, path: str, value: Any) -> Piece:
    """`value`, as JSON has it, as pieces."""
    if isinstance(value, dict):
        return Piece(file, path, {key: pieces(file, below(path, key), each) for key, each in value.items()})
    if isinstance(value, list):
        return Piece(file, path, [pieces(file, f"{path}[{i}]", each) for i, each in enumerate(value)])
    return Piece(file, path, value)


def below(path: str, key: str) -> str:
    """The path of what has this key in the block at `path`."""
    return f"{path}.{key}" if path else key
