"""Whether two have the same for a proxy: the digest of its manifests, and that of the versions of its clusters."""

from collections.abc import Iterable
from dataclasses import dataclass

from pointsman.discovery.view import Manifests, View
from pointsman.model.canonical import canonical, digest
from pointsman.model.era import Era
from pointsman.xds.manifest import Manifest, SidecarManifest, manifest_json

_SHORT = 16
"""Characters of a digest: 64 bits."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The two digests."""

    manifests: str
    clusters: str


def make_mark(manifests: Manifests, versions: Iterable[tuple[str, Era, int]]) -> Mark:
    """The mark of these manifests, and of clusters with these ids, eras and version numbers."""
    parts: list[Manifest] = [manifests] if isinstance(manifests, SidecarManifest) else list(manifests)
    # When a change was made is beside the point, as it is when manifests are compared.
    bodies = [{name: each for name, each in manifest_json(part).items() if name != "change"} for part in parts]
    listed = sorted([cluster, era.identity, era.epoch, number] for cluster, era, number in versions)
    return Mark(digest(canonical(bodies))[:_SHORT], digest(canonical(listed))[:_SHORT])


def mark_of(view: View) -> Mark:
    """The mark of a view."""
    return make_mark(view.manifests, ((key, each.era, each.version) for key, each in view.snapshots.items()))
