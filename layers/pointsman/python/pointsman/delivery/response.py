"""The message that carries resources to an Envoy, in every way of delivery."""

from collections.abc import Iterable

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.protobuf.any_pb2 import Any

_PREFIX = "type.googleapis.com/envoy.config"
CLUSTER_TYPE = f"{_PREFIX}.cluster.v3.Cluster"
ENDPOINT_TYPE = f"{_PREFIX}.endpoint.v3.ClusterLoadAssignment"
LISTENER_TYPE = f"{_PREFIX}.listener.v3.Listener"


def response(version: str, type_url: str, resources: Iterable[bytes]) -> bytes:
    """A serialized DiscoveryResponse of `version` with these serialized resources, all of them of `type_url`."""
    message = DiscoveryResponse(
        version_info=version,
        type_url=type_url,
        resources=[Any(type_url=type_url, value=resource) for resource in resources],
    )
    return bytes(message.SerializeToString(deterministic=True))
