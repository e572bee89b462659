"""Makes the deliveries for one way of fetching endpoints. What two proxies or two views share is made once."""

import weakref
from collections.abc import MutableMapping
from dataclasses import replace

from pointsman.delivery.deliver import (
    DeliveredCluster,
    Delivery,
    EnvoyVersion,
    Form,
    deliver_gateway,
    deliver_sidecar,
    takes_hostnames,
)
from pointsman.delivery.secret_source import ResourceSource
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.view import Manifests, View, cluster_ids
from pointsman.xds.manifest import SidecarManifest


class Deliveries:
    """Makes deliveries from views. A cluster that two deliveries share is the same object in both.

    Not safe for several threads.
    """

    def __init__(self, source: ResourceSource) -> None:
        self._source = source
        # Weak references: a cluster is kept only as long as some delivery contains it.
        self._clusters: MutableMapping[tuple[Form, str], DeliveredCluster] = weakref.WeakValueDictionary()

    def make(self, proxy: ProxyId, view: View, envoy: EnvoyVersion | None, previous: Delivery | None) -> Delivery:
        """The delivery of `view` to an Envoy of `proxy`; `previous` is the proxy's previous delivery."""
        form = Form(takes_hostnames(envoy), self._source, _connect_timeout(view.manifests))
        keys = {each: (form, proxy.snapshot_key(each)) for each in cluster_ids(view.manifests)}
        # Clusters made for other proxies can be reused too: only the snapshot and the form matter.
        shared = tuple(found for key in keys.values() if (found := self._clusters.get(key)) is not None)
        previous = replace(previous, form=form, clusters=shared) if previous else Delivery(form, shared, ())
        if isinstance(view.manifests, SidecarManifest):
            made = deliver_sidecar(view.manifests, view.snapshots, envoy, self._source, previous=previous)
        else:
            made = deliver_gateway(*view.manifests, view.snapshots, envoy, source=self._source, previous=previous)
        by_snapshot = {id(each.snapshot): each for each in made.clusters}
        for cluster_id, key in keys.items():
            self._clusters[key] = by_snapshot[id(view.snapshots[cluster_id])]
        return made


def _connect_timeout(manifests: Manifests) -> int:
    return 0 if isinstance(manifests, SidecarManifest) else manifests[0].connect_timeout_ms
