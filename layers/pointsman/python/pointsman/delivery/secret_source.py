"""Where an Envoy finds the certificates that clusters name (docs/envoy.md, "Certificates").

A stored cluster names two secrets, `identity` and `trust`. By default an Envoy finds them in its bootstrap, and reads
them once, at its start. Secrets that rotate come over SDS, and then the cluster has to say how, because Envoy has no
other place for it (https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret).
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeAlias

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion, ConfigSource, PathConfigSource
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

from pointsman.delivery.endpoint_source import EndpointSource
from pointsman.model.errors import InvalidInput
from pointsman.xds.cluster import IDENTITY_SECRET, TRUST_SECRET
from pointsman.xds.pack import packed

SDS_CLUSTER = "sds"
"""The cluster in an Envoy's bootstrap from which it fetches secrets of a server."""

_SPIRE = "spire"


@dataclass(frozen=True, slots=True)
class SdsFiles:
    """In `directory` (absolute) on the Envoy's machine, one file each: `identity.yaml` and `trust.yaml`.

    Envoy reads a file again when another one is renamed to its place.
    """

    directory: str

    def configs(self) -> tuple[SdsSecretConfig, SdsSecretConfig]:
        """The sources of the proxy's certificate and of the CAs that it trusts."""
        return self._config(IDENTITY_SECRET), self._config(TRUST_SECRET)

    def path(self, name: str) -> str:
        """The path of the file with the secret of this name."""
        return str(PurePosixPath(self.directory, f"{name}.yaml"))

    def _config(self, name: str) -> SdsSecretConfig:
        source = ConfigSource(
            path_config_source=PathConfigSource(path=self.path(name)), resource_api_version=ApiVersion.V3
        )
        return SdsSecretConfig(name=name, sds_config=source)


@dataclass(frozen=True, slots=True)
class SdsServer:
    """At the server that the Envoy's bootstrap calls `sds`, under these names. The defaults are those of a SPIRE agent
    (https://spiffe.io/docs/latest/deploying/spire_agent/, `default_svid_name` and `default_bundle_name`)."""

    identity: str = "default"
    trust: str = "ROOTCA"

    def configs(self) -> tuple[SdsSecretConfig, SdsSecretConfig]:
        """The sources of the proxy's certificate and of the CAs that it trusts."""
        return self._config(self.identity), self._config(self.trust)

    def _config(self, name: str) -> SdsSecretConfig:
        service = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=SDS_CLUSTER))
        api = ApiConfigSource(
            api_type=ApiConfigSource.ApiType.GRPC, transport_api_version=ApiVersion.V3, grpc_services=[service]
        )
        source = ConfigSource(api_config_source=api, resource_api_version=ApiVersion.V3)
        return SdsSecretConfig(name=name, sds_config=source)


# The ways to get secrets over SDS.
Sds: TypeAlias = SdsFiles | SdsServer


@dataclass(frozen=True, slots=True)
class WithSds:
    """An endpoint source with secrets that come over `sds`."""

    endpoints: EndpointSource
    sds: Sds

    def ask(self, cluster: Cluster, name: str) -> tuple[str, str]:
        """Have `cluster` ask for its endpoints as `endpoints` does, and for its secrets, if it has any."""
        if cluster.transport_socket.typed_config.Is(UpstreamTlsContext.DESCRIPTOR):
            tls = UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
            identity, trust = self.sds.configs()
            common = tls.common_tls_context
            del common.tls_certificate_sds_secret_configs[:]
            common.tls_certificate_sds_secret_configs.append(identity)
            common.combined_validation_context.validation_context_sds_secret_config.CopyFrom(trust)
            cluster.transport_socket.typed_config.CopyFrom(packed(tls))
        return self.endpoints.ask(cluster, name)


# The sources of everything that a cluster refers to.
ResourceSource: TypeAlias = EndpointSource | WithSds


def secrets_of(source: ResourceSource) -> tuple[SdsSecretConfig, SdsSecretConfig]:
    """Where an Envoy that fetches from `source` finds its certificate, and the CAs that it trusts."""
    if isinstance(source, WithSds):
        return source.sds.configs()
    return SdsSecretConfig(name=IDENTITY_SECRET), SdsSecretConfig(name=TRUST_SECRET)


def with_sds(endpoints: EndpointSource, sds: Sds | None) -> ResourceSource:
    """`endpoints` with secrets over `sds`; None leaves them in the bootstrap."""
    return endpoints if sds is None else WithSds(endpoints, sds)


def read_sds(text: str, option: str = "--sds") -> Sds:
    """The source in an option: a directory, `spire`, or `spire:IDENTITY,TRUST` with the names of the secrets.

    Raises InvalidInput.
    """
    kind, names_given, names = text.partition(":")
    if kind == _SPIRE:
        identity, _, trust = names.partition(",")
        if names_given and not (identity.strip() and trust.strip()):
            reason = f'"{text}" has to name both: spire:IDENTITY,TRUST, of which spire alone means spire:default,ROOTCA'
            raise InvalidInput.single(option, "", reason)
        return SdsServer(identity.strip(), trust.strip()) if names_given else SdsServer()
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or "\0" in text:
        reason = f'"{text}" is neither spire nor an absolute path without `..`: it is one on the Envoy\'s machine'
        raise InvalidInput.single(option, "", reason)
    return SdsFiles(str(path))
