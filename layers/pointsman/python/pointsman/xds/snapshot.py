"""The snapshot of one cluster of one datacenter: what a head object holds, and when it may move."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pointsman.xds.content import Content, TargetHealth


class Relation(Enum):
    """How one provenance stands to another."""

    EQUAL = "equal"
    NEWER = "newer"
    OLDER = "older"
    INCOMPARABLE = "incomparable"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a snapshot was computed from: a vector that only grows.

    `generation` is the config generation in which its plan last changed, `catalog` the revision of every catalog that
    was read, by its key (0: it was not there).
    """

    generation: int
    catalog: Mapping[str, int]

    def relation_to(self, other: "Provenance") -> Relation:
        """How this one stands to `other`, over the entries that both have."""
        shared = self.catalog.keys() & other.catalog.keys()
        pairs = [(self.generation, other.generation), *((self.catalog[key], other.catalog[key]) for key in shared)]
        newer, older = any(a > b for a, b in pairs), any(a < b for a, b in pairs)
        if newer and older:
            return Relation.INCOMPARABLE
        return Relation.NEWER if newer else Relation.OLDER if older else Relation.EQUAL


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The current snapshot of one cluster.

    `version` starts at 1 and is never reused. `retired` marks one whose plan ended: nothing names it any more. `since`
    is when the active target last changed and `published` when the version came to be (RFC 3339, UTC); both are told
    for information.
    """

    version: int
    content: Content
    provenance: Provenance
    since: str
    published: str
    retired: bool = False


def snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    """`snapshot` as plain JSON values; `read_snapshot` is its inverse."""
    content = snapshot.content
    return {
        "version": snapshot.version,
        "cluster": b64encode(content.cluster).decode(),
        "assignment": b64encode(content.assignment).decode(),
        "active": content.active,
        "targets": [[each.id, each.mode, each.healthy, each.total] for each in content.targets],
        "sentence": content.sentence,
        "generation": snapshot.provenance.generation,
        "catalog": dict(snapshot.provenance.catalog),
        "since": snapshot.since,
        "published": snapshot.published,
        "retired": snapshot.retired,
    }


def read_snapshot(body: Mapping[str, Any]) -> Snapshot:
    """The snapshot that `snapshot_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    return Snapshot(
        version=body["version"],
        content=Content(
            cluster=b64decode(body["cluster"], validate=True),
            assignment=b64decode(body["assignment"], validate=True),
            active=body["active"],
            targets=tuple(TargetHealth(*each) for each in body["targets"]),
            sentence=body["sentence"],
        ),
        provenance=Provenance(body["generation"], body["catalog"]),
        since=body["since"],
        published=body["published"],
        retired=body["retired"],
    )
