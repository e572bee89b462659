"""A view: everything that a proxy should have, complete and immutable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from pointsman.delivery.drains import drained_clusters
from pointsman.delivery.own import OwnOf
from pointsman.delivery.secret_source import ResourceSource
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest, SidecarManifest
from pointsman.xds.snapshot import Snapshot

Manifests: TypeAlias = SidecarManifest | tuple[GatewayManifest, GatewaysManifest]
"""A sidecar's manifest, or a gateway's own and shared manifests."""


@dataclass(frozen=True, slots=True)
class View:
    """A proxy's manifests and every snapshot that they name, by cluster id.

    `version` grows with every change of the view, within one follower.
    """

    version: int
    manifests: Manifests
    snapshots: Mapping[str, Snapshot]

    def is_of(self, manifests: Manifests, snapshots: Mapping[str, Snapshot]) -> bool:
        """Whether the view consists of these same objects."""
        return (
            self.manifests == manifests
            and self.snapshots.keys() == snapshots.keys()
            and all(self.snapshots[each] is snapshots[each] for each in snapshots)
        )


def make_view(version: int, manifests: Manifests, snapshots: Mapping[str, Snapshot]) -> View:
    """A view with its own copy: later changes of `snapshots` do not affect it."""
    return View(version, manifests, MappingProxyType(dict(snapshots)))


def manifests_of(values: Sequence[object]) -> Manifests | None:
    """The manifests made of the values under a proxy's `manifest_keys`, in their order; None if one is missing."""
    match values:
        case [SidecarManifest() as manifest]:
            return manifest
        case [GatewayManifest() as own, GatewaysManifest() as shared]:
            return own, shared
        case _:
            return None


def cluster_ids(manifests: Manifests) -> tuple[str, ...]:
    """The ids of the clusters that a proxy with these manifests receives."""
    return manifests.clusters if isinstance(manifests, SidecarManifest) else manifests[1].clusters


def drained_ids(manifests: Manifests) -> frozenset[str]:
    """The ids of the clusters whose active targets are written in the listeners of a proxy with these manifests."""
    return drained_clusters(manifests.listeners) if isinstance(manifests, SidecarManifest) else frozenset()


def own_of(manifests: Manifests, source: ResourceSource) -> OwnOf:
    """Makes what each Envoy of a proxy with these manifests gets for itself; `source` is where they find secrets."""
    return OwnOf(manifests.inbound if isinstance(manifests, SidecarManifest) else None, source)


def are_retired(manifests: Manifests) -> bool:
    """Whether the manifests say that the proxy has ended."""
    if isinstance(manifests, SidecarManifest):
        return manifests.retired
    return any(each.retired for each in manifests)


def trust_domain_of(view: View) -> str | None:
    """The trust domain of the mesh; None for a sidecar without anything published."""
    if not isinstance(view.manifests, SidecarManifest):
        return view.manifests[1].trust_domain
    for snapshot in view.snapshots.values():
        # <cluster id>.internal.<trust domain> (docs/semantics.md, section 5)
        domain: str
        _, internal, domain = Cluster.FromString(snapshot.content.cluster).name.partition(".internal.")
        if internal:
            return domain
    return None
