"""The resources of every proxy that somebody streams, made once for all of its Envoys."""

import threading
from dataclasses import replace

from pointsman.adapter.ads_resources import Resources, make_resources
from pointsman.adapter.ads_version import stamp
from pointsman.adapter.follower import Follower
from pointsman.adapter.proxy import ProxyId
from pointsman.adapter.view import Manifests, View, cluster_ids
from pointsman.xds.delivery import (
    DeliveredCluster,
    Delivery,
    EnvoyVersion,
    Form,
    deliver_gateway,
    deliver_sidecar,
    takes_hostnames,
)
from pointsman.xds.endpoint_source import over_ads
from pointsman.xds.manifest import SidecarManifest

_SOURCE = over_ads()


class Shelf:
    """Makes Resources from a follower's views. Safe for several threads.

    Whatever two proxies, or two views, have in common is made once.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._made: dict[tuple[ProxyId, bool], Resources] = {}
        self._clusters: dict[tuple[Form, str], DeliveredCluster] = {}
        self._lock = threading.Lock()

    def resources(self, proxy: ProxyId, envoy: EnvoyVersion | None) -> Resources | None:
        """What an Envoy of this version gets as `proxy`; None if there is no complete view, nor was one."""
        key = proxy, takes_hostnames(envoy)
        with self._lock:
            made, view = self._made.get(key), self._follower.view(proxy)
            if view is not None and (made is None or made.number != view.version):
                delivery = self._deliver(proxy, view, envoy, made.delivery if made else None)
                made = self._made[key] = make_resources(view.version, stamp(view.manifests), delivery, made)
            return made

    def _deliver(self, proxy: ProxyId, view: View, envoy: EnvoyVersion | None, previous: Delivery | None) -> Delivery:
        form = Form(takes_hostnames(envoy), _SOURCE, _connect_timeout(view.manifests))
        keys = {each: (form, proxy.snapshot_key(each)) for each in cluster_ids(view.manifests)}
        # Other proxies' clusters stand in for those that this one had: what counts is the snapshot and the form.
        shared = tuple(found for key in keys.values() if (found := self._clusters.get(key)) is not None)
        previous = replace(previous, form=form, clusters=shared) if previous else Delivery(form, shared, ())
        if isinstance(view.manifests, SidecarManifest):
            made = deliver_sidecar(view.manifests, view.snapshots, envoy, _SOURCE, previous)
        else:
            made = deliver_gateway(*view.manifests, view.snapshots, envoy, _SOURCE, previous)
        by_snapshot = {id(each.snapshot): each for each in made.clusters}
        for cluster_id, key in keys.items():
            self._clusters[key] = by_snapshot[id(view.snapshots[cluster_id])]
        return made


def _connect_timeout(manifests: Manifests) -> int:
    return 0 if isinstance(manifests, SidecarManifest) else manifests[0].connect_timeout_ms
