"""Manifests as values: which clusters and listeners a proxy receives, and how they are stored."""

from base64 import b64decode, b64encode
from binascii import Error
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pointsman.model.era import NO_ERA, Era, era_json, read_era
from pointsman.model.names import is_label, read_service_name
from pointsman.model.stored import (
    MANIFEST_KINDS,
    Body,
    Damaged,
    Kind,
    check_kind,
    mapping,
    number,
    shown,
    tagged,
    text,
    texts,
    truth,
)
from pointsman.xds.inbound import Inbound, inbound_json, read_inbound

Moment = tuple[int, int]
"""A state of a store's config: epoch and generation. A later one is greater."""


@dataclass(frozen=True, slots=True)
class Change:
    """The ids of the clusters that a manifest added and removed, compared with the one before.

    `at` is when it was written (RFC 3339, UTC). Changes of the minutes before are included. A server without memory
    learns from it what an Envoy may still be using.
    """

    at: str
    came: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SidecarManifest:
    """What the sidecars of one service in one datacenter receive.

    `era` is that of the store that published it, as in the other manifests; NO_ERA in a config.

    `clusters` are cluster ids (a cluster's name without its trust domain), sorted; `listeners` serialized Listeners.
    `change` is its history, not its content: two manifests that differ only in it are equal. `inbound` is what they
    make their own listeners of; None in manifests of older writers, whose sidecars had them in their bootstraps.
    """

    generation: int
    clusters: tuple[str, ...]
    listeners: tuple[bytes, ...]
    retired: bool = False
    change: Change | None = field(default=None, compare=False)
    era: Era = NO_ERA
    inbound: Inbound | None = None

    @property
    def at(self) -> Moment:
        """The state of the config that it belongs to."""
        return self.era.epoch, self.generation


@dataclass(frozen=True, slots=True)
class GatewaysManifest:
    """What all mesh gateways of one datacenter receive.

    `services` and `datacenters` are those that have a catalog. They only grow, so the manifest is a function of the
    state. `datacenters` are the other ones with mesh gateways; `services` are written `namespace/name`.
    """

    generation: int
    trust_domain: str
    clusters: tuple[str, ...]
    services: tuple[str, ...]
    datacenters: tuple[str, ...]
    retired: bool = False
    era: Era = NO_ERA

    @property
    def at(self) -> Moment:
        """The state of the config that it belongs to."""
        return self.era.epoch, self.generation


@dataclass(frozen=True, slots=True)
class GatewayManifest:
    """One mesh gateway's own settings: where it listens, and its connect timeout (milliseconds, 0: default)."""

    generation: int
    address: str
    port: int
    connect_timeout_ms: int
    access_log_path: str
    retired: bool = False
    era: Era = NO_ERA

    @property
    def at(self) -> Moment:
        """The state of the config that it belongs to."""
        return self.era.epoch, self.generation


Manifest = SidecarManifest | GatewaysManifest | GatewayManifest


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """`manifest` as plain JSON values; `read_manifest` is its inverse."""
    body: dict[str, Any] = {
        **era_json(manifest.era),
        "generation": manifest.generation,
        "retired": manifest.retired,
    }
    if isinstance(manifest, SidecarManifest):
        kind = Kind.SIDECAR_MANIFEST
        body["clusters"] = list(manifest.clusters)
        body["listeners"] = [b64encode(each).decode() for each in manifest.listeners]
        if (change := manifest.change) is not None:
            body["change"] = {"at": change.at, "came": list(change.came), "left": list(change.left)}
        if manifest.inbound is not None:
            body["inbound"] = inbound_json(manifest.inbound)
    elif isinstance(manifest, GatewaysManifest):
        kind = Kind.GATEWAYS_MANIFEST
        body["trust_domain"] = manifest.trust_domain
        for name in ("clusters", "services", "datacenters"):
            body[name] = list(getattr(manifest, name))
    else:
        kind = Kind.GATEWAY_MANIFEST
        for name in ("address", "port", "connect_timeout_ms", "access_log_path"):
            body[name] = getattr(manifest, name)
    return tagged(kind, body)


def read_manifest(body: object) -> Manifest:
    """The manifest that `manifest_json` wrote. Raises Damaged or NewerSchema for anything else."""
    body = check_kind(body, *MANIFEST_KINDS)
    generation, retired = number(body, "generation"), truth(body, "retired")
    era = read_era(body)
    match body["kind"]:
        case Kind.SIDECAR_MANIFEST:
            inbound = read_inbound(mapping(body, "inbound")) if "inbound" in body else None
            clusters, change = texts(body, "clusters"), _read_change(body)
            return SidecarManifest(generation, clusters, _listeners(body), retired, change, era, inbound)
        case Kind.GATEWAYS_MANIFEST:
            clusters, services, datacenters = (texts(body, each) for each in ("clusters", "services", "datacenters"))
            if wrong := [each for each in services if read_service_name(each) is None]:
                raise Damaged(f"one of its services is {shown(wrong[0])}, which is not NAMESPACE/NAME")
            if wrong := [each for each in datacenters if not is_label(each)]:
                raise Damaged(f"one of its datacenters is {shown(wrong[0])}")
            return GatewaysManifest(
                generation, text(body, "trust_domain"), clusters, services, datacenters, retired, era
            )
        case _:
            place = text(body, "address"), number(body, "port")
            timeout, log = number(body, "connect_timeout_ms"), text(body, "access_log_path")
            return GatewayManifest(generation, *place, timeout, log, retired, era)


def _listeners(body: Body) -> tuple[bytes, ...]:
    try:
        return tuple(b64decode(each, validate=True) for each in texts(body, "listeners"))
    except (Error, ValueError):
        raise Damaged("its listeners are not base64") from None


def _read_change(body: Body) -> Change | None:
    if "change" not in body:
        return None
    told = mapping(body, "change")
    at = text(told, "at")
    try:
        zoned = datetime.fromisoformat(at).tzinfo is not None
    except ValueError:
        zoned = False
    if not zoned:
        raise Damaged(f"it was changed at {shown(at)}, which is not a time in a time zone")
    return Change(at, texts(told, "came"), texts(told, "left"))
