"""Checks that every object from a store has to pass before it is delivered."""

from ipaddress import ip_address

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.message import DecodeError

from pointsman.chain.graph import HTTP_PROTOCOLS
from pointsman.delivery.drains import drained_clusters
from pointsman.model.duration import LONGEST_MS
from pointsman.model.inbound_bounds import LARGEST_COUNT, MOST_EXPOSED
from pointsman.model.names import is_plain_text, is_trust_domain
from pointsman.xds.content import InconsistentContent
from pointsman.xds.inbound import Inbound, is_log_path
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
        if manifest.inbound is not None:
            _check_inbound(manifest.inbound)
    elif isinstance(manifest, GatewayManifest) and not manifest.retired:
        _check_place("its listener", manifest.address, manifest.port)


def _check_inbound(inbound: Inbound) -> None:
    kind = HttpFilter if inbound.protocol in HTTP_PROTOCOLS else Filter
    for each in inbound.filters:
        try:
            found = kind.FromString(each)
        except DecodeError as error:
            raise InconsistentContent(f"not a serialized filter: {error}") from None
        if not found.name:
            raise InconsistentContent("it has a filter without a name")
    if not is_trust_domain(inbound.trust_domain):
        raise InconsistentContent(f'its trust domain is "{inbound.trust_domain}"')
    if not 0 < inbound.connect_timeout_ms <= LONGEST_MS or (inbound.request_timeout_ms or 0) > LONGEST_MS:
        raise InconsistentContent("its timeouts are no times that Envoy takes")
    if inbound.max_connections > LARGEST_COUNT or len(inbound.exposed) > MOST_EXPOSED:
        raise InconsistentContent("it has more connections or exposed paths than there may be")
    for exposed in inbound.exposed:
        if not exposed.path.startswith("/") or not is_plain_text(exposed.path):
            raise InconsistentContent(f'it exposes the path "{exposed.path}"')
        for port in (exposed.port, exposed.app_port):
            _check_place(f"exposed path {exposed.path}", "127.0.0.1", port)
    if (host := inbound.registered) is not None:
        _check_place("its public listener", *host.public)
        _check_place("its application", *host.app)
        if host.access_log and not is_log_path(host.access_log):
            raise InconsistentContent(f'it logs to "{host.access_log}", which is not an absolute path')


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
