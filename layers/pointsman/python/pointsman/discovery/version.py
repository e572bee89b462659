"""What a resource's version tells: whether two are the same, and who of two is ahead, whichever adapter wrote it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Self

from pointsman.discovery.view import Manifests
from pointsman.model.canonical import digest
from pointsman.model.era import NO_ERA, Era
from pointsman.xds.manifest import SidecarManifest

_TEXT = re.compile(r"([0-9a-f]{16})?\.(\d{1,10})\.(\d{1,16})\.(\d{1,16})\.(\d{1,16})-([0-9a-f]{16})\Z", re.ASCII)

Stamp = tuple[int, int]
"""How far the manifests of a proxy are: it grows with every change of them, within an epoch of the store."""

NO_STAMP: Stamp = (0, 0)
"""Before any manifest: of those of an earlier epoch than what else a version covers."""


class Standing(Enum):
    """How what we have stands to what an Envoy has. CONFLICT: as far and not the same, as no line of writes has it."""

    SAME = "same"
    NEWER = "newer"
    OLDER = "older"
    CONFLICT = "of another past"


@dataclass(frozen=True, slots=True)
class Version:
    """`order` grows from one version of a thing to the next within an `era` of the store, `digest` is that of all that
    the version covers. As text: `<identity>.<epoch>.<order, three numbers with dots>-<digest>`.

    The first of `order` is the number of the snapshot, and two more of the manifests that it was first sent under. A
    version of all resources of a kind together has the manifests first, then the sum of the snapshots' numbers: it
    tells who is ahead wherever one adapter has seen all that the other has.
    """

    order: tuple[int, int, int]
    digest: str
    era: Era = NO_ERA

    @classmethod
    def of(cls, order: tuple[int, int, int], *covered: bytes, era: Era) -> Self:
        """The version of this `order` in this `era` that covers these bytes."""
        return cls(order, digest(b"".join(covered))[:16], era)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """What `str` wrote; None for the version of another control plane."""
        found = _TEXT.match(text)
        if found is None:
            return None
        era = Era(found[1] or "", int(found[2]))
        return cls((int(found[3]), int(found[4]), int(found[5])), found[6], era)

    def __str__(self) -> str:
        return "{}.{}.{}.{}.{}-{}".format(self.era.identity, self.era.epoch, *self.order, self.digest)


def standing(ours: Version, theirs: Version | None) -> Standing:
    """How `ours` stands to `theirs` (None: they have nothing, or nothing of ours).

    What covers the same is the same, whatever its number: a snapshot moves on also where nothing of it that this
    Envoy gets has changed. A greater epoch of the store is newer. In the same epoch, what another store has published,
    or other content under the same order, is of another past: neither is newer.
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
    """The era of what is made of things of these eras: the one with the greatest epoch."""
    return max(eras, key=lambda era: era.epoch, default=NO_ERA)


def era_of(manifests: Manifests) -> Era:
    """The era of `manifests`."""
    return manifests.era if isinstance(manifests, SidecarManifest) else latest(each.era for each in manifests)


def stamp(manifests: Manifests) -> Stamp:
    """How far `manifests` are."""
    if isinstance(manifests, SidecarManifest):
        return manifests.generation, 0
    _, shared = manifests
    epoch = era_of(manifests).epoch
    generation = sum(each.generation for each in manifests if each.era.epoch == epoch)
    # Within a generation of the config, what the gateways of a datacenter share only grows.
    return generation, len(shared.services) + len(shared.datacenters) if shared.era.epoch == epoch else 0


def joined(era: Era, at: Stamp, numbers: Iterable[tuple[Era, int]]) -> tuple[Era, Stamp, int]:
    """The era, the stamp and the sum of the snapshots' numbers of what is made of manifests of this `era` and stamp
    `at`, and of snapshots, each with its era and number.

    Numbers may begin anew with an epoch, and one object comes to it after the other: only what is of the latest epoch
    counts, so that the order grows while the others follow.
    """
    numbers = list(numbers)
    now = latest([era, *(each for each, _ in numbers)])
    total = sum(number for each, number in numbers if each.epoch == now.epoch)
    return now, at if era.epoch == now.epoch else NO_STAMP, total
