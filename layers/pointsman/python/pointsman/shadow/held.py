"""What an Envoy holds, or would hold: listeners, routes, clusters and endpoints, wherever they come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration


@dataclass(frozen=True, slots=True)
class Held:
    """The resources of one Envoy.

    `bootstrapped` are listeners that came with the bootstrap beside others that are fetched: an Envoy keeps them
    whoever configures it. Clusters are by name, `assignments` by the name that their cluster asks for (its own, unless
    it has a `service_name`), `routes` by name. `fetched` are the clusters that a gateway may reach by their name.

    Of what Pointsman would serve, `trust_domain` is that of the mesh ("" if nothing says it), `configured` are the
    clusters without what delivery adds by itself. Of a cluster that gets one target's endpoints at a time, `orders` are
    the ids of the targets in their order, and `standby` what endpoints it would have with each.
    """

    listeners: tuple[Listener, ...]
    clusters: Mapping[str, Cluster]
    assignments: Mapping[str, ClusterLoadAssignment]
    routes: Mapping[str, RouteConfiguration] = field(default_factory=dict)
    bootstrapped: tuple[Listener, ...] = ()
    fetched: frozenset[str] = frozenset()
    configured: Mapping[str, Cluster] = field(default_factory=dict)
    orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    standby: Mapping[str, tuple[ClusterLoadAssignment, ...]] = field(default_factory=dict)
    trust_domain: str = ""
