"""Names of proxies: a service's sidecars in a datacenter, or one mesh gateway."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeAlias

from pointsman.model.keys import (
    datacenter_of,
    gateway_in,
    gateway_key,
    gateway_plan_key,
    sidecar_in,
    sidecar_key,
    sidecar_plan_key,
)
from pointsman.model.names import ServiceName
from pointsman.store import keys


@dataclass(frozen=True, slots=True)
class SidecarId:
    """The sidecars of one service in one datacenter: they all receive the same."""

    datacenter: str
    namespace: str
    service: str

    def __str__(self) -> str:
        return f"the sidecar of {self.namespace}/{self.service} in {self.datacenter}"

    @property
    def key(self) -> str:
        """The key of its registration."""
        return sidecar_key(self.datacenter, ServiceName(self.namespace, self.service))

    @property
    def directory(self) -> PurePosixPath:
        """Where its files are, below the adapter's directory."""
        return PurePosixPath(self.key)

    @property
    def manifest_keys(self) -> tuple[str, ...]:
        """The key of its manifest."""
        return (keys.manifest(self.key),)

    def snapshot_key(self, cluster_id: str) -> str:
        """The key of the head of one of its clusters."""
        return keys.snapshot(sidecar_plan_key(self.datacenter, cluster_id))


@dataclass(frozen=True, slots=True)
class GatewayId:
    """One mesh gateway, by the ID of its registration."""

    datacenter: str
    id: str

    def __str__(self) -> str:
        return f"the mesh gateway {self.id} in {self.datacenter}"

    @property
    def key(self) -> str:
        """The key of its registration."""
        return gateway_key(self.datacenter, self.id)

    @property
    def directory(self) -> PurePosixPath:
        """Where its files are, below the adapter's directory."""
        return PurePosixPath(self.key)

    @property
    def manifest_keys(self) -> tuple[str, ...]:
        """The keys of its own manifest and of the roster."""
        return keys.manifest(self.key), keys.gateways_manifest(self.datacenter)

    def snapshot_key(self, cluster_id: str) -> str:
        """The key of the head of one of its clusters."""
        return keys.snapshot(gateway_plan_key(self.datacenter, cluster_id))


ProxyId: TypeAlias = SidecarId | GatewayId


def proxy_of(manifest_key: str) -> ProxyId | None:
    """The proxy whose own manifest has this key; None for a roster, and for an invalid key."""
    return read_proxy(keys.proxy_of(manifest_key))


def read_proxy(key: str) -> ProxyId | None:
    """The proxy whose registration has this key; None for another key.

    Names become paths, so an invalid name gives None.
    """
    if (service := sidecar_in(key)) is not None:
        return SidecarId(datacenter_of(key), service.namespace, service.name)
    if (gateway_id := gateway_in(key)) is not None:
        return GatewayId(datacenter_of(key), gateway_id)
    return None
