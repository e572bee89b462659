"""All that a proxy's Envoys can be answered over REST: rendered when it is first asked for, and then never again."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import orjson
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict

from pointsman.adapter.ads_version import Version, stamp
from pointsman.adapter.deliveries import Deliveries
from pointsman.adapter.follower import Follower
from pointsman.adapter.proxy import ProxyId
from pointsman.adapter.view import View
from pointsman.xds.delivery import DeliveredCluster, Delivery, EnvoyVersion, Form, takes_hostnames
from pointsman.xds.endpoint_source import EndpointService
from pointsman.xds.response import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE


class Kind(Enum):
    """What can be asked for; the value is how the URL, metrics and dumps call it."""

    CLUSTERS = "clusters"
    ENDPOINTS = "endpoints"
    LISTENERS = "listeners"

    @property
    def type_url(self) -> str:
        """The type of its resources."""
        return _TYPES[self]


_TYPES = {Kind.CLUSTERS: CLUSTER_TYPE, Kind.ENDPOINTS: ENDPOINT_TYPE, Kind.LISTENERS: LISTENER_TYPE}


@dataclass(frozen=True, eq=False)
class Resource:
    """One resource, serialized, and as proto3 JSON."""

    type_url: str
    serialized: bytes

    @cached_property
    def json(self) -> bytes:
        """As it stands among a response's resources."""
        wrapped = Any(type_url=self.type_url, value=self.serialized)
        return orjson.dumps(MessageToDict(wrapped, preserving_proto_field_name=True))


@dataclass(frozen=True, eq=False)
class Answer:
    """A DiscoveryResponse. `published` is when the change that led to it was published, "" where none did."""

    version: Version
    type_url: str
    resources: tuple[Resource, ...]
    published: str = ""

    @cached_property
    def text(self) -> str:
        """The version as `version_info` has it."""
        return str(self.version)

    @cached_property
    def body(self) -> bytes:
        """The whole answer as proto3 JSON."""
        head = orjson.dumps({"version_info": self.text, "type_url": self.type_url})
        return head[:-1] + b',"resources":[' + b",".join(each.json for each in self.resources) + b"]}"

    def dump(self) -> orjson.Fragment:
        """As `/config_dump` has it."""
        return orjson.Fragment(self.body)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a proxy's Envoys are answered under one view; `number` grows from view to view.

    Whatever does not change from one to the next is the same object in both. `endpoints` are by the name under which a
    cluster asks for them.
    """

    number: int
    clusters: Answer
    listeners: Answer
    endpoints: Mapping[str, Answer]
    delivery: Delivery

    def get(self, kind: Kind, name: str) -> Answer | None:
        """The answer to who asks for `kind`; for endpoints, those of this `name`, None if no cluster asks for them."""
        match kind:
            case Kind.CLUSTERS:
                return self.clusters
            case Kind.LISTENERS:
                return self.listeners
            case Kind.ENDPOINTS:
                return self.endpoints.get(name)


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A delivered cluster, it as a resource, and its endpoints as an answer."""

    of: DeliveredCluster
    cluster: Resource
    endpoints: Answer


class AnswerBook:
    """Makes Answers from a follower's views. Safe for several threads.

    What two proxies have in common is rendered once for both: the cost of a failover does not depend on how many
    Envoys there are.
    """

    def __init__(self, follower: Follower, source: EndpointService) -> None:
        self._follower = follower
        self._deliveries = Deliveries(source)
        self._made: dict[tuple[ProxyId, bool], Answers] = {}
        self._rendered: dict[tuple[str, bool, int], _Rendered] = {}
        self._lock = threading.Lock()

    def answers(self, proxy: ProxyId, envoy: EnvoyVersion | None) -> Answers | None:
        """What an Envoy of this version is answered as `proxy`; None if there is no complete view, nor was one."""
        key = proxy, takes_hostnames(envoy)
        with self._lock:
            made, view = self._made.get(key), self._follower.view(proxy)
            if view is not None and (made is None or made.number != view.version):
                made = self._made[key] = self._make(proxy, view, envoy, made)
            return made

    def _make(self, proxy: ProxyId, view: View, envoy: EnvoyVersion | None, previous: Answers | None) -> Answers:
        delivery = self._deliveries.make(proxy, view, envoy, previous.delivery if previous else None)
        in_order = [self._render(proxy, delivery.form, each) for each in delivery.clusters]
        at, numbers = stamp(view.manifests), sum(each.snapshot.version for each in delivery.clusters)
        clusters = _answer(
            (*at, numbers),
            CLUSTER_TYPE,
            (each.cluster for each in in_order),
            previous.clusters if previous else None,
            _published(delivery, previous.delivery) if previous else "",
        )
        listeners = _answer(
            (*at, 0),
            LISTENER_TYPE,
            (Resource(LISTENER_TYPE, each) for each in delivery.listeners),
            previous.listeners if previous else None,
        )
        endpoints = {each.of.place: each.endpoints for each in in_order}
        return Answers(view.version, clusters, listeners, endpoints, delivery)

    def _render(self, proxy: ProxyId, form: Form, delivered: DeliveredCluster) -> _Rendered:
        # Clusters of two datacenters may have the same name.
        key = proxy.snapshot_key(delivered.name), form.hostnames, form.connect_timeout_ms
        found = self._rendered.get(key)
        if found is None or found.of is not delivered:
            found = self._rendered[key] = _rendered(delivered, found)
        return found


def _rendered(delivered: DeliveredCluster, before: _Rendered | None) -> _Rendered:
    return _Rendered(
        delivered,
        before.cluster
        if before and before.cluster.serialized == delivered.cluster
        else Resource(CLUSTER_TYPE, delivered.cluster),
        Answer(
            Version.of((delivered.snapshot.version, 0, 0), delivered.assignment),
            ENDPOINT_TYPE,
            (Resource(ENDPOINT_TYPE, delivered.assignment),),
            delivered.snapshot.published,
        ),
    )


def _answer(
    order: tuple[int, int, int],
    type_url: str,
    resources: Iterable[Resource],
    previous: Answer | None,
    published: str = "",
) -> Answer:
    resources = tuple(resources)
    version = Version.of(order, *(each.serialized for each in resources))
    if previous is not None and previous.version.digest == version.digest:
        return previous
    return Answer(version, type_url, resources, published)


def _published(now: Delivery, before: Delivery) -> str:
    """When the newest of the snapshots was published that changed a cluster."""
    clusters = {each.name: each for each in before.clusters}
    changed = (each for each in now.clusters if each.name in clusters and clusters[each.name].cluster != each.cluster)
    return max((each.snapshot.published for each in changed), default="")
