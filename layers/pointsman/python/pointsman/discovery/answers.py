"""The answers to a proxy's Envoys over REST. Each is rendered at its first request, and kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import orjson
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict

from pointsman.delivery.deliver import DeliveredCluster
from pointsman.delivery.response import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ResourceKind
from pointsman.discovery.version import Standing, Version, era_of, joined, numbers_of, stamp, standing
from pointsman.discovery.view import Manifests
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
    that were about to leave.
    """

    version: Version
    type_url: str
    resources: tuple[SerializedResource, ...]
    published: str = ""
    past: tuple[Version, ...] = ()

    def stands(self, theirs: Version | None) -> Standing:
        """How this answer relates to the version that an Envoy has."""
        return Standing.NEWER if theirs in self.past else standing(self.version, theirs)

    @cached_property
    def text(self) -> str:
        """The version, as in `version_info`."""
        return str(self.version)

    @cached_property
    def body(self) -> bytes:
        """The whole answer, as proto3 JSON."""
        head = orjson.dumps({"version_info": self.text, "type_url": self.type_url})
        return head[:-1] + b',"resources":[' + b",".join(each.json for each in self.resources) + b"]}"

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


def view_answers(
    manifests: Manifests, parts: Mapping[str, Part], listeners: Answer, previous: Answers | None
) -> Answers:
    """The answers for a view of these `manifests` whose clusters, by name, are `parts`."""
    numbers = numbers_of(each.of.snapshot for each in parts.values())
    era, at, number = joined(era_of(manifests), stamp(manifests), numbers)
    return make_answers(Version((*at, number), "", era), parts, listeners, previous)


def view_listeners(
    manifests: Manifests, listeners: Iterable[bytes], drains: Iterable[Snapshot], previous: Answer | None
) -> Answer:
    """The listeners' answer for a view of these `manifests`, from serialized listeners, sorted by name, in which the
    active targets of `drains` are written."""
    resources = (SerializedResource(LISTENER_TYPE, each) for each in listeners)
    era, at, number = joined(era_of(manifests), stamp(manifests), numbers_of(drains))
    return make_answer(Version((*at, number), "", era), LISTENER_TYPE, resources, previous)


def make_answers(at: Version, parts: Mapping[str, Part], listeners: Answer, previous: Answers | None) -> Answers:
    """Answers with these parts; unchanged ones are taken from `previous`.

    `at` has the era and the order of the clusters.
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
) -> Answer:
    """An answer with these resources in the era and order of `at`; `previous` if it has the same resources and
    order."""
    resources = tuple(resources)
    version = Version.of(at.order, *(each.serialized for each in resources), era=at.era)
    if previous is None:
        return Answer(version, type_url, resources, published)
    as_far = (previous.version.era, previous.version.order) == (at.era, at.order)
    if previous.version.digest == version.digest:
        if as_far or (previous.version.era == at.era and previous.version.order > at.order):
            return previous
        # Another adapter may have sent versions in between that this process has not seen; this one is newer than
        # those.
        return Answer(version, type_url, previous.resources, published)
    past = (*previous.past, previous.version)[-MOST_PAST:] if as_far else ()
    return Answer(version, type_url, resources, published, past)


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
