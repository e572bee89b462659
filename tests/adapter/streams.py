"""An ADS adapter at work on a store, and Envoys that speak to it by hand."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any, Self

import grpc
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.rpc.status_pb2 import Status
from pointsman.adapter.ads.ads_adapter import AdsAdapter
from pointsman.adapter.ads.server import AdsServer
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.running import follow
from pointsman.adapter.report.metrics import Metrics
from pointsman.delivery.response import ResourceKind
from pointsman.delivery.secret_source import Sds
from pointsman.serve.listen import Listen
from pointsman.serve.tls import TlsFiles
from pointsman.store.protocol import Store

from tests.adapter.published import DATACENTERS

CLUSTERS, ENDPOINTS, LISTENERS = ResourceKind
_SECONDS = 60.0


class Adapter:
    """A follower, an ADS adapter and its server, each with its threads, while the `with` block lasts."""

    def __init__(
        self,
        store: Store,
        listen: str = "127.0.0.1:0",
        *,
        hold: float = 10.0,
        tls: TlsFiles | None = None,
        sds: Sds | None = None,
        datacenters: frozenset[str] = frozenset(),
    ) -> None:
        self.follower = Follower(store, datacenters=datacenters)
        self.metrics = Metrics(
            lambda: self.follower.staleness, lambda: self.follower.unreachable, self.follower.all_problems
        )
        self.adapter = AdsAdapter(self.follower, self.metrics, hold=hold, sds=sds)
        self.server = AdsServer(self.adapter, Listen.read(listen, "--listen"), tls)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=follow, args=(self.follower, self._stop, self.adapter.on_change))

    def __enter__(self) -> Self:
        self.server.start()
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.server.stop()
        self._stop.set()
        self._thread.join()


def node(version: tuple[int, int, int] | None, service: str = "s1") -> Node:
    """The sidecar of `service` in dc1, an Envoy of this version."""
    made = Node(id=f"{service}-1", cluster=service)
    made.metadata["datacenter"] = "dc1"
    if version:
        made.user_agent_name = "envoy"
        number = made.user_agent_build_version.version
        number.major_number, number.minor_number, number.patch = version
    return made


class Spoken:
    """One stream of either protocol, as an Envoy holds it: it sends only what a test tells it to."""

    def __init__(self, address: str, delta: bool, credentials: grpc.ChannelCredentials | None = None) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self._channel = (
            grpc.secure_channel(address, credentials, [*options, ("grpc.ssl_target_name_override", "adapter")])
            if credentials
            else grpc.insecure_channel(address, options)
        )
        stub = AggregatedDiscoveryServiceStub(self._channel)
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._call = (stub.DeltaAggregatedResources if delta else stub.StreamAggregatedResources)(
            iter(self._requests.get, None), timeout=300
        )
        self._make = DeltaDiscoveryRequest if delta else DiscoveryRequest
        self.last: dict[ResourceKind, Any] = {}
        self._asked: dict[str, list[str]] = {}

    def say(self, kind: ResourceKind, **fields: Any) -> None:
        """Send a request. In the state of the world each one repeats the names of the kind, as an Envoy's does."""
        if self._make is DiscoveryRequest:
            self._asked[kind.value] = fields.setdefault("resource_names", self._asked.get(kind.value, []))
        self._requests.put(self._make(type_url=kind.value, **fields))

    def hear(self) -> Any:
        """The next response. Raises grpc.RpcError where the stream has ended."""
        found: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def read() -> None:
            try:
                found.put(next(self._call))
            except BaseException as error:
                found.put(error)

        threading.Thread(target=read, daemon=True).start()
        response = found.get(timeout=_SECONDS)
        if isinstance(response, BaseException):
            raise response
        self.last[ResourceKind(response.type_url)] = response
        return response

    def accept(self, response: Any, **fields: Any) -> None:
        """Answer that a response was taken."""
        if self._make is DiscoveryRequest:
            fields.setdefault("version_info", response.version_info)
        self.say(ResourceKind(response.type_url), response_nonce=response.nonce, **fields)

    def reject(self, response: Any, reason: str, **fields: Any) -> None:
        """Answer that a response was not taken."""
        self.say(
            ResourceKind(response.type_url),
            response_nonce=response.nonce,
            error_detail=Status(code=3, message=reason),
            **fields,
        )

    def close(self) -> None:
        """Hang up."""
        self._call.cancel()
        self._requests.put(None)
        self._channel.close()


@contextlib.contextmanager
def stream(address: str, delta: bool = True, credentials: grpc.ChannelCredentials | None = None) -> Iterator[Spoken]:
    """A stream that is hung up at the end."""
    spoken = Spoken(address, delta, credentials)
    try:
        yield spoken
    finally:
        spoken.close()


_MESSAGES: dict[str, Any] = {
    CLUSTERS.value: Cluster,
    ENDPOINTS.value: ClusterLoadAssignment,
    LISTENERS.value: Listener,
}


def messages(response: Any) -> list[Any]:
    """The clusters, load assignments or listeners in a response of either protocol."""
    packed = [each.resource if hasattr(each, "resource") else each for each in response.resources]
    return [_MESSAGES[response.type_url].FromString(each.value) for each in packed]


def names(response: Any) -> list[str]:
    """What they are called up to the first dot, sorted."""
    return sorted(
        (each.cluster_name if isinstance(each, ClusterLoadAssignment) else each.name).partition(".")[0]
        for each in messages(response)
    )


def serves(assignment: ClusterLoadAssignment) -> str:
    """The datacenter that an assignment sends to."""
    (endpoint,) = (each.endpoint for each in assignment.endpoints[0].lb_endpoints)
    by_ip = {ip: datacenter for datacenter, ip in DATACENTERS.items()}
    return by_ip[endpoint.address.socket_address.address]


def asks(response: Any) -> list[str]:
    """The names under which the clusters of a response ask for their endpoints."""
    return [each.eds_cluster_config.service_name for each in messages(response)]
