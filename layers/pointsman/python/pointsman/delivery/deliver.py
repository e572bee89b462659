"""Turns the canonical form into what one Envoy gets (docs/architecture.md, "How Envoys get it").

Envoys differ in how a measured cluster learns that another target serves. Both ways keep the SNI of one target and the
endpoints of another apart:

- Envoy 1.40 and later: each endpoint carries the target's SNI as its `hostname`, and the cluster, which never changes
  with health, takes the SNI from there (`auto_host_sni`).
- Older ones and unknown versions: the cluster carries the SNI. The name of its endpoints changes with it, so that the
  new cluster warms on its own endpoints while the old one keeps the previous ones.

Either way a cluster with a host name among its endpoints has all of them inside, with the SNI, and Envoy asks DNS
(`pointsman.delivery.named`).

For all of them, an address in several priority tiers is sent once, where it is healthy (`pointsman.delivery.hosts`),
and gateways that are ill are left out while others on the same way are well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

from pointsman.delivery.drains import drained_clusters, with_active_targets
from pointsman.delivery.hosts import keep_each_host_once
from pointsman.delivery.limits import set_limits
from pointsman.delivery.named import has_names, put_inside
from pointsman.delivery.own import NOTHING, Own
from pointsman.delivery.secret_source import ResourceSource
from pointsman.model.canonical import digest
from pointsman.xds.assignment import Avoided, place_of
from pointsman.xds.content import Content
from pointsman.xds.gateway_listener import gateway_listener
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest, SidecarManifest
from pointsman.xds.pack import milliseconds, packed
from pointsman.xds.snapshot import Snapshot

EnvoyVersion = tuple[int, int, int]
"""Major, minor, patch, as in `node.user_agent_build_version`."""

_HOSTNAMES_SINCE: EnvoyVersion = (1, 40, 0)


@dataclass(frozen=True, slots=True)
class Form:
    """The settings of a delivery.

    `hostnames` is whether the SNI goes with the endpoints, `connect_timeout_ms` a gateway's own (0: as stored).
    """

    hostnames: bool
    source: ResourceSource
    connect_timeout_ms: int = 0


@dataclass(frozen=True, slots=True, weakref_slot=True)
class DeliveredCluster:
    """A cluster and its endpoints as one Envoy gets them, serialized.

    `place` is where the cluster finds its endpoints, as the source made it from their name; "" if they are in the
    cluster, which asks for nothing then (`pointsman.delivery.named`). `snapshot` is the input.
    """

    name: str
    cluster: bytes
    place: str
    assignment: bytes
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Delivery:
    """Everything that one Envoy gets: clusters and serialized listeners, each sorted by name.

    `drains` are the snapshots, by cluster id, whose active targets are written in the listeners: those whose switches
    end connections. `own` is what it gets for itself, if it is for one Envoy alone.
    """

    form: Form
    clusters: tuple[DeliveredCluster, ...]
    listeners: tuple[bytes, ...]
    drains: Mapping[str, Snapshot] = field(default_factory=dict)
    own: Own = NOTHING

    @property
    def serving(self) -> dict[str, str]:
        """The active targets that are written in the listeners, by cluster id."""
        return {name: each.content.active for name, each in self.drains.items()}


def takes_hostnames(envoy: EnvoyVersion | None) -> bool:
    """Whether an Envoy of this version (None: unknown) takes the SNI from an endpoint's hostname, and a new one even if
    the address stays the same."""
    return envoy is not None and envoy >= _HOSTNAMES_SINCE


def deliver_sidecar(
    manifest: SidecarManifest,
    snapshots: Mapping[str, Snapshot],
    envoy: EnvoyVersion | None,
    source: ResourceSource,
    *,
    previous: Delivery | None = None,
) -> Delivery:
    """What the sidecar of `manifest` gets. `snapshots` are by cluster id and have all that the manifest names.

    Parts that `previous`, an earlier delivery to the same proxy, made from the same snapshot objects are reused. All
    snapshots must have passed `check_snapshot`, the manifest `check_manifest`.
    """
    form = Form(takes_hostnames(envoy), source)
    clusters = _clusters((snapshots[each] for each in manifest.clusters), form, previous)
    drains = {each: snapshots[each] for each in sorted(drained_clusters(manifest.listeners))}
    return Delivery(form, clusters, sidecar_listeners(manifest, drains, previous), drains)


def deliver_gateway(
    own: GatewayManifest,
    shared: GatewaysManifest,
    snapshots: Mapping[str, Snapshot],
    envoy: EnvoyVersion | None,
    *,
    source: ResourceSource,
    previous: Delivery | None = None,
) -> Delivery:
    """What the mesh gateway of `own` gets, in the datacenter of `shared`. Otherwise as `deliver_sidecar`."""
    form = Form(takes_hostnames(envoy), source, own.connect_timeout_ms)
    clusters = _clusters((snapshots[each] for each in shared.clusters), form, previous)
    return Delivery(form, clusters, gateway_listeners(own, shared))


def sidecar_listeners(
    manifest: SidecarManifest, drains: Mapping[str, Snapshot], previous: Delivery | None = None
) -> tuple[bytes, ...]:
    """The serialized listeners in `deliver_sidecar`, sorted by name. `drains` has the snapshots of at least the
    `drained_clusters`."""
    return _sorted_listeners([with_active_targets(each, drains) for each in manifest.listeners], previous)


def gateway_listeners(own: GatewayManifest, shared: GatewaysManifest) -> tuple[bytes, ...]:
    """The serialized listeners in `deliver_gateway`: a gateway has one."""
    listener = gateway_listener((own.address, own.port), shared.datacenters, shared.trust_domain, own.access_log_path)
    # Two gateways with the same port must not share its connections unnoticed.
    listener.enable_reuse_port.value = False
    return (bytes(listener.SerializeToString(deterministic=True)),)


def deliver_cluster(snapshot: Snapshot, form: Form) -> DeliveredCluster:
    """One cluster and its endpoints in `form`."""
    content = snapshot.content
    cluster = Cluster.FromString(content.cluster)
    assignment = ClusterLoadAssignment.FromString(content.assignment)
    _leave_out(assignment, content.avoided)
    named = has_names(keep_each_host_once(assignment))
    endpoints = cluster.name
    if content.measured and not named:
        if form.hostnames:
            _take_sni_from_endpoints(cluster, assignment, content)
        # The name of the endpoints covers everything of the cluster that they have to agree with: the SNI, if the
        # cluster carries it, and the identities that a server may have. A change of those can tear as well.
        endpoints = f"{cluster.name}@{digest(_bytes(cluster))[:16]}"
    if form.connect_timeout_ms:
        cluster.connect_timeout.CopyFrom(milliseconds(form.connect_timeout_ms))
    set_limits(cluster)
    place, assignment.cluster_name = form.source.ask(cluster, endpoints)
    if named:
        put_inside(cluster, assignment, with_health=bool(content.targets))
        return DeliveredCluster(cluster.name, _bytes(cluster), "", b"", snapshot)
    return DeliveredCluster(cluster.name, _bytes(cluster), place, _bytes(assignment), snapshot)


def _clusters(snapshots: Iterable[Snapshot], form: Form, previous: Delivery | None) -> tuple[DeliveredCluster, ...]:
    made = {id(each.snapshot): each for each in previous.clusters} if previous and previous.form == form else {}
    delivered = (made.get(id(snapshot)) or deliver_cluster(snapshot, form) for snapshot in snapshots)
    return tuple(sorted(delivered, key=lambda each: each.name))


def _take_sni_from_endpoints(cluster: Cluster, assignment: ClusterLoadAssignment, content: Content) -> None:
    tls = UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
    serving = tls.sni
    # The cluster's SNI would count only for an endpoint without a hostname, and there is none; it must not follow the
    # selection.
    tls.sni = content.targets[0].id + serving.removeprefix(content.active)
    tls.auto_host_sni = True
    cluster.transport_socket.typed_config.CopyFrom(packed(tls))
    for group in assignment.endpoints:
        for endpoint in group.lb_endpoints:
            endpoint.endpoint.hostname = serving


def _leave_out(assignment: ClusterLoadAssignment, avoided: Iterable[Avoided]) -> None:
    """Take the `avoided` gateways out of `assignment`: marked unhealthy they would get traffic where Envoy panics, and
    marked as their service is they would get their share."""
    for tier, places in groupby(avoided, key=itemgetter(0)):
        group = assignment.endpoints[tier]
        gone = {(address, port) for _, address, port in places}
        kept = [each for each in group.lb_endpoints if place_of(each) not in gone]
        del group.lb_endpoints[:]
        group.lb_endpoints.extend(kept)


def _sorted_listeners(listeners: Iterable[bytes], previous: Delivery | None) -> tuple[bytes, ...]:
    if previous and sorted(previous.listeners) == sorted(listeners):
        return previous.listeners
    return tuple(sorted(listeners, key=lambda each: str(Listener.FromString(each).name)))


def _bytes(message: Cluster | ClusterLoadAssignment) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))
