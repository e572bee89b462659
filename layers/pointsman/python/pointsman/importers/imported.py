"""What an import comes to: documents, and what became of each resource and each field of the sources."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pointsman.importers.pieces import CONVERTED, NAMED, NOT_NEEDED, Ledger, Piece

JSON = dict[str, Any]


@dataclass(slots=True)
class Imported:
    """The documents by the name of their file, what became of the sources, (kind, shape, fate) of each resource, and
    how many fields of the resources have which fate. `definitions` are those for agents, if they were asked for, and
    `watches` settings for Consul's agents."""

    files: dict[str, list[JSON]]
    ledger: Ledger
    resources: list[tuple[str, str, str]] = field(default_factory=list)
    fields: Counter[str] = field(default_factory=Counter)
    definitions: dict[str, JSON] = field(default_factory=dict)
    watches: dict[str, JSON] = field(default_factory=dict)

    def count(self, kind: str, shape: str, said: Iterable[Piece]) -> None:
        """Count a resource, whose source says `said` of it."""
        fates = Counter(leaf.fate for piece in said for leaf in piece.leaves())
        whole = CONVERTED if fates[CONVERTED] else NAMED if fates[NAMED] else NOT_NEEDED
        self.resources.append((kind, shape, whole))
        self.fields += fates
