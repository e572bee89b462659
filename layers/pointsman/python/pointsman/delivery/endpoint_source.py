"""Where an Envoy finds the endpoints of a cluster."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeAlias

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import (
    AggregatedConfigSource,
    ApiConfigSource,
    ApiVersion,
    ConfigSource,
    PathConfigSource,
)

from pointsman.model.canonical import digest
from pointsman.xds.pack import milliseconds

XDS_CLUSTER = "pointsman"
"""The cluster in an Envoy's bootstrap from which it fetches, if not from files."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*\Z")
_UNUSUAL = re.compile(r"[^A-Za-z0-9._:@-]")
# File names are limited to 255 bytes; the rest is for endings and for the names of temporary files.
_LONGEST = 200
_READABLE = 120


@dataclass(frozen=True, slots=True)
class EndpointFiles:
    """One file per load assignment in `directory`, an absolute path."""

    directory: str

    def ask(self, cluster: Cluster, name: str) -> tuple[str, str]:
        """Configure `cluster` to fetch the endpoints called `name`. Returns where they are found (here a file's name)
        and the name that their load assignment must have.

        The assignment keeps the cluster's name: Envoy looks for it if a cluster sets no `service_name`
        (https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto, EdsClusterConfig).
        """
        file = file_name(name)
        cluster.eds_cluster_config.eds_config.CopyFrom(
            ConfigSource(
                path_config_source=PathConfigSource(path=str(PurePosixPath(self.directory, file))),
                resource_api_version=ApiVersion.V3,
            )
        )
        return file, cluster.name


@dataclass(frozen=True, slots=True)
class EndpointService:
    """A server that Envoy asks for every load assignment by name. `config_source` is a serialized ConfigSource that
    names the server and the protocol (`over_ads`, `over_rest`)."""

    config_source: bytes

    def ask(self, cluster: Cluster, name: str) -> tuple[str, str]:
        """Configure `cluster` to fetch the endpoints called `name`. Returns that name twice: as the resource's name,
        and as the name of the load assignment, because Envoy rejects an assignment of another name."""
        cluster.eds_cluster_config.eds_config.CopyFrom(ConfigSource.FromString(self.config_source))
        cluster.eds_cluster_config.service_name = name
        return name, name


def over_ads() -> EndpointService:
    """Endpoints arrive on the same stream as the clusters."""
    return EndpointService(_serialized(ConfigSource(ads=AggregatedConfigSource())))


def over_rest(xds_cluster: str, refresh_delay_ms: int, request_timeout_ms: int) -> EndpointService:
    """Envoy polls for endpoints over HTTP, at the cluster of this name in its bootstrap.

    `refresh_delay_ms` is the least time between an answer and the next request, `request_timeout_ms` how long Envoy
    waits for an answer: longer than the server holds a poll.
    """
    api = ApiConfigSource(
        api_type=ApiConfigSource.ApiType.REST,
        transport_api_version=ApiVersion.V3,
        cluster_names=[xds_cluster],
        refresh_delay=milliseconds(refresh_delay_ms),
        request_timeout=milliseconds(request_timeout_ms),
    )
    return EndpointService(_serialized(ConfigSource(api_config_source=api)))


# The ways to fetch endpoints.
EndpointSource: TypeAlias = EndpointFiles | EndpointService


def _serialized(source: ConfigSource) -> bytes:
    source.resource_api_version = ApiVersion.V3
    # A changed cluster keeps its old endpoints while it waits for the new ones. By default Envoy stops waiting after 15
    # seconds and uses the cluster without endpoints: a server that dies in between would take traffic down.
    source.initial_fetch_timeout.CopyFrom(milliseconds(0))
    return bytes(source.SerializeToString(deterministic=True))


def file_name(name: str) -> str:
    """The file for the endpoints called `name`; different names have different files.

    A name that is long, or that could mean something to a file system, is replaced by its beginning and its digest.
    Envoy reads the ending: `.pb` is a serialized DiscoveryResponse.
    """
    if len(name) <= _LONGEST and _PLAIN.match(name):
        return f"{name}.pb"
    readable = _UNUSUAL.sub("_", name)[:_READABLE].lstrip(".")
    return f"{readable}~{digest(name.encode())}.pb"
