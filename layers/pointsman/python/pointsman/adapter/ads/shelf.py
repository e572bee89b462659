"""The resources of every proxy with a stream, made once for all its Envoys."""

import threading
from collections.abc import Iterable

from pointsman.adapter.ads.resources import Resources, make_resources
from pointsman.adapter.follow.follower import Follower
from pointsman.delivery.deliver import EnvoyVersion, takes_hostnames
from pointsman.delivery.endpoint_source import over_ads
from pointsman.delivery.secret_source import Sds, with_sds
from pointsman.discovery.deliveries import Deliveries
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.version import era_of, stamp
from pointsman.discovery.view import own_of


class Shelf:
    """Makes Resources from a follower's views. Safe for several threads."""

    def __init__(self, follower: Follower, sds: Sds | None = None) -> None:
        self._follower = follower
        self._source = with_sds(over_ads(), sds)
        self._deliveries = Deliveries(self._source)
        self._made: dict[tuple[ProxyId, bool], Resources] = {}
        self._lock = threading.Lock()

    def resources(self, proxy: ProxyId, envoy: EnvoyVersion | None) -> Resources | None:
        """The resources of `proxy` for an Envoy of this version; None if there has been no complete view yet."""
        key = proxy, takes_hostnames(envoy)
        with self._lock:
            made, view = self._made.get(key), self._follower.view(proxy)
            if view is not None and (made is None or made.number != view.version):
                delivery = self._deliveries.make(proxy, view, envoy, made.delivery if made else None)
                at, own = stamp(view.manifests), own_of(view.manifests, self._source)
                era = era_of(view.manifests)
                made = self._made[key] = make_resources(view.version, era, at, delivery, own, previous=made)
            return made

    def forget(self, proxies: Iterable[ProxyId]) -> None:
        """Drop these proxies, which have no stream any more."""
        with self._lock:
            for proxy in proxies:
                for hostnames in (False, True):
                    self._made.pop((proxy, hostnames), None)
