"""The snapshot of one cluster of one datacenter, and how two provenances compare."""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

from pointsman.model.cause import NO_CAUSE, Cause, cause_json, read_cause
from pointsman.model.era import Era, era_json, read_era
from pointsman.model.stored import Body, Damaged, Kind, check_kind, number, numbers, shown, tagged, text, truth
from pointsman.xds.assignment import Avoided
from pointsman.xds.content import Content, TargetHealth


class Relation(Enum):
    """How one provenance compares with another."""

    EQUAL = "equal"
    NEWER = "newer"
    OLDER = "older"
    INCOMPARABLE = "incomparable"


class Provenance(NamedTuple):
    """The inputs of a snapshot: a vector that only grows.

    `epoch` is the store's, `generation` the config generation in which the plan last changed, `catalog` the revision of
    every catalog that was read, by its key (0: it did not exist). Equal provenance means equal content.
    """

    epoch: int
    generation: int
    catalog: Mapping[str, int]

    def relation_to(self, other: "Provenance") -> Relation:
        """How this one compares with `other`. A greater epoch is newer, whatever the rest is.

        A catalog that one of them lacks counts as 0 there. But a plan of a later generation may read other catalogs
        than before: those that it no longer reads are not compared.
        """
        if self.epoch != other.epoch:
            return Relation.NEWER if self.epoch > other.epoch else Relation.OLDER
        later, earlier = self.generation > other.generation, self.generation < other.generation
        newer, older = later, earlier
        if self.catalog == other.catalog:
            return Relation.NEWER if newer else Relation.OLDER if older else Relation.EQUAL
        for key, _ in self.catalog.items() ^ other.catalog.items():
            ours, theirs = self.catalog.get(key), other.catalog.get(key)
            if (ours is None and later) or (theirs is None and earlier):
                continue
            newer |= (ours or 0) > (theirs or 0)
            older |= (ours or 0) < (theirs or 0)
        if newer and older:
            return Relation.INCOMPARABLE
        return Relation.NEWER if newer else Relation.OLDER if older else Relation.EQUAL


class Snapshot(NamedTuple):
    """The current snapshot of one cluster.

    `version` starts at 1 and is never reused within an epoch. `retired` marks a snapshot whose plan ended: no manifest
    names it. `since` is when the active target last changed and `published` when this version was made (RFC 3339, UTC);
    both are for information. So are `cause`, why this version was published, and `switch`, why the active target last
    changed. `store` is the identity of the store that published it.
    """

    version: int
    content: Content
    provenance: Provenance
    since: str
    published: str
    retired: bool = False
    store: str = ""
    cause: Cause = NO_CAUSE
    switch: Cause = NO_CAUSE

    @property
    def era(self) -> Era:
        """The era of the store that published it."""
        return Era(self.store, self.provenance.epoch)

    @property
    def at(self) -> tuple[int, int]:
        """The state of the config that it belongs to: epoch and generation."""
        return self.provenance.epoch, self.provenance.generation


def snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    """`snapshot` as plain JSON values; `read_snapshot` is its inverse."""
    content = snapshot.content
    body = tagged(
        Kind.SNAPSHOT,
        {
            **era_json(snapshot.era),
            "generation": snapshot.provenance.generation,
            "catalog": dict(snapshot.provenance.catalog),
            "version": snapshot.version,
            "cluster": b64encode(content.cluster).decode(),
            "assignment": b64encode(content.assignment).decode(),
            "active": content.active,
            "targets": [[each.id, each.mode, each.healthy, each.total] for each in content.targets],
            "sentence": content.sentence,
            "since": snapshot.since,
            "published": snapshot.published,
            "retired": snapshot.retired,
        },
    )
    if content.avoided:
        body["avoided"] = [list(each) for each in content.avoided]
    if snapshot.cause is not NO_CAUSE and snapshot.cause != NO_CAUSE:
        body["cause"] = cause_json(snapshot.cause)
    if snapshot.switch is not snapshot.cause and snapshot.switch != snapshot.cause:
        body["switch"] = cause_json(snapshot.switch)
    return body


def read_snapshot(body: object) -> Snapshot:
    """The snapshot that `snapshot_json` wrote. Raises Damaged or NewerSchema for anything else."""
    body = check_kind(body, Kind.SNAPSHOT)
    era = read_era(body)
    cause = read_cause(body.get("cause"))
    return Snapshot(
        version=number(body, "version"),
        content=Content(
            cluster=_serialized(body, "cluster"),
            assignment=_serialized(body, "assignment"),
            active=text(body, "active"),
            targets=_targets(body),
            sentence=text(body, "sentence"),
            avoided=_avoided(body),
        ),
        provenance=Provenance(era.epoch, number(body, "generation"), numbers(body, "catalog")),
        since=text(body, "since"),
        published=text(body, "published"),
        retired=truth(body, "retired"),
        store=era.identity,
        cause=cause,
        switch=read_cause(body["switch"]) if "switch" in body else cause,
    )


def _serialized(body: Body, field: str) -> bytes:
    """The bytes of a base64 field. Raises Damaged."""
    try:
        return b64decode(text(body, field), validate=True)
    except (binascii.Error, ValueError):
        raise Damaged(f"its {field} is not base64") from None


def _avoided(body: Body) -> tuple[Avoided, ...]:
    match body.get("avoided", []):
        case list(found):
            return tuple(map(_avoid, found))
        case other:
            raise Damaged(f"its avoided gateways are {shown(other)}, which is not a list")


def _avoid(raw: object) -> Avoided:
    match raw:
        case [int(tier), str(address), int(port)]:
            return tier, address, port
        case other:
            raise Damaged(f"one of its avoided gateways is {shown(other)}")


def _targets(body: Body) -> tuple[TargetHealth, ...]:
    match body.get("targets"):
        case list(found):
            return tuple(map(_target, found))
        case other:
            raise Damaged(f"its targets are {shown(other)}, which is not a list")


def _target(raw: object) -> TargetHealth:
    match raw:
        case [str(target), str(mode), int(healthy), int(total)]:
            return TargetHealth(target, mode, healthy, total)
        case other:
            raise Damaged(f"one of its targets is {shown(other)}")
