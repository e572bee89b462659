"""One filesystem adapter on one directory, and what an Envoy that reads there now would make of it."""

from collections.abc import Callable
from pathlib import Path

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from pointsman.adapter.files.files_adapter import OURS, FilesAdapter
from pointsman.adapter.files.inotify import Inotify, Usage
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.saved import Saved
from pointsman.delivery.deliver import EnvoyVersion
from pointsman.discovery.proxy import ProxyId, SidecarId
from pointsman.disk.lock import DirectoryLock
from pointsman.disk.operations import FileOperations
from pointsman.store.sqlite import SQLiteStore
from pointsman.xds.manifest import SidecarManifest

from tests.adapter.doubles import Clock
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, gateway_name

NEW, OLD = (1, 40, 0), (1, 39, 3)
S1 = SidecarId("dc1", "default", "s1")
MANIFEST = S1.manifest_keys[0]
WHERE = Path("dc1/sidecar/default/s1")


def listener(name: str) -> bytes:
    """A listener by that name, serialized."""
    made = Listener(name=name)
    made.address.socket_address.address, made.address.socket_address.port_value = "127.0.0.1", 9191
    return bytes(made.SerializeToString())


class Recorder(FileOperations):
    """Notes what is done to files, and dies of its own accord before the `deadly`th operation."""

    def __init__(self, deadly: int = -1, after_each: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.done: list[str] = []
        self.deadly = deadly
        self._after_each = after_each

    def replace(self, path: Path, data: bytes) -> None:
        """Put a file in place."""
        self._note("write", path)
        path.write_bytes(data)  # in order, and without waiting for the disk
        self._after_each()

    def remove(self, path: Path) -> None:
        """Remove a file."""
        self._note("remove", path)
        super().remove(path)
        self._after_each()

    def sync(self, directory: Path) -> None:
        """Nothing that a test could see."""

    def _note(self, what: str, path: Path) -> None:
        if len(self.done) == self.deadly:
            raise OSError(28, "No space left on device", str(path))
        self.done.append(f"{what} {path.name.partition('.')[0] if path.parent.name == 'eds' else path.name}")

    def take(self) -> list[str]:
        """What was done since the last time."""
        done, self.done = self.done, []
        return done


class Node:
    """One adapter on one directory: what an operator restarts."""

    def __init__(
        self,
        store: SQLiteStore,
        root: Path,
        clock: Clock,
        version: EnvoyVersion | None = NEW,
        usage: Usage | None = None,
        proxies: tuple[ProxyId, ...] = (S1,),
        operations: FileOperations | None = None,
        kept: Saved | None = None,
        locked: bool = False,
    ) -> None:
        self.recorder = operations or Recorder()
        self.follower = Follower(store, proxies, clock=clock, kept=kept)
        self.adapter = FilesAdapter(
            self.follower,
            root,
            version,
            inotify=Inotify(lambda: usage, clock=clock),
            operations=self.recorder,
            clock=clock,
            lock=DirectoryLock(root / OURS) if locked else None,
        )
        self.clock = clock

    def turn(self, after: float = 0.0) -> list[str]:
        """One look at the store `after` so many seconds: what was done to files."""
        self.clock.now += after
        self.adapter.on_change(self.follower.refresh())
        assert isinstance(self.recorder, Recorder)
        return self.recorder.take()


def manifest(*services: str, generation: int = 1) -> SidecarManifest:
    """What a sidecar with these upstreams receives."""
    names = tuple(f"{each}.default.dc1" for each in services)
    return SidecarManifest(generation, names, tuple(listener(each) for each in services))


def resources(file: Path | bytes) -> list[bytes]:
    """What a file holds, or one of this content."""
    data = file if isinstance(file, bytes) else file.read_bytes()
    return [each.value for each in DiscoveryResponse.FromString(data).resources]


def clusters(of: Path | bytes) -> dict[str, Cluster]:
    """By service, the clusters of the cds.pb in a directory, or of one of this content."""
    found = map(Cluster.FromString, resources(of if isinstance(of, bytes) else of / "cds.pb"))
    return {each.name.partition(".")[0]: each for each in found}


def endpoints(cluster: Cluster) -> ClusterLoadAssignment:
    """What is in the file that `cluster` names, or in the cluster itself."""
    if cluster.type == Cluster.DiscoveryType.STRICT_DNS:
        return cluster.load_assignment
    (found,) = resources(Path(cluster.eds_cluster_config.eds_config.path_config_source.path))
    return ClusterLoadAssignment.FromString(found)


def serving(of: Path | bytes, service: str = "s2") -> str:
    """The datacenter that an Envoy on these `clusters` sends to now: SNI, address and identities have to agree."""
    cluster = clusters(of)[service]
    assignment = endpoints(cluster)
    tls = UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
    assert assignment.cluster_name == cluster.name
    (first, *_) = assignment.endpoints
    (endpoint,) = (each.endpoint for each in first.lb_endpoints)
    datacenter = (endpoint.hostname if tls.auto_host_sni else tls.sni).split(".")[2]
    address = endpoint.address.socket_address.address
    assert address in (DATACENTERS[datacenter], gateway_name(datacenter))
    validation = tls.common_tls_context.combined_validation_context.default_validation_context
    identities = [each.matcher.exact for each in validation.match_typed_subject_alt_names]
    assert f"spiffe://{TRUST_DOMAIN}/ns/default/dc/{datacenter}/svc/{service}" in identities
    return datacenter
