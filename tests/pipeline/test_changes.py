"""A manifest records what it changed, for servers that answer Envoys without a memory."""

from datetime import UTC, datetime, timedelta

import orjson
from pointsman.pipeline.configure import Batch, configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.xds.manifest import Change, SidecarManifest, read_manifest

from tests.pipeline.memory import Connection, MemoryStore
from tests.pipeline.meshes import resolver, sidecar

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "manifests/dc1/sidecar/default/s1"


class Mesh:
    """A store, and minutes that pass when told to."""

    def __init__(self) -> None:
        self.minutes = 0.0
        self._store = MemoryStore()
        self._engine = Engine(Connection(self._store), clock=lambda: BEGAN + timedelta(minutes=self.minutes))

    def upstreams(self, *services: str) -> Change | None:
        """Give s1 these upstreams: what its manifest then says that it changed."""
        documents = [*map(resolver, services), sidecar("s1", *services)]
        configure(self._engine, parse_documents(documents))
        return self.change

    def end(self) -> None:
        """Delete the registration of s1."""
        configure(self._engine, Batch(delete_registrations=["dc1/sidecar/default/s1"]))

    @property
    def change(self) -> Change | None:
        """What the manifest of s1 says that it changed."""
        manifest = read_manifest(orjson.loads(self._store.under(KEY)[KEY].data))
        assert isinstance(manifest, SidecarManifest)
        return manifest.change


def ids(*services: str) -> tuple[str, ...]:
    """Their clusters."""
    return tuple(f"{each}.default.dc1" for each in services)


def test_a_manifest_tells_which_clusters_came_and_which_left_lately() -> None:
    mesh = Mesh()
    assert mesh.upstreams("a", "b") is None, "nobody had anything before"
    mesh.minutes = 1
    assert mesh.upstreams("b", "c") == Change("2026-01-01T00:01:00.000Z", ids("c"), ids("a"))
    mesh.minutes = 2
    # An Envoy may not have asked in between.
    assert mesh.upstreams("b", "c", "d") == Change("2026-01-01T00:02:00.000Z", ids("c", "d"), ids("a"))
    assert mesh.upstreams("a", "b", "c") == Change("2026-01-01T00:02:00.000Z", ids("a", "c"), ids("d"))
    mesh.minutes = 30
    assert mesh.upstreams("b", "c") == Change("2026-01-01T00:30:00.000Z", (), ids("a"))
    mesh.minutes = 60
    assert mesh.upstreams("c", "b") is None, "other listeners for the same clusters"
    mesh.end()
    assert mesh.change is None
    assert mesh.upstreams("x") is None, "it began anew"
