"""All resources of one proxy, serialized once for every stream."""

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TypeAlias

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from envoy.service.discovery.v3.discovery_pb2 import Resource as DeltaResource
from google.protobuf.any_pb2 import Any

from pointsman.delivery.deliver import DeliveredCluster, Delivery
from pointsman.delivery.own import MOST_OWN, OwnOf, OwnResource
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.version import Stamp, Version, joined, numbers_of
from pointsman.model.era import Era
from pointsman.xds.inbound import Host

_NONE = -2
"""A number of no Resources; -1 is that of a subscription that got nothing yet."""


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One resource, prepared for both protocols.

    `whole` and `single` are serialized responses of the state of the world and of a delta that contain only this
    resource: concatenated messages merge (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
    """

    name: str
    version: Version
    whole: bytes
    single: bytes
    published: str = ""

    @property
    def is_told(self) -> bool:
        """Whether the Envoy reported the resource; otherwise this process sent it."""
        return not self.single


OfKind: TypeAlias = dict[str, Resource] | ChainMap[str, Resource]
"""Resources of one kind by name: those that all have, perhaps with an Envoy's own over them."""


@dataclass(frozen=True)
class Resources:
    """All resources of one proxy under one view; `number` grows with every view.

    `moved` are the resources that changed since the Resources with the number `before`; `still` the kinds in which none
    changed or ended since; `endpoints_of` the names of the endpoints that clusters ask for, by cluster. `own_of` makes
    what each Envoy gets beside these (`for_host`), and `own_before` did so for `before`.
    """

    number: int
    era: Era
    stamp: Stamp
    of: Mapping[ResourceKind, OfKind]
    before: int
    moved: Mapping[ResourceKind, tuple[Resource, ...]]
    still: frozenset[ResourceKind]
    endpoints_of: Mapping[str, str]
    delivery: Delivery
    own_of: OwnOf
    own_before: OwnOf

    def for_host(self, host: Host | None, previous: "Resources | None" = None) -> "Resources":
        """These, with what the Envoy of `host` gets for itself laid over them; they are not copied. `previous` are
        earlier ones for the same host."""
        if previous is not None and self._has_same_own(previous):
            # By far the most: an event changes none of them.
            if not isinstance(previous.of[ResourceKind.CLUSTERS], ChainMap):
                return self
            return replace(self, of={**self.of, **{kind: _over(previous, kind, self.of[kind]) for kind in _OWN_KINDS}})
        now, before = self.own_of.of(host), self.own_before.of(host)
        if not (now.clusters or before.clusters):
            return self
        of, moved, still = {**self.of}, {**self.moved}, self.still
        for kind, own, past in (
            (ResourceKind.CLUSTERS, now.clusters, before.clusters),
            (ResourceKind.LISTENERS, now.listeners, before.listeners),
        ):
            found = {each.name: _own_resource(kind, each, self.era, self.stamp) for each in own}
            of[kind] = ChainMap(found, self.of[kind])
            if own != past:
                moved[kind] = (*self.moved[kind], *(found[each.name] for each in own if each not in past))
                still -= {kind}
        return replace(self, of=of, moved=moved, still=still)

    def _has_same_own(self, previous: "Resources") -> bool:
        """Whether an Envoy's own resources are those that `previous` has, and were so before."""
        return self.own_of == previous.own_of == self.own_before and (self.era, self.stamp) == (
            previous.era,
            previous.stamp,
        )

    @cached_property
    def resolving(self) -> frozenset[str]:
        """The names of the clusters whose hosts Envoy has to resolve."""
        return frozenset(each.name for each in self.delivery.clusters if not each.place)

    @cached_property
    def versions(self) -> Mapping[ResourceKind, Version]:
        """For each kind, the version of all its resources together."""
        clusters = [each.snapshot for each in self.delivery.clusters]
        found = {}
        for kind, of_it in self.of.items():
            covered = self.delivery.drains.values() if kind is ResourceKind.LISTENERS else clusters
            era, at, number = joined(self.era, self.stamp, numbers_of(covered))
            found[kind] = Version.of((*at, number), *(each.version.digest.encode() for each in of_it.values()), era=era)
        return found


_OWN_KINDS = (ResourceKind.CLUSTERS, ResourceKind.LISTENERS)


def _over(previous: Resources, kind: ResourceKind, shared: OfKind) -> OfKind:
    """An Envoy's own resources of a kind, as in `previous`, over the `shared` ones."""
    own = previous.of[kind]
    return ChainMap(own.maps[0], shared) if isinstance(own, ChainMap) else shared


def numbered(nonce: str) -> bytes:
    """A serialized response of either protocol with nothing but this nonce: field 5 of both, less than 128 bytes."""
    return b"\x2a%c%s" % (len(nonce), nonce.encode("ascii"))


def told(name: str, version: Version | None) -> Resource:
    """A resource that an Envoy reports: with this version, or with another control plane's (None), which counts as
    oldest."""
    return Resource(name, version or Version((0, 0, 0), ""), b"", b"")


def restamped(resource: Resource, era: Era, at: Stamp) -> Resource:
    """The same resource, as if first sent in `era` under the manifests' stamp `at`: a later version of the same
    content."""
    now, at, number = joined(era, at, [(resource.version.era, resource.version.order[0])])
    version = Version((number, *at), resource.version.digest, now)
    (value,) = DiscoveryResponse.FromString(resource.whole).resources
    single = DeltaDiscoveryResponse(
        resources=[DeltaResource(name=resource.name, version=str(version), resource=value)]
    ).SerializeToString()
    return replace(resource, version=version, single=bytes(single))


def make_resources(
    number: int, era: Era, at: Stamp, delivery: Delivery, own_of: OwnOf, *, previous: Resources | None = None
) -> Resources:
    """The resources of `delivery` under the manifests' `era` and stamp `at`, with what makes those of single Envoys.

    Unchanged ones are taken from `previous`.
    """
    # Everything made under later manifests gets a later version, even if unchanged: another adapter may have sent
    # versions in between that this process has not seen.
    same = previous if previous is not None and (previous.era, previous.stamp) == (era, at) else None
    kept: dict[int, tuple[Resource, Resource | None]] = {}
    if same is not None and same.delivery.form == delivery.form:
        clusters, endpoints = same.of[ResourceKind.CLUSTERS], same.of[ResourceKind.ENDPOINTS]
        kept = {id(each): (clusters[each.name], endpoints.get(each.place)) for each in same.delivery.clusters}
    of: dict[ResourceKind, dict[str, Resource]] = {kind: {} for kind in ResourceKind}
    for each in delivery.clusters:
        of[ResourceKind.CLUSTERS][each.name], its_endpoints = kept.get(id(each)) or _pair(each, era, at)
        if its_endpoints is not None:
            of[ResourceKind.ENDPOINTS][each.place] = its_endpoints
    if same is not None and same.delivery.listeners == delivery.listeners:
        of[ResourceKind.LISTENERS] = dict(same.of[ResourceKind.LISTENERS])
    else:
        now, since, drained = joined(era, at, numbers_of(delivery.drains.values()))
        for serialized in delivery.listeners:
            name = str(Listener.FromString(serialized).name)
            version = Version.of((drained, *since), serialized, era=now)
            of[ResourceKind.LISTENERS][name] = _resource(ResourceKind.LISTENERS, name, version, serialized)
    past: Mapping[ResourceKind, Mapping[str, Resource]] = (
        previous.of if previous else {kind: {} for kind in ResourceKind}
    )
    moved = {kind: tuple(_moved(of[kind].values(), past[kind])) for kind in ResourceKind}
    return Resources(
        number=number,
        era=era,
        stamp=at,
        of=of,
        before=previous.number if previous else _NONE,
        moved=moved,
        still=frozenset(kind for kind in ResourceKind if not moved[kind] and past[kind].keys() == of[kind].keys()),
        endpoints_of={each.name: each.place for each in delivery.clusters if each.place},
        delivery=delivery,
        own_of=own_of,
        own_before=previous.own_of if previous else own_of,
    )


@lru_cache(maxsize=MOST_OWN)
def _own_resource(kind: ResourceKind, own: OwnResource, era: Era, at: Stamp) -> Resource:
    version = Version.of((0, *at), own.serialized, era=era)
    return _resource(kind, own.name, version, own.serialized)


def _pair(delivered: DeliveredCluster, era: Era, at: Stamp) -> tuple[Resource, Resource | None]:
    """A cluster, and the endpoints that it asks for, if it does."""
    era, at, number = joined(era, at, [(delivered.snapshot.era, delivered.snapshot.version)])
    order = (number, *at)
    published = delivered.snapshot.published
    cluster, assignment = delivered.cluster, delivered.assignment
    # The version of endpoints covers their cluster too: a changed cluster waits for its endpoints, which have to be
    # sent again even if unchanged.
    return (
        _resource(
            ResourceKind.CLUSTERS, delivered.name, Version.of(order, cluster, era=era), cluster, published=published
        ),
        _resource(
            ResourceKind.ENDPOINTS,
            delivered.place,
            Version.of(order, cluster, assignment, era=era),
            assignment,
            published=published,
        )
        if delivered.place
        else None,
    )


def _resource(kind: ResourceKind, name: str, version: Version, serialized: bytes, *, published: str = "") -> Resource:
    value = Any(type_url=kind.type_url, value=serialized)
    single = DeltaResource(name=name, version=str(version), resource=value)
    return Resource(
        name,
        version,
        bytes(DiscoveryResponse(resources=[value]).SerializeToString()),
        bytes(DeltaDiscoveryResponse(resources=[single]).SerializeToString()),
        published,
    )


def _moved(now: Iterable[Resource], past: Mapping[str, Resource]) -> Iterable[Resource]:
    for each in now:
        before = past.get(each.name)
        if before is None or before.version.digest != each.version.digest:
            yield each
