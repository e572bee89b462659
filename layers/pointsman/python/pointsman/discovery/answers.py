"""The answers to a proxy's Envoys over REST. Each is rendered at its first request, and kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import orjson
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict

from pointsman.delivery.deliver import DeliveredCluster
from pointsman.delivery.own import MOST_OWN, Own, OwnOf
from pointsman.delivery.response import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ResourceKind
from pointsman.delivery.secret_source import ResourceSource
from pointsman.discovery.version import Standing, Version, era_of, joined, numbers_of, stamp, standing
from pointsman.discovery.view import Manifests, own_of
from pointsman.xds.inbound import Host
from pointsman.xds.snapshot import Snapshot

MOST_PAST = 4
"""Versions that an answer remembers as preceding it in the same order."""


@dataclass(frozen=True, eq=False)
class SerializedResource:
    """One resource, serialized, and as proto3 JSON."""

    type_url: str
    serialized: bytes

    @cached_property
    def json(self) -> bytes:
        """The resource as JSON, as it appears in a response."""
        wrapped = Any(type_url=self.type_url, value=self.serialized)
        return orjson.dumps(MessageToDict(wrapped, preserving_proto_field_name=True))


@dataclass(frozen=True, eq=False)
class Answer:
    """A DiscoveryResponse. `published` is the publication time of the change that led to it, "" if none did.

    `past` are the last `MOST_PAST` versions of answers before it with the same order: they still contained clusters
    that were about to leave. `own_of` makes what each Envoy gets beside the `resources`, which all get; the version
    covers that too.
    """

    version: Version
    type_url: str
    resources: tuple[SerializedResource, ...]
    published: str = ""
    past: tuple[Version, ...] = ()
    own_of: OwnOf | None = None

    def stands(self, theirs: Version | None) -> Standing:
        """How this answer relates to the version that an Envoy has."""
        return Standing.NEWER if theirs in self.past else standing(self.version, theirs)

    @cached_property
    def text(self) -> str:
        """The version, as in `version_info`."""
        return str(self.version)

    @cached_property
    def body(self) -> bytes:
        """The whole answer, as proto3 JSON, for an Envoy that gets nothing for itself."""
        return self._body(())

    def body_for(self, host: Host | None) -> bytes:
        """The whole answer to the Envoy of `host`, as proto3 JSON."""
        own = () if self.own_of is None else _serialized(self.own_of.of(host), self.type_url)
        return self._body(own) if own else self.body

    def unreached(self, host: Host | None) -> str:
        """Why intentions do not reach the Envoy of `host`; "" if they do, or there are none."""
        return "" if self.own_of is None else self.own_of.unreached(host)

    def _body(self, own: tuple[SerializedResource, ...]) -> bytes:
        head = orjson.dumps({"version_info": self.text, "type_url": self.type_url})
        return head[:-1] + b',"resources":[' + b",".join(each.json for each in (*self.resources, *own)) + b"]}"

    def dump(self) -> orjson.Fragment:
        """The answer, as in `/config_dump`."""
        return orjson.Fragment(self.body)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Part:
    """A delivered cluster, as a resource and with its endpoints as an answer."""

    of: DeliveredCluster
    cluster: SerializedResource
    endpoints: Answer


@dataclass(frozen=True, slots=True)
class Answers:
    """All answers to a proxy's Envoys at one time.

    An answer that does not change remains the same object. `parts` are by cluster name, sorted; `endpoints` by the name
    that a cluster requests.
    """

    parts: Mapping[str, Part]
    clusters: Answer
    listeners: Answer
    endpoints: Mapping[str, Answer]

    def get(self, kind: ResourceKind, name: str) -> Answer | None:
        """The answer for `kind`; for endpoints, those named `name`, None if no cluster requests them."""
        match kind:
            case ResourceKind.CLUSTERS:
                return self.clusters
            case ResourceKind.LISTENERS:
                return self.listeners
            case ResourceKind.ENDPOINTS:
                return self.endpoints.get(name)


@lru_cache(maxsize=MOST_OWN)
def _serialized(own: Own, type_url: str) -> tuple[SerializedResource, ...]:
    """An Envoy's own resources of one kind, each rendered once."""
    found = own.clusters if type_url == CLUSTER_TYPE else own.listeners
    return tuple(SerializedResource(type_url, each.serialized) for each in found)


def view_answers(
    manifests: Manifests, parts: Mapping[str, Part], listeners: Answer, previous: Answers | None, source: ResourceSource
) -> Answers:
    """The answers for a view of these `manifests` whose clusters, by name, are `parts`, to Envoys that fetch from
    `source`."""
    numbers = numbers_of(each.of.snapshot for each in parts.values())
    era, at, number = joined(era_of(manifests), stamp(manifests), numbers)
    return make_answers(Version((*at, number), "", era), parts, listeners, previous, own_of=own_of(manifests, source))


def view_listeners(
    manifests: Manifests,
    listeners: Iterable[bytes],
    drains: Iterable[Snapshot],
    previous: Answer | None,
    source: ResourceSource,
) -> Answer:
    """The listeners' answer for a view of these `manifests`, from serialized listeners, sorted by name, in which the
    active targets of `drains` are written, to Envoys that fetch from `source`."""
    resources = (SerializedResource(LISTENER_TYPE, each) for each in listeners)
    era, at, number = joined(era_of(manifests), stamp(manifests), numbers_of(drains))
    own = own_of(manifests, source)
    return make_answer(Version((*at, number), "", era), LISTENER_TYPE, resources, previous, own_of=own)


def make_answers(
    at: Version,
    parts: Mapping[str, Part],
    listeners: Answer,
    previous: Answers | None,
    *,
    own_of: OwnOf | None = None,
) -> Answers:
    """Answers with these parts; unchanged ones are taken from `previous`.

    `at` has the era and the order of the clusters; `own_of` makes those that each Envoy gets beside them.
    """
    in_order = {name: parts[name] for name in sorted(parts)}
    before = previous.parts if previous else {}
    changed = (
        each.of.snapshot.published
        for name, each in in_order.items()
        if name in before and before[name].cluster is not each.cluster
    )
    clusters = make_answer(
        at,
        CLUSTER_TYPE,
        (each.cluster for each in in_order.values()),
        previous.clusters if previous else None,
        published=max(changed, default=""),
        own_of=own_of,
    )
    endpoints = {each.of.place: each.endpoints for each in in_order.values() if each.of.place}
    return Answers(in_order, clusters, listeners, endpoints)


def make_answer(
    at: Version,
    type_url: str,
    resources: Iterable[SerializedResource],
    previous: Answer | None,
    *,
    published: str = "",
    own_of: OwnOf | None = None,
) -> Answer:
    """An answer with these resources in the era and order of `at`; `previous` if it has the same resources and
    order."""
    resources = tuple(resources)
    # Hosts differ and never change while their Envoys run, so the version is the same for all of them.
    some = _serialized(own_of.any, type_url) if own_of else ()
    version = Version.of(at.order, *(each.serialized for each in (*resources, *some)), era=at.era)
    if previous is None:
        return Answer(version, type_url, resources, published, own_of=own_of)
    as_far = (previous.version.era, previous.version.order) == (at.era, at.order)
    if previous.version.digest == version.digest:
        if as_far or (previous.version.era == at.era and previous.version.order > at.order):
            return previous
        # Another adapter may have sent versions in between that this process has not seen; this one is newer than
        # those.
        return Answer(version, type_url, previous.resources, published, own_of=own_of)
    past = (*previous.past, previous.version)[-MOST_PAST:] if as_far else ()
    return Answer(version, type_url, resources, published, past, own_of)


def make_part(delivered: DeliveredCluster, before: Part | None) -> Part:
    """The part for `delivered`; what has not changed is taken from `before`."""
    same = before is not None and before.cluster.serialized == delivered.cluster
    return Part(
        delivered,
        before.cluster if before and same else SerializedResource(CLUSTER_TYPE, delivered.cluster),
        Answer(
            Version.of((delivered.snapshot.version, 0, 0), delivered.assignment, era=delivered.snapshot.era),
            ENDPOINT_TYPE,
            (SerializedResource(ENDPOINT_TYPE, delivered.assignment),),
            delivered.snapshot.published,
        ),
    )
