"""The fields of Consul's entries and registrations that Pointsman gives no meaning, and since when Consul has each.

The decoder decides by this table (`pointsman.model.shape`), and docs/consul-fields.md prints it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pointsman.model.complaints import Told


@dataclass(frozen=True, slots=True)
class Other(Told):
    """A field that some Consul has and Pointsman gives no meaning.

    `since` is the version of Consul that brought it. If it is `refused`, `why` completes "is not supported by
    Pointsman", with the way out; else it is accepted without effect, and `why` says what it is. Values in `nothing` say
    no more than leaving it out.
    """

    since: str
    why: str
    refused: bool = True
    nothing: tuple[Any, ...] = ()

    def says_nothing(self, value: Any) -> bool:
        """Whether the field may be left out where it has `value`."""
        return not self.refused or says_nothing(value) or _essence(value) in map(_essence, self.nothing)

    def reason(self, name: str) -> str:
        """What is told to who writes it."""
        return f"is not supported by Pointsman: {self.why}"


def says_nothing(value: Any) -> bool:
    """Whether a field with `value` says no more than one that is left out: it is null, empty or zero all through."""
    if isinstance(value, Mapping):
        return all(map(says_nothing, value.values()))
    if isinstance(value, list):
        return all(map(says_nothing, value))
    return value in (None, "", 0, False, "0s")


def _essence(value: Any) -> Any:
    """What `value` says, however it is written: as a block of HCL, in any capitals, beside fields that say nothing."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0]
    if isinstance(value, Mapping):
        return {
            str(key).lower().replace("_", ""): _essence(each) for key, each in value.items() if not says_nothing(each)
        }
    return value


def _told(since: str, why: str) -> Other:
    return Other(since, why, refused=False)


_PARTITION = Other("1.11", "there are no admin partitions; use a Namespace", nothing=("default",))
_PEER = Other("1.14", "clusters are not peered; name a Datacenter instead", nothing=("local",))
_SAMENESS = Other("1.16", "there are no sameness groups; name their datacenters one by one")
_LOCALITY = "instances have no locality; make subsets, or datacenters, of what is near"
_SEQUENTIAL = ({"Mode": "sequential"},)
_BY_LOCALITY = Other("1.17", _LOCALITY, nothing=({"Mode": "none"},))
_EXTENSIONS = Other("1.15", "nothing extends the Envoys' config; set what there is a field for")
_MODE = Other("1.10", "traffic is not captured; name the upstreams of each sidecar", nothing=("direct",))
_TRANSPARENT = Other("1.10", "traffic is not captured; name the upstreams of each sidecar")
_MUTUAL_TLS = Other("1.16", "sidecars take mutual TLS only; leave it out", nothing=("strict",))
_ACCESS_LOGS = Other("1.15", "access logs of a sidecar are set by `pointsman bootstrap --access-log`")

_PORTS = Other("1.22", "a sidecar stands before one port; define a service for each")

_DEFAULT_TENANCY = (
    {"Partition": "default", "Namespace": "default"},
    {"Namespace": "default"},
    {"Partition": "default"},
)

_STORED: Final = {
    "CreateIndex": _told("0.1", "Consul's index when it was written first"),
    "ModifyIndex": _told("0.1", "Consul's index when it was written last"),
}
_ENTRY: Final = {
    **_STORED,
    "EnterpriseMeta": Other("1.7", "write Namespace beside Name", nothing=_DEFAULT_TENANCY),
    "Hash": _told("1.17.1", "a checksum of Consul's"),
    "Status": _told("1.15", "what a controller of Consul's says of it"),
    "Partition": _PARTITION,
    "Peer": _PEER,
    "SamenessGroup": _SAMENESS,
}
_ELSEWHERE: Final = {"Partition": _PARTITION, "Peer": _PEER, "SamenessGroup": _SAMENESS}

_JWT: Final = Other("1.16", "tokens of requests are not verified; let the application do it")

_PROXY: Final = {
    "Mode": _MODE,
    "TransparentProxy": _TRANSPARENT,
    "MutualTLSMode": _MUTUAL_TLS,
    "AccessLogs": _ACCESS_LOGS,
    "EnvoyExtensions": _EXTENSIONS,
    "LocalServiceSocketPath": Other("1.10", "the application is reached at an address; give it one"),
}
_ESCAPES: Final = {
    "EnvoyListenerJSON": Other("1.3", "listeners are computed; set what there is a field for"),
    "EnvoyClusterJSON": Other("1.3", "clusters are computed; set what there is a field for"),
    "BalanceOutboundConnections": Other("1.14", "this is left to the kernel"),
}

OTHERS: Final[Mapping[str, Mapping[str, Other]]] = {
    "ProxyDefaults": {
        **_ENTRY,
        "Protocol": Other("1.17.1", "write it as Config.protocol"),
        "Mode": _MODE,
        "TransparentProxy": _TRANSPARENT,
        "MutualTLSMode": _MUTUAL_TLS,
        "AccessLogs": _ACCESS_LOGS,
        "EnvoyExtensions": _EXTENSIONS,
        "FailoverPolicy": Other("1.16", f"its modes are about localities: {_LOCALITY}", nothing=_SEQUENTIAL),
        "PrioritizeByLocality": _BY_LOCALITY,
    },
    "ServiceDefaults": {
        **_ENTRY,
        "Mode": _MODE,
        "TransparentProxy": _TRANSPARENT,
        "MutualTLSMode": _MUTUAL_TLS,
        "ExternalSNI": Other(
            "1.6", "traffic leaves the mesh through no terminating gateway; let the application call it directly"
        ),
        "Destination": Other(
            "1.13", "traffic leaves the mesh through no terminating gateway; let the application call it directly"
        ),
        "BalanceInboundConnections": Other("1.14", "this is left to the kernel"),
        "RateLimits": Other("1.17", "requests are not counted; set MaxInboundConnections"),
        "EnvoyExtensions": _EXTENSIONS,
    },
    "Expose": {"Checks": Other("1.6", "checks come with events; name their paths in Paths")},
    "ExposePath": {"ParsedFromCheck": _told("1.6", "how Consul came to it")},
    "ServiceResolver": {**_ENTRY, "PrioritizeByLocality": _BY_LOCALITY},
    "Redirect": _ELSEWHERE,
    "Failover": {
        **_ELSEWHERE,
        "Policy": Other(
            "1.16",
            f"its modes are about localities: {_LOCALITY}",
            nothing=_SEQUENTIAL,
        ),
    },
    "FailoverTarget": _ELSEWHERE,
    "HashPolicy": {},
    "ServiceSplitter": _ENTRY,
    "Split": _ELSEWHERE,
    "ServiceRouter": _ENTRY,
    "Destination": _ELSEWHERE,
    "ServiceIntentions": {**_ENTRY, "JWT": _JWT},
    "SourceIntention": {
        **_ELSEWHERE,
        "Peer": Other("1.14", "clusters are not peered; who calls is a service of this mesh", nothing=("local",)),
        "SamenessGroup": Other("1.16", "there are no sameness groups; who calls is a service of this mesh"),
        "Precedence": _told("1.9", "it follows from the names"),
        "LegacyID": _told("1.9", "of an intention before 1.9"),
        "LegacyMeta": _told("1.9", "of an intention before 1.9"),
        "LegacyCreateTime": _told("1.9", "of an intention before 1.9"),
        "LegacyUpdateTime": _told("1.9", "of an intention before 1.9"),
    },
    "Permission": {"JWT": _JWT},
    "FailoverPolicy": _ENTRY,
    "Namespace": _ENTRY,
    "Registration": {
        **_STORED,
        "ID": _told("0.7", "the node's"),
        "Check": _told("0.1", "health comes from events"),
        "SkipNodeUpdate": _told("0.9", "there is no node that would change"),
        "Partition": _PARTITION,
        "PeerName": Other("1.13", "clusters are not peered; register it where it runs", nothing=("local",)),
        "Locality": _told("1.17", "instances have no locality"),
    },
    "RegisteredService": {
        **_STORED,
        "EnableTagOverride": _told("0.6", "tags come from events"),
        "ContentHash": _told("1.3", "a checksum of Consul's"),
        "Datacenter": _told("1.11", "the registration's own counts"),
        "SocketPath": Other("1.10", "Envoys of other hosts cannot reach a socket; give an address and a port"),
        "Connect": _told("1.3", "instances come from events"),
        "Ports": _PORTS,
        "Partition": _PARTITION,
        "PeerName": Other("1.13", "clusters are not peered; register it where it runs", nothing=("local",)),
        "Locality": _told("1.17", "instances have no locality"),
        "LocallyRegisteredAsSidecar": _told("1.3", "how Consul's agent came to it"),
    },
    "Proxy": _PROXY,
    "Upstream": {
        "DestinationPartition": _PARTITION,
        "DestinationPeer": Other("1.13", "clusters are not peered; name a Datacenter instead", nothing=("local",)),
        "LocalBindSocketPath": Other("1.10", "applications reach an upstream at an address; give LocalBindPort"),
        "LocalBindSocketMode": Other("1.10", "applications reach an upstream at an address; give LocalBindPort"),
        "DestinationPort": Other("by 2.0", "a sidecar stands before one port; name a service for each"),
        "CentrallyConfigured": _told("1.10", "how Consul came to it"),
        "IngressHosts": _told("1.8", "of ingress gateways"),
    },
    "CheckDefinition": {
        "Token": _told("0.1", "a token of Consul's"),
        "OutputMaxSize": _told("1.6", "output is cut to 4,096 characters"),
        "Namespace": _told("1.7", "that of its service counts"),
        "Partition": _PARTITION,
        "Script": Other("0.1", "write what is run as args"),
        "DockerContainerID": Other("0.5", "checks run on the host; write args that enter the container"),
        "Shell": Other("0.5", "checks run on the host; write args that enter the container"),
        "ScriptArgs": Other("1.0", "write what is run as args"),
        "H2PING": Other("1.10", "check with tcp, http or grpc"),
        "H2PingUseTLS": Other("1.11", "check with tcp, http or grpc", nothing=(True,)),
        "OSService": Other("1.15", "check with args, tcp or http"),
        "AliasNode": Other("1.2", "nodes have no health; name a service of this host as alias_service"),
    },
    "SidecarProxy": {
        **_PROXY,
        "DestinationServiceName": _told("1.3", "it is that of the service"),
        "DestinationServiceID": _told("1.3", "it is that of the service"),
    },
    "SidecarService": {
        "ID": _told("1.3", "it is that of the service and -sidecar-proxy"),
        "Name": _told("1.3", "it is that of the service and -sidecar-proxy"),
        "Kind": _told("1.3", "it is connect-proxy"),
        "Token": _told("1.3", "a token of Consul's"),
        "TaggedAddresses": Other("1.3", "write tagged_addresses at the service"),
        "Weights": Other("1.3", "write weights at the service"),
        "EnableTagOverride": _told("1.3", "nobody overrides tags"),
        "Ports": _PORTS,
        "Locality": _told("1.17", "instances have no locality"),
        "Namespace": _told("1.7", "it is that of the service"),
        "Partition": _PARTITION,
    },
    "Connect": {"Proxy": Other("1.2", "managed proxies ended with Consul 1.6; write a sidecar_service")},
    "GatewayProxy": {**_PROXY, "Expose": Other("1.6", "a mesh gateway has no application")},
    "ServiceDefinition": {
        "Token": _told("0.1", "a token of Consul's"),
        "Ports": _PORTS,
        "SocketPath": Other("1.10", "Envoys of other hosts cannot reach a socket; give an address and a port"),
        "Namespace": Other("1.7", "an agent's services are in namespace default", nothing=("default",)),
        "Partition": _PARTITION,
        "Locality": _told("1.17", "instances have no locality"),
    },
    "UpstreamSettings": {**_ESCAPES, "MeshGateway": Other("1.6", "write MeshGateway beside Config")},
    "UpstreamConfig": {**_ESCAPES, "Partition": _PARTITION, "Peer": _PEER},
}
"""By the name of the shape, then by the field."""

_IN: Final = "there are no gateways for what comes from outside; let it enter through an Envoy of yours"
_OUT: Final = "nothing carries traffic out of the mesh; let the application call it directly"
_KUBERNETES: Final = "on Kubernetes"

KUBERNETES_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(
        ("peering-acceptor", "peering-dialer"), (_KUBERNETES, "clusters are not peered; federate datacenters")
    ),
    "registration": (_KUBERNETES, _OUT),
    **dict.fromkeys(
        (
            "gateway-class-config",
            "gateway-policy",
            "mesh-service",
            "route-auth-filter",
            "route-retry-filter",
            "route-timeout-filter",
            "route-upstream-limits-filter",
            "route-ext-proc",
            "route-tlssds-filter",
        ),
        (_KUBERNETES, "it is about API gateways; let traffic enter through an Envoy of yours"),
    ),
}
"""Kinds of Consul's resources on Kubernetes that are no config entries."""

KINDS_ELSEWHERE: Final[Mapping[str, tuple[str, str]]] = {
    "ingress-gateway": ("1.8", _IN),
    "terminating-gateway": ("1.8", _OUT),
    "mesh": ("1.10", "its settings have no counterpart; set TLS in Envoy's bootstrap"),
    "exported-services": ("1.11", "there are no partitions or peers to export to; leave it out"),
    "sameness-group": ("1.16", "name its datacenters one by one in Failover"),
    "api-gateway": ("1.15", _IN),
    "bound-api-gateway": ("1.15", _IN),
    "http-route": ("1.15", "write a service-router instead"),
    "tcp-route": ("1.15", "write a service-resolver instead"),
    "inline-certificate": ("1.15", "certificates come from files or SDS"),
    "file-system-certificate": ("1.19", "certificates come from files or SDS"),
    "jwt-provider": ("1.16", "requests are not authenticated; let the application do it"),
    "control-plane-request-limit": ("1.17", "it is about Consul's own servers"),
    "rate-limit": ("by 2.0", "it is about Consul's own servers"),
    "inference-gateway": ("by 2.1", _OUT),
    **KUBERNETES_KINDS,
}
"""Kinds that Pointsman does not have: since which Consul, and why not or what instead."""

SINCE_KIND: Final[Mapping[str, str]] = {
    "ProxyDefaults": "1.5",
    "ServiceDefaults": "1.5",
    "ServiceResolver": "1.6",
    "ServiceSplitter": "1.6",
    "ServiceRouter": "1.6",
    "ServiceIntentions": "1.9",
    "Registration": "1.3",
}
"""Since which Consul there is an entry of the kind at all; other kinds are Pointsman's own."""

SINCE: Final[Mapping[str, Mapping[str, str]]] = {
    "ProxyDefaults": {"MeshGateway": "1.6", "Expose": "1.6", "Namespace": "1.7", "Meta": "1.8.4"},
    "ServiceDefaults": {
        "MeshGateway": "1.6",
        "Expose": "1.6",
        "Namespace": "1.7",
        "Meta": "1.8.4",
        "UpstreamConfig": "1.10",
        "MaxInboundConnections": "1.13",
        "LocalConnectTimeoutMs": "1.13.2",
        "LocalRequestTimeoutMs": "1.13.2",
    },
    "UpstreamSettings": {"Limits": "1.4", "PassiveHealthCheck": "1.6"},
    "PassiveHealthCheck": {
        "EnforcingConsecutive5xx": "1.13.2",
        "MaxEjectionPercent": "1.15",
        "BaseEjectionTime": "1.15",
    },
    "ServiceResolver": {"LoadBalancer": "1.9", "RequestTimeout": "1.13.7", "Meta": "1.8.4"},
    "ServiceSplitter": {"Meta": "1.8.4"},
    "Split": {"RequestHeaders": "1.11", "ResponseHeaders": "1.11"},
    "ServiceRouter": {"Meta": "1.8.4"},
    "HTTPMatch": {"CaseInsensitive": "1.18"},
    "Destination": {"IdleTimeout": "1.14.2", "RetryOn": "1.14", "RequestHeaders": "1.11", "ResponseHeaders": "1.11"},
    "Failover": {"Targets": "1.14"},
    "HeaderPermission": {"Contains": "1.20.1", "IgnoreCase": "1.20.1"},
    "Registration": {},
    "RegisteredService": {"Namespace": "1.7"},
    "Proxy": {"MeshGateway": "1.6", "Expose": "1.6"},
    "Upstream": {"MeshGateway": "1.6", "DestinationNamespace": "1.7"},
}
"""Since which Consul there are the fields that Pointsman reads, where that is later than their shape."""
