"""Publishes the manifests of sidecars and single gateways that the config has, and ends those that it lacks."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import orjson

from pointsman.model.keys import datacenter_of, sidecar_in, sidecar_plan_key
from pointsman.model.stored import Damaged, number, parse
from pointsman.pipeline.codecs import SidecarOrGateway
from pointsman.pipeline.config_head import Latest, WentBack
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.moved import MovedManifest
from pointsman.pipeline.objects import number_beyond, seal
from pointsman.pipeline.swaps import Swapped, swap_many
from pointsman.store import keys
from pointsman.store.protocol import Stored, Write
from pointsman.xds.manifest import (
    Change,
    GatewayManifest,
    GatewaysManifest,
    Manifest,
    SidecarManifest,
    manifest_json,
    read_manifest,
)

REMEMBERED = timedelta(minutes=10)
"""How long a change of clusters is repeated in the next one. Envoys that poll ask more often."""


@dataclass(slots=True)
class PublishedManifests:
    """Manifests that moved, and those that were already right.

    `failed` are those that could not be written, by their keys. `raised` is the warning that the store went back, if
    its epoch was raised because of one of them: then everything has to be published again.
    """

    moved: list[MovedManifest] = field(default_factory=list)
    stood: list[MovedManifest] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)
    raised: str = ""


def publish_manifests(engine: Engine, wanted: Mapping[str, SidecarOrGateway]) -> PublishedManifests:
    """Publish the manifests in `wanted`, by their keys in a config, unless newer ones are there."""
    era, latest = engine.era, Latest()
    by_key = {keys.manifest(key): replace(manifest, era=era) for key, manifest in wanted.items()}

    def swap(key: str, stored: Stored | None) -> Write | None:
        current, serial = read_stored_manifest(stored, engine.now())
        manifest = by_key[key]
        if current is not None and (current == manifest or latest.note(key, current.at, manifest.at)):
            return None
        if isinstance(manifest, SidecarManifest):
            manifest = replace(manifest, change=_change(current, manifest, engine.now()))
        return _write(engine, key, manifest, stored=stored, serial=serial)

    return _published(engine, swap_many(engine, by_key, swap), latest)


def nameable(manifests: Mapping[str, SidecarOrGateway], absent: Container[str]) -> dict[str, SidecarOrGateway]:
    """Those of `manifests` that name no plan of `absent`, which have no head."""
    return {
        key: manifest
        for key, manifest in manifests.items()
        if not isinstance(manifest, SidecarManifest)
        or not any(sidecar_plan_key(datacenter_of(key), cluster) in absent for cluster in manifest.clusters)
    }


def end_manifests(engine: Engine, names: Iterable[str], generation: int) -> PublishedManifests:
    """Retire manifests, by their keys in a config, that `generation` does not have.

    One that cannot be read is replaced by a retired one: otherwise followers would keep the old one.
    """
    era, latest = engine.era, Latest()

    def swap(key: str, stored: Stored | None) -> Write | None:
        current, serial = read_stored_manifest(stored, engine.now())
        if stored is None or isinstance(current, GatewaysManifest) or (current is not None and current.retired):
            return None
        if current is None:
            current = _unknown(keys.proxy_of(key))
        if latest.note(key, current.at, (era.epoch, generation)):
            return None
        return _write(
            engine, key, replace(current, generation=generation, retired=True, era=era), stored=stored, serial=serial
        )

    swapped = swap_many(engine, map(keys.manifest, names), swap)
    return _published(engine, Swapped(swapped.written, failed=swapped.failed), latest)


def _unknown(key: str) -> SidecarOrGateway:
    """An empty manifest for `key`."""
    return SidecarManifest(0, (), ()) if sidecar_in(key) else GatewayManifest(0, "", 0, 0, "")


def _published(engine: Engine, swapped: Swapped, latest: Latest) -> PublishedManifests:
    out = PublishedManifests(_told(swapped.written), _told(swapped.stood), swapped.failed)
    try:
        out.raised = latest.raise_above(engine)
    except WentBack as error:
        out.failed[latest.thing] = error
    return out


def _told(objects: Iterable[Write | Stored]) -> list[MovedManifest]:
    return [moved_manifest(each.key, each.data) for each in objects]


def moved_manifest(key: str, data: bytes) -> MovedManifest:
    """The notice of the manifest `data` under `key`."""
    return MovedManifest(key, datacenter_of(keys.proxy_of(key)), orjson.loads(data)["generation"], data)


def _change(old: Manifest | None, new: SidecarManifest, now: str) -> Change | None:
    """The clusters that `new` changes compared with `old`, with the change of `old` if that was recent."""
    if not isinstance(old, SidecarManifest) or old.retired or new.retired:
        return None
    before = old.change if old.change is not None and _is_recent(old.change, now) else None
    ours, theirs = set(new.clusters), set(old.clusters)
    came = (ours - theirs) | (ours & set(before.came if before else ()))
    left = (theirs - ours) | (set(before.left if before else ()) - ours)
    return Change(now, tuple(sorted(came)), tuple(sorted(left))) if came or left else None


def _is_recent(change: Change, now: str) -> bool:
    return datetime.fromisoformat(now) - datetime.fromisoformat(change.at) <= REMEMBERED


def _write(engine: Engine, key: str, manifest: SidecarOrGateway, *, stored: Stored | None, serial: int) -> Write:
    data = seal(manifest_json(manifest), serial + 1, engine.nonce())
    return Write(key, data, stored.etag if stored else None)


def read_stored_manifest(stored: Stored | None, now: str) -> tuple[Manifest | None, int]:
    """The manifest in `stored` and its serial; None if there is none, or it cannot be read.

    The serial for an unreadable one is greater than its own can have been, so that followers accept its replacement.
    Raises NewerSchema if a newer Pointsman wrote it.
    """
    if stored is None:
        return None, 0
    try:
        body = parse(stored.data)
        return read_manifest(body), number(body, "serial")
    except Damaged:
        return None, number_beyond(now)
