"""Checks that every object from a store has to pass before it is delivered."""

from ipaddress import ip_address

from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.message import DecodeError

from pointsman.delivery.drains import drained_clusters
from pointsman.xds.content import InconsistentContent
from pointsman.xds.manifest import GatewayManifest, Manifest, SidecarManifest
from pointsman.xds.snapshot import Snapshot


def check_snapshot(cluster_id: str, snapshot: Snapshot) -> None:
    """Raise InconsistentContent unless an Envoy can accept `snapshot` for the cluster `cluster_id`."""
    if snapshot.version < 1:
        raise InconsistentContent(f"its version is {snapshot.version}, which is not a number from 1 on")
    name = snapshot.content.check()
    if not name.startswith(f"{cluster_id}.internal."):
        raise InconsistentContent(f'it has the cluster "{name}", which is another one\'s')


def check_manifest(manifest: Manifest) -> None:
    """Raise InconsistentContent unless an Envoy can accept the listeners that `manifest` has or leads to."""
    if isinstance(manifest, SidecarManifest):
        names = [_checked_name(listener) for listener in manifest.listeners]
        if len(names) != len(set(names)):
            raise InconsistentContent("two of its listeners have the same name")
        if strange := drained_clusters(manifest.listeners) - {*manifest.clusters}:
            raise InconsistentContent(f"a listener ends connections with {min(strange)}, which is none of its clusters")
    elif isinstance(manifest, GatewayManifest) and not manifest.retired:
        _check_place("its listener", manifest.address, manifest.port)


def _checked_name(serialized: bytes) -> str:
    try:
        listener = Listener.FromString(serialized)
    except DecodeError as error:
        raise InconsistentContent(f"not a serialized listener: {error}") from None
    if not listener.name:
        raise InconsistentContent("it has a listener without a name")
    place = listener.address.socket_address
    _check_place(f'listener "{listener.name}"', place.address, place.port_value)
    return str(listener.name)


def _check_place(what: str, address: str, port: int) -> None:
    try:
        ip_address(address)
    except ValueError:
        raise InconsistentContent(f'{what} has the address "{address}", which is not an IP address') from None
    if not 0 < port <= 65535:
        raise InconsistentContent(f"{what} has the port {port}")
