"""Where an Envoy finds the endpoints of a cluster."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeAlias

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiVersion, ConfigSource, PathConfigSource

from pointsman.model.canonical import digest

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*\Z")
_UNUSUAL = re.compile(r"[^A-Za-z0-9._:@-]")
# A file name has 255 bytes at most; what is left is for endings and for names of files on their way.
_LONGEST = 200
_READABLE = 120


@dataclass(frozen=True, slots=True)
class EndpointFiles:
    """One file per load assignment in `directory`, an absolute path."""

    directory: str

    def ask(self, cluster: Cluster, name: str) -> tuple[str, str]:
        """Have `cluster` ask for the endpoints called `name`: where they are then found, a file's name here, and what
        their load assignment has to be called.

        The assignment keeps the cluster's name: Envoy looks for that one where a cluster sets no `service_name`
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


# How endpoints are asked for. REST and ADS, where the name goes into `service_name`, are more members of this union.
EndpointSource: TypeAlias = EndpointFiles


def file_name(name: str) -> str:
    """The file for the endpoints called `name`; different names have different files.

    A name that is long, or that could mean something to a file system, is replaced by its beginning and its digest.
    Envoy goes by the ending: `.pb` is a serialized DiscoveryResponse.
    """
    if len(name) <= _LONGEST and _PLAIN.match(name):
        return f"{name}.pb"
    readable = _UNUSUAL.sub("_", name)[:_READABLE].lstrip(".")
    return f"{readable}~{digest(name.encode())}.pb"
