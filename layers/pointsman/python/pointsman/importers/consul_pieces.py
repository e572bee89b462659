"""Looks into what a source says, under names in any spelling and with blocks as HCL has them."""

from functools import lru_cache
from typing import Final

from pointsman.importers.pieces import Piece
from pointsman.model.shape import bare

bare_name: Final = lru_cache(4096)(bare)
"""A name as Consul compares names; the same few stand in every instance."""


def get(piece: Piece | None, name: str) -> Piece | None:
    """The piece below it of that name, in any spelling."""
    if piece is None or not isinstance(piece.value, dict):
        return None
    if name in piece.value:
        return piece.value[name]  # type: ignore[no-any-return]
    wanted = bare_name(name)
    return next((each for key, each in piece.value.items() if bare_name(key) == wanted), None)


def single(piece: Piece) -> Piece:
    """The block in a list of one, as HCL has it."""
    while isinstance(piece.value, list) and len(piece.value) == 1:
        piece = piece.value[0]
    return piece


def block(piece: Piece | None, name: str) -> Piece | None:
    """The block of that name."""
    found = get(piece, name)
    found = single(found) if found is not None else None
    return found if found is not None and isinstance(found.value, dict) else None


def text(piece: Piece | None, name: str) -> str:
    """The text of that name, "" if there is none."""
    found = get(piece, name)
    return found.value if found is not None and isinstance(found.value, str) else ""


def several(piece: Piece) -> list[Piece]:
    """The pieces of a list; one that is none, as a list."""
    return piece.value if isinstance(piece.value, list) else [piece]


def some(piece: Piece, **names: str) -> dict[str, Piece]:
    """Those of the pieces below it that are there, by new names."""
    found = {new: get(piece, old) for new, old in names.items()}
    return {new: each for new, each in found.items() if each is not None}


def bares(piece: Piece) -> set[str]:
    """The names in a block, as Consul compares them."""
    return {bare_name(key) for key in piece.value}


def is_names(piece: Piece) -> bool:
    """Whether it is a list of texts."""
    return isinstance(piece.value, list) and all(isinstance(each.value, str) for each in piece.value)
