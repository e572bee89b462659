"""Which proxy: a service's sidecars in a datacenter, or one mesh gateway."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeAlias

from pointsman.model.names import ServiceName, is_identifier, is_label
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
    def directory(self) -> PurePosixPath:
        """Where its files are, below the adapter's directory."""
        return PurePosixPath(self.datacenter, self.namespace, self.service)

    @property
    def manifest_keys(self) -> tuple[str, ...]:
        """The keys of what says what it receives."""
        return (keys.sidecar_manifest(f"{self.datacenter}/{ServiceName(self.namespace, self.service)}"),)

    def snapshot_key(self, cluster_id: str) -> str:
        """The key of the head of one of its clusters."""
        return keys.snapshot(f"{self.datacenter}/sidecar/{cluster_id}")


@dataclass(frozen=True, slots=True)
class GatewayId:
    """One mesh gateway, by the ID of its registration."""

    datacenter: str
    id: str

    def __str__(self) -> str:
        return f"the mesh gateway {self.id} in {self.datacenter}"

    @property
    def directory(self) -> PurePosixPath:
        """Where its files are, below the adapter's directory."""
        return PurePosixPath(self.datacenter, "gateways", self.id)

    @property
    def manifest_keys(self) -> tuple[str, ...]:
        """The keys of what says what it receives: its own manifest, then the one that it shares."""
        return keys.gateway_manifest(self.datacenter, self.id), keys.gateways_manifest(self.datacenter)

    def snapshot_key(self, cluster_id: str) -> str:
        """The key of the head of one of its clusters."""
        return keys.snapshot(f"{self.datacenter}/gateway/{cluster_id}")


ProxyId: TypeAlias = SidecarId | GatewayId


def proxy_of(manifest_key: str) -> ProxyId | None:
    """Whose own manifest is under this key; None for one that is shared, and for a key that could be nobody's.

    Names become paths, so what is not a name is not taken for a proxy.
    """
    match manifest_key.removeprefix(keys.MANIFESTS).split("/"):
        case [datacenter, "gateways", gateway_id] if is_label(datacenter) and is_identifier(gateway_id):
            return GatewayId(datacenter, gateway_id)
        case [datacenter, namespace, service] if all(map(is_label, (datacenter, namespace, service))):
            return SidecarId(datacenter, namespace, service)
        case _:
            return None
