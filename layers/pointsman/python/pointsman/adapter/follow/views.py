"""Makes views from a replica: the new one if complete, otherwise the previous one."""

from collections.abc import Iterable, Iterator, Mapping

from pointsman.adapter.follow.replica import Replica
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.view import Manifests, View, are_retired, cluster_ids, make_view, manifests_of
from pointsman.xds.snapshot import Snapshot


class Views:
    """Makes views from a replica; with `keeps` their objects are saved on disk too. Not safe for several threads."""

    def __init__(self, replica: Replica, *, keeps: bool) -> None:
        self._replica, self._keeps = replica, keeps
        self._versions = 0

    def manifests(self, proxy: ProxyId) -> Manifests | None:
        """The manifests of `proxy`; None if one is missing."""
        return manifests_of([self._replica.value(key) for key in proxy.manifest_keys])

    def named(self, proxy: ProxyId, view: View | None) -> set[str]:
        """The keys of the manifests of `proxy`, of everything that they name now, and of everything in its `view`."""
        manifests = self.manifests(proxy)
        names = {*(cluster_ids(manifests) if manifests else ()), *(view.snapshots if view else ())}
        return {*proxy.manifest_keys, *(proxy.snapshot_key(each) for each in names)}

    def make(self, proxy: ProxyId, wanted: Manifests | None, old: View | None) -> View | None:
        """The view of `proxy` for its manifests, `wanted`; `old` if nothing changed.

        If an object that they name is missing, the view is made from the manifests of `old`; if that fails too, it is
        `old`.
        """
        for manifests in (wanted, old.manifests if old else None):
            snapshots = self._snapshots(proxy, manifests)
            if manifests is not None and snapshots is not None:
                if old is not None and old.is_of(manifests, snapshots):
                    return old
                self._keep(proxy, manifests, snapshots, old)
                # One counter for all, so that it does not restart for a proxy that was dropped and comes back.
                self._versions += 1
                return make_view(self._versions, manifests, snapshots)
        return old

    def problems(self, proxy: ProxyId, keys: Iterable[str]) -> Iterator[str]:
        """Why the objects of `proxy` under `keys` are not what the store has, a line each."""
        yield from filter(None, (self._replica.problem(key) for key in sorted(keys)))
        manifests = self.manifests(proxy)
        if manifests is not None and not are_retired(manifests):
            for key in (proxy.snapshot_key(each) for each in cluster_ids(manifests)):
                if self._replica.value(key) is None and not self._replica.problem(key):
                    yield f"{key} is named by the manifest and missing"

    def _keep(self, proxy: ProxyId, manifests: Manifests, snapshots: Mapping[str, Snapshot], old: View | None) -> None:
        """Save the objects of a complete view of `proxy` on disk, if they differ from those of `old`."""
        if not self._keeps:
            return
        before = old.snapshots if old else {}
        wanted = [proxy.snapshot_key(each) for each, now in snapshots.items() if before.get(each) is not now]
        if manifests == self.manifests(proxy):
            # Objects of a newer manifest may still be missing, so it is not saved until its view is complete.
            wanted += proxy.manifest_keys
        self._replica.keep(wanted)

    def _snapshots(self, proxy: ProxyId, manifests: Manifests | None) -> dict[str, Snapshot] | None:
        """Every snapshot that `manifests` name; None if one is missing."""
        if manifests is None:
            return None
        found = {}
        for cluster_id in cluster_ids(manifests):
            value = self._replica.value(proxy.snapshot_key(cluster_id))
            if not isinstance(value, Snapshot):
                return None
            found[cluster_id] = value
        return found
