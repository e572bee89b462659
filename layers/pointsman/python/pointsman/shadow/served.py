"""What Pointsman would serve to an Envoy of a version, of what is published for its proxy."""

from typing import TypeVar

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from pointsman.delivery.deliver import EnvoyVersion, deliver_gateway, deliver_sidecar
from pointsman.delivery.endpoint_source import over_ads
from pointsman.discovery.view import View, trust_domain_of
from pointsman.shadow.held import Held
from pointsman.shadow.typed import typed
from pointsman.xds.manifest import SidecarManifest

M = TypeVar("M", bound=Message)


def served(view: View, envoy: EnvoyVersion | None) -> Held:
    """What an Envoy of this version (None: unknown) holds when it has fetched all of `view`."""
    source = over_ads()
    if isinstance(view.manifests, SidecarManifest):
        made = deliver_sidecar(view.manifests, view.snapshots, envoy, source)
    else:
        own, shared = view.manifests
        made = deliver_gateway(own, shared, view.snapshots, envoy, source=source)
    clusters = {each.name: _read(each.cluster, Cluster) for each in made.clusters}
    return Held(
        tuple(_read(each, Listener) for each in made.listeners),
        clusters,
        {each.place: ClusterLoadAssignment.FromString(each.assignment) for each in made.clusters if each.place},
        fetched=frozenset(clusters),
        trust_domain=trust_domain_of(view) or "",
        configured={each.name: _read(each.snapshot.content.cluster, Cluster) for each in made.clusters},
        orders={
            each.name: tuple(target.id for target in each.snapshot.content.targets)
            for each in made.clusters
            if each.snapshot.content.measured
        },
    )


def _read(data: bytes, kind: type[M]) -> M:
    """The message in `data`, as it is read of a dump: the same parts of it are known."""
    return typed(MessageToDict(kind.FromString(data)), kind, "what Pointsman serves", lambda remark: None)
