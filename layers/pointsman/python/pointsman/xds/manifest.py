"""Manifests: which clusters and listeners a proxy receives."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """Which clusters, by their ids, a manifest has that the one before had not, and the other way round.

    `at` is when it was written (RFC 3339, UTC). What changed in the minutes before is told as well. Who remembers
    nothing knows from it what an Envoy may still be using.
    """

    at: str
    came: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SidecarManifest:
    """What the sidecars of one service in one datacenter receive.

    `clusters` are cluster ids (a cluster's name without its trust domain), sorted; `listeners` serialized Listeners.
    `change` is how it came to be, not what it says: two that differ in nothing else are equal.
    """

    generation: int
    clusters: tuple[str, ...]
    listeners: tuple[bytes, ...]
    retired: bool = False
    change: Change | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class GatewaysManifest:
    """What all mesh gateways of one datacenter receive.

    `services` and `datacenters` are those that appeared in the catalog so far: they only grow, so that the manifest
    is a function of the state. `datacenters` are the others with mesh gateways; `services` go by `namespace/name`.
    """

    generation: int
    trust_domain: str
    clusters: tuple[str, ...]
    services: tuple[str, ...]
    datacenters: tuple[str, ...]
    retired: bool = False


@dataclass(frozen=True, slots=True)
class GatewayManifest:
    """What one mesh gateway has of its own: where it listens, and its connect timeout (milliseconds, 0: default)."""

    generation: int
    address: str
    port: int
    connect_timeout_ms: int
    access_log_path: str
    retired: bool = False


Manifest = SidecarManifest | GatewaysManifest | GatewayManifest


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """`manifest` as plain JSON values; `read_manifest` is its inverse."""
    body: dict[str, Any] = {"generation": manifest.generation, "retired": manifest.retired}
    if isinstance(manifest, SidecarManifest):
        body["clusters"] = list(manifest.clusters)
        body["listeners"] = [b64encode(each).decode() for each in manifest.listeners]
        if (change := manifest.change) is not None:
            body["change"] = {"at": change.at, "came": list(change.came), "left": list(change.left)}
    elif isinstance(manifest, GatewaysManifest):
        body["trust_domain"] = manifest.trust_domain
        for name in ("clusters", "services", "datacenters"):
            body[name] = list(getattr(manifest, name))
    else:
        for name in ("address", "port", "connect_timeout_ms", "access_log_path"):
            body[name] = getattr(manifest, name)
    return body


def read_manifest(body: Mapping[str, Any]) -> Manifest:
    """The manifest that `manifest_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    generation, retired = body["generation"], body["retired"]
    if "listeners" in body:
        listeners = tuple(b64decode(each, validate=True) for each in body["listeners"])
        told = body.get("change")
        change = Change(told["at"], tuple(told["came"]), tuple(told["left"])) if told else None
        return SidecarManifest(generation, tuple(body["clusters"]), listeners, retired, change)
    if "services" in body:
        return GatewaysManifest(
            generation,
            body["trust_domain"],
            tuple(body["clusters"]),
            tuple(body["services"]),
            tuple(body["datacenters"]),
            retired,
        )
    return GatewayManifest(
        generation, body["address"], body["port"], body["connect_timeout_ms"], body["access_log_path"], retired
    )
