"""What Pointsman would serve to an Envoy of a version, of what is published for its proxy."""

from collections.abc import Mapping

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.json_format import MessageToDict

from pointsman.delivery.deliver import EnvoyVersion, deliver_gateway, deliver_sidecar
from pointsman.delivery.endpoint_source import over_ads
from pointsman.discovery.view import View, own_of, trust_domain_of
from pointsman.shadow.held import Held
from pointsman.shadow.typed import typed
from pointsman.xds.inbound import Host
from pointsman.xds.manifest import SidecarManifest

_NO_LIMIT = 2**32 - 1


def served(
    view: View,
    envoy: EnvoyVersion | None,
    host: Host | None = None,
    standby: Mapping[str, tuple[ClusterLoadAssignment, ...]] | None = None,
) -> Held:
    """What an Envoy of this version (None: unknown) holds when it has fetched all of `view`.

    `host` is where a sidecar listens and where its application is; without one it gets no listener for others.
    `standby` is, by cluster id, what endpoints a cluster would have with each of its targets, as far as that is known.
    """
    source = over_ads()
    if isinstance(view.manifests, SidecarManifest):
        made = deliver_sidecar(view.manifests, view.snapshots, envoy, source)
    else:
        own, shared = view.manifests
        made = deliver_gateway(own, shared, view.snapshots, envoy, source=source)
    known = standby or {}
    beside = own_of(view.manifests, source).of(host)
    clusters = {each.name: Cluster.FromString(each.cluster) for each in made.clusters}
    apps = {each.name: Cluster.FromString(each.serialized) for each in beside.clusters}
    configured = {each.name: Cluster.FromString(each.snapshot.content.cluster) for each in made.clusters}
    return Held(
        tuple(_listener(each) for each in (*made.listeners, *(each.serialized for each in beside.listeners))),
        clusters | apps,
        {each.place: ClusterLoadAssignment.FromString(each.assignment) for each in made.clusters if each.place},
        fetched=frozenset(clusters),
        standby={each.name: found for each in made.clusters if (found := known.get(_id(each.name)))},
        trust_domain=_trust_domain(view),
        configured=configured | {name: _without_limits(each) for name, each in apps.items()},
        orders={
            each.name: tuple(target.id for target in each.snapshot.content.targets)
            for each in made.clusters
            if each.snapshot.content.measured
        },
    )


def _id(name: str) -> str:
    return name.partition(".internal.")[0]


def _trust_domain(view: View) -> str:
    inbound = view.manifests.inbound if isinstance(view.manifests, SidecarManifest) else None
    return trust_domain_of(view) or (inbound.trust_domain if inbound else "")


def _without_limits(cluster: Cluster) -> Cluster:
    """A cluster without the limits that say that there is none, which nobody configured."""
    out = Cluster()
    out.CopyFrom(cluster)
    for threshold in out.circuit_breakers.thresholds:
        for field, value in threshold.ListFields():
            if getattr(value, "value", None) == _NO_LIMIT:
                threshold.ClearField(field.name)
    return out


def _listener(data: bytes) -> Listener:
    """A listener as it is read of a dump: the same parts of it are known."""
    return typed(MessageToDict(Listener.FromString(data)), Listener, "what Pointsman serves", lambda remark: None)
