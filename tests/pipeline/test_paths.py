"""Paths between datacenters: what observers say of the gateways of others, from the event to what is published."""

import pytest
from pointsman.model.errors import InvalidInput
from pointsman.model.registration import parse_registration
from pointsman.pipeline.known import known_names
from pointsman.pipeline.observer import Observer
from pointsman.pipeline.reconcile import reconcile

from tests.pipeline.fresh import config_in, published, rebuilt
from tests.pipeline.meshes import (
    alive,
    event,
    gateway,
    gateway_instance,
    instance,
    path,
    policy,
    proxy_defaults,
    resolver,
    sidecar,
)
from tests.pipeline.place import Place, Writer

HEAD = "dc1/sidecar/web.default.dc2"
REMOTE = "dc1/gateway/dc2"
GATEWAYS = {"dc1": (9,), "dc2": (1, 2), "dc3": (3,)}


class Mesh(Place):
    """The sidecars and gateways of dc1 reach web in dc2, which fails over to dc3, through two gateways there."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.index = 10
        self.observer = Observer(self.engine)
        self.configure(
            proxy_defaults(mode=mode),
            resolver("web", Failover={"*": {"Datacenters": ["dc3"]}}),
            sidecar("client", {"DestinationName": "web", "Datacenter": "dc2"}),
            policy("web", Gateways="require"),
            gateway("dc1"),
        )
        for dc, numbers in GATEWAYS.items():
            self.ingest(event("web", 1, [instance("web")], dc=dc))
            self.ingest(event(None, 1, [gateway_instance(each) for each in numbers], dc=dc))

    def observe(self, source: str, *cut: int, lease: str = "", writer: Writer | None = None) -> None:
        """An observer in dc1 says which gateways it does not reach."""
        self.index += 1
        seen = [path(each, "critical" if each in cut else "passing") for each in (1, 2, 3)]
        (writer or self).ingest(event("gateway-paths", self.index, seen, source=source, lease=lease))

    def is_right(self) -> bool:
        return self.promises.broken == [] and published(self.objects) == rebuilt(self.objects)

    def now(self) -> tuple[str, int, int]:
        """Who serves, and how many gateways of dc2 get nothing from sidecars and from gateways of dc1."""
        assert self.is_right()
        head, remote = self.head(HEAD).content, self.head(REMOTE).content
        return head.active.split(".")[2], len(head.avoided), len(remote.avoided)


@pytest.mark.parametrize("mode", ["remote", "local"])
def test_where_a_path_is_cut_the_gateway_is_avoided_and_a_datacenter_that_nobody_reaches_is_left(mode: str) -> None:
    mesh, direct = Mesh(mode), int(mode == "remote")
    assert mesh.now() == ("dc2", 0, 0)
    mesh.observe("one", 2)
    assert mesh.now() == ("dc2", direct, 1)
    mesh.observe("two")
    assert mesh.now() == ("dc2", 0, 0), "somebody reaches it"
    mesh.observe("two", 1, 2)
    assert mesh.now() == ("dc2", direct, 1)
    mesh.observe("one", 1, 2)
    assert mesh.now() == ("dc3", 0, 0), "no path to dc2 is left"
    assert "no way through well gateways leads to it" in mesh.head(HEAD).content.sentence
    mesh.observe("one", 1, 2, 3)
    assert mesh.now() == ("dc3", 0, 0), "one of two observers reaches dc3"
    mesh.observe("one")
    assert mesh.now() == ("dc2", 0, 0)
    version = mesh.head(HEAD).version
    mesh.observe("one")
    assert mesh.head(HEAD).version == version, "what says nothing new is no new version"
    assert reconcile(mesh.engine).repaired == 0


def test_who_is_silent_counts_only_where_nobody_else_speaks() -> None:
    mesh = Mesh("remote")
    mesh.observe("one", lease="30s")
    mesh.observe("two", 1, 2, lease="30s")
    assert mesh.now() == ("dc2", 0, 0)
    for second in range(60):
        mesh.index += 1
        if second % 10 == 0:
            mesh.ingest(alive(mesh.index, source="two"))
        mesh.observer.look(1000)
    assert mesh.now() == ("dc3", 0, 0), "who reached them is silent"
    assert mesh.head(REMOTE).content.avoided == ()
    mesh.observe("two", 2, lease="30s")
    assert mesh.now() == ("dc2", 1, 1)
    for _ in range(60):
        mesh.observer.look(1000)
    assert mesh.now() == ("dc2", 1, 1), "total silence moves nothing"
    mesh.observe("one", lease="30s")
    assert mesh.now() == ("dc2", 0, 0)


def test_who_tells_of_gateways_while_they_appear_is_heard() -> None:
    mesh = Mesh("local")
    other = mesh.another()

    def see() -> None:
        other.ingest(event("gateway-paths", 99, [path(4, "critical")]))

    mesh.once("put", "manifests/dc1/gateways", "before", see)
    mesh.ingest(event(None, 1, [gateway_instance(4), gateway_instance(5)], dc="dc4"))
    assert mesh.is_right()
    assert [place for _, place, _ in mesh.head("dc1/gateway/dc4").content.avoided] == ["203.0.113.4"]


def test_paths_are_no_service() -> None:
    mesh = Mesh("local")
    mesh.observe("one", 1)
    assert "gateway-paths" not in str(sorted(published(mesh.objects)))
    known = known_names(mesh.engine, config_in(mesh.objects))
    assert "gateway-paths" not in {each.name for each in known.services}
    with pytest.raises(InvalidInput, match="rename it"):
        parse_registration(sidecar("gateway-paths"))
