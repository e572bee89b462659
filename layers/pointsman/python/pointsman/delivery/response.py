"""The message that carries resources to an Envoy, in every way of delivery."""

from collections.abc import Iterable
from enum import Enum

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.protobuf.any_pb2 import Any

_PREFIX = "type.googleapis.com/envoy.config"
CLUSTER_TYPE = f"{_PREFIX}.cluster.v3.Cluster"
ENDPOINT_TYPE = f"{_PREFIX}.endpoint.v3.ClusterLoadAssignment"
LISTENER_TYPE = f"{_PREFIX}.listener.v3.Listener"


class ResourceKind(Enum):
    """The kind of resources that an Envoy requests; the value is their type URL."""

    CLUSTERS = CLUSTER_TYPE
    ENDPOINTS = ENDPOINT_TYPE
    LISTENERS = LISTENER_TYPE

    # Each member exists once and is looked up for every stream; Enum's own hash is a call in Python.
    __hash__ = object.__hash__

    @property
    def type_url(self) -> str:
        """The type URL of its resources."""
        return self.value

    @property
    def label(self) -> str:
        """Its name in paths, metrics and dumps: clusters, endpoints or listeners."""
        return self.name.lower()


KINDS = {each.value: each for each in ResourceKind}
"""Each kind by its type URL."""


def response(version: str, type_url: str, resources: Iterable[bytes]) -> bytes:
    """A serialized DiscoveryResponse of `version` with these serialized resources, all of them of `type_url`."""
    message = DiscoveryResponse(
        version_info=version,
        type_url=type_url,
        resources=[Any(type_url=type_url, value=resource) for resource in resources],
    )
    return bytes(message.SerializeToString(deterministic=True))
