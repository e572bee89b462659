"""The versions of resources: whether two are the same, and which of two is ahead, whichever adapter wrote it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Self

from pointsman.discovery.view import Manifests
from pointsman.model.canonical import digest
from pointsman.model.era import NO_ERA, Era
from pointsman.xds.manifest import SidecarManifest
from pointsman.xds.snapshot import Snapshot

_TEXT = re.compile(r"([0-9a-f]{16})?\.(\d{1,10})\.(\d{1,16})\.(\d{1,16})\.(\d{1,16})-([0-9a-f]{16})\Z", re.ASCII)

Stamp = tuple[int, int]
"""The progress of a proxy's manifests: it grows with every change of them, within an epoch of the store."""

NO_STAMP: Stamp = (0, 0)
"""The stamp before any manifest, and of manifests of an earlier epoch than the rest of a version."""


class Standing(Enum):
    """How our version relates to an Envoy's. CONFLICT: the same order and different content, which no sequence of
    writes produces."""

    SAME = "same"
    NEWER = "newer"
    OLDER = "older"
    CONFLICT = "of another past"


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a resource. `order` grows from one version to the next within an `era` of the store; `digest`
    covers all content. As text: `<identity>.<epoch>.<order, three numbers with dots>-<digest>`.

    `order` begins with the snapshot's number, followed by two numbers of the manifests that it was first sent under.
    The version of all resources of a kind begins with the manifests, followed by the sum of the snapshots' numbers: it
    orders two adapters if one has seen everything that the other has.
    """

    order: tuple[int, int, int]
    digest: str
    era: Era = NO_ERA

    @classmethod
    def of(cls, order: tuple[int, int, int], *covered: bytes, era: Era) -> Self:
        """The version with this `order` in this `era` that covers these bytes."""
        return cls(order, digest(b"".join(covered))[:16], era)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Parse what `str` wrote; None for the version of another control plane."""
        found = _TEXT.match(text)
        if found is None:
            return None
        era = Era(found[1] or "", int(found[2]))
        return cls((int(found[3]), int(found[4]), int(found[5])), found[6], era)

    def __str__(self) -> str:
        return "{}.{}.{}.{}.{}-{}".format(self.era.identity, self.era.epoch, *self.order, self.digest)


def standing(ours: Version, theirs: Version | None) -> Standing:
    """How `ours` relates to `theirs` (None: they have nothing, or nothing of Pointsman's).

    Versions that cover the same are the same, whatever their numbers: a snapshot's version can grow without a change
    for this Envoy. A greater epoch of the store is newer. Within an epoch, a version from another store, or other
    content with the same order, is a conflict: neither is newer.
    """
    if theirs is None:
        return Standing.NEWER
    if ours.digest == theirs.digest:
        return Standing.SAME
    if ours.era.epoch != theirs.era.epoch:
        return Standing.NEWER if ours.era.epoch > theirs.era.epoch else Standing.OLDER
    if ours.era != theirs.era or ours.order == theirs.order:
        return Standing.CONFLICT
    return Standing.OLDER if ours.order < theirs.order else Standing.NEWER


def latest(eras: Iterable[Era]) -> Era:
    """The latest of `eras`: the one with the greatest epoch."""
    return max(eras, key=lambda era: era.epoch, default=NO_ERA)


def era_of(manifests: Manifests) -> Era:
    """The era of `manifests`."""
    return manifests.era if isinstance(manifests, SidecarManifest) else latest(each.era for each in manifests)


def stamp(manifests: Manifests) -> Stamp:
    """The stamp of `manifests`."""
    if isinstance(manifests, SidecarManifest):
        return manifests.generation, 0
    _, shared = manifests
    epoch = era_of(manifests).epoch
    generation = sum(each.generation for each in manifests if each.era.epoch == epoch)
    # Within a generation of the config, the gateways' shared manifest only grows.
    return generation, len(shared.services) + len(shared.datacenters) if shared.era.epoch == epoch else 0


def numbers_of(snapshots: Iterable[Snapshot]) -> Iterator[tuple[Era, int]]:
    """The era and the number of each."""
    return ((each.era, each.version) for each in snapshots)


def joined(era: Era, at: Stamp, numbers: Iterable[tuple[Era, int]]) -> tuple[Era, Stamp, int]:
    """The era, the stamp and the sum of the snapshots' numbers for manifests with this `era` and stamp `at`, and for
    snapshots, each with its era and number.

    Numbers may restart with an epoch, and objects reach it one after the other. Only objects of the latest epoch count,
    so that the order grows while the others follow.
    """
    numbers = list(numbers)
    now = latest([era, *(each for each, _ in numbers)])
    total = sum(number for each, number in numbers if each.epoch == now.epoch)
    return now, at if era.epoch == now.epoch else NO_STAMP, total
