"""What one Envoy of a sidecar gets beside what it shares with the others of its service: its own listeners, and the
clusters to its application.

Addresses are those of its host, so they stand in its node (`pointsman bootstrap` writes them), and everything shared is
made without them. What is own to it is laid over that when it is sent.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener

from pointsman.delivery.secret_source import ResourceSource, secrets_of
from pointsman.xds.inbound import Host, Inbound, IpPort
from pointsman.xds.public_listener import own_clusters, own_listeners

MOST_OWN: Final = 1024
"""Hosts whose own resources stay in memory as they were made; others are made anew for each answer."""


@dataclass(frozen=True, slots=True)
class OwnResource:
    """A cluster or a listener: its name, and serialized."""

    name: str
    serialized: bytes


@dataclass(frozen=True, eq=False, slots=True)
class Own:
    """An Envoy's own clusters, which have no endpoints to fetch, and its own listeners."""

    clusters: tuple[OwnResource, ...] = ()
    listeners: tuple[OwnResource, ...] = ()


STATIC: Final = (
    "its public listener is static: intentions do not reach it; print its bootstrap anew (`pointsman bootstrap`) and "
    "restart it"
)

NOTHING: Final = Own()
"""What a mesh gateway has of its own, and a sidecar whose bootstrap has its listener."""


@dataclass(frozen=True, slots=True)
class OwnOf:
    """Makes the own resources of every Envoy of a service, from what all have in common and from where they find their
    secrets. Equal ones make equal resources."""

    inbound: Inbound | None
    source: ResourceSource

    def of(self, host: Host | None) -> Own:
        """What the Envoy of `host` gets.

        Nothing without a `host`: its bootstrap is from before Pointsman delivered this, and has a listener of its own.
        """
        return NOTHING if self.inbound is None or host is None else _own(self.inbound, host, self.source)

    def unreached(self, host: Host | None) -> str:
        """Why intentions do not reach the Envoy of `host`; "" if they do, or there are none."""
        return STATIC if self.inbound is not None and self.inbound.filters and host is None else ""

    @property
    def any(self) -> Own:
        """What an Envoy of some host would get: it changes with everything that changes any of them."""
        return self.of(_SOME)


_SOME: Final = Host(IpPort("0.0.0.0", 1), IpPort("127.0.0.1", 1), "/dev/null")


@lru_cache(maxsize=MOST_OWN)
def _own(inbound: Inbound, host: Host, source: ResourceSource) -> Own:
    return Own(
        tuple(map(_resource, own_clusters(inbound, host))),
        tuple(map(_resource, own_listeners(inbound, host, secrets_of(source)))),
    )


def _resource(message: Cluster | Listener) -> OwnResource:
    return OwnResource(str(message.name), bytes(message.SerializeToString(deterministic=True)))
