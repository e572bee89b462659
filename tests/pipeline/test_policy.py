"""A failover policy, and the health of gateways, from what is written to what is published."""

import pytest
from pointsman.overview.reading import read_now
from pointsman.pipeline.configure import Batch, configure

from tests.pipeline.meshes import (
    Document,
    event,
    gateway_instance,
    instance,
    policy,
    proxy_defaults,
    resolver,
    sidecar,
)
from tests.pipeline.place import Place

HEAD = "dc1/sidecar/web.default.dc1"


class Mesh(Place):
    """The sidecars of dc1 use web and api, which fail over to dc2 and then dc3; three instances and two gateways in
    each datacenter, all well."""

    def __init__(self, mode: str = "local") -> None:
        super().__init__()
        self.index = 0
        failover: Document = {"Failover": {"*": {"Datacenters": ["dc2", "dc3"]}}}
        self.configure(
            proxy_defaults(mode=mode),
            resolver("web", **failover),
            resolver("api", **failover),
            sidecar("client", "web", "api"),
        )
        for dc in ("dc1", "dc2", "dc3"):
            self.tell(dc, "passing", "passing", "passing")
            self.tell_gateways(dc, "passing", "passing")

    def tell(self, dc: str, *statuses: str, service: str = "web") -> list[str]:
        """The plans of which something new is published."""
        self.index += 1
        running = [instance(service, i, status) for i, status in enumerate(statuses, 1)]
        return [each.plan_key for each in self.ingest(event(service, self.index, running, dc=dc)).moved]

    def tell_gateways(self, dc: str, *statuses: str) -> list[str]:
        self.index += 1
        running = [gateway_instance(i, status) for i, status in enumerate(statuses, 1)]
        return [each.plan_key for each in self.ingest(event(None, self.index, running, dc=dc)).moved]

    @property
    def serves(self) -> str:
        return self.head(HEAD).content.active.split(".")[2]


def test_a_policy_takes_effect_when_it_is_written_and_ends_when_it_is_deleted() -> None:
    mesh = Mesh()
    mesh.tell("dc1", "passing", "critical", "critical")
    assert mesh.serves == "dc1"
    mesh.configure(policy("web", HealthyThreshold="50%"))
    assert mesh.serves == "dc2"
    assert mesh.head(HEAD).content.sentence == (
        "dc1: 1 of 3 healthy, but 2 are needed; "
        "dc2: first with a healthy instance, and enough of them, through the local gateways"
    )
    mesh.tell("dc1", "passing", "passing", "critical")
    assert mesh.serves == "dc1"
    mesh.tell("dc1", "passing", "critical", "critical")
    configure(mesh.engine, Batch(delete_entries=[("failover-policy", "default", "web")]))
    assert mesh.serves == "dc1"
    assert mesh.promises.broken == []


def test_a_services_own_policy_holds_as_a_whole_and_the_one_for_all_for_the_others() -> None:
    mesh = Mesh()
    for service in ("web", "api"):
        for dc in ("dc1", "dc2"):
            mesh.tell(dc, "passing", "critical", "critical", service=service)
    mesh.tell("dc2", "passing", "passing", "critical")
    mesh.configure(policy(HealthyThreshold=2))
    assert mesh.serves == "dc2"
    mesh.configure(policy("web", FailbackAfter="10s"))
    api = mesh.head("dc1/sidecar/api.default.dc1").content
    assert (mesh.serves, api.active) == ("dc1", "api.default.dc1"), "none has two healthy instances"
    mesh.tell("dc2", "passing", "passing", service="api")
    api = mesh.head("dc1/sidecar/api.default.dc1").content
    assert (mesh.serves, api.active) == ("dc1", "api.default.dc2"), "web's own policy sets no threshold"
    mesh.configure(policy("web", HealthyThreshold=2))
    assert mesh.serves == "dc2"


def test_a_policy_that_asks_for_nothing_changes_nothing() -> None:
    mesh = Mesh()
    before = mesh.head(HEAD)
    mesh.configure(policy(HealthyThreshold=1, Gateways="avoid"), policy("web", Meta={"team": "a"}))
    assert mesh.head(HEAD) == before


@pytest.mark.parametrize("mode", ["local", "remote"])
def test_a_gateway_that_falls_ill_is_another_version_of_what_is_stored_as_before(mode: str) -> None:
    mesh = Mesh(mode)
    dc = "dc1" if mode == "local" else "dc2"
    mesh.tell("dc1", "critical")
    before = mesh.head(HEAD)
    assert HEAD in mesh.tell_gateways(dc, "passing", "critical")
    ill = mesh.head(HEAD)
    assert ill.version == before.version + 1
    assert (ill.content.cluster, ill.content.assignment) == (before.content.cluster, before.content.assignment)
    assert len(ill.content.avoided) == 1
    place = "10.9.0.2:8443" if mode == "local" else "203.0.113.2:443"
    assert [each.avoided for each in read_now(mesh.engine).resolvers if each.service == "web"] == [(place,)]
    assert HEAD in mesh.tell_gateways(dc, "critical", "critical")
    assert mesh.head(HEAD).content == before.content, "if all are ill, all get traffic"
    assert HEAD not in mesh.tell_gateways(dc, "critical", "critical")
    assert mesh.head(HEAD).version == before.version + 2


@pytest.mark.parametrize("mode", ["local", "remote"])
def test_the_gateways_of_another_datacenter_count_as_soon_as_the_policy_asks_for_them(mode: str) -> None:
    mesh = Mesh(mode)
    mesh.tell("dc1", "critical")
    mesh.tell_gateways("dc2", "critical", "critical")
    assert mesh.serves == "dc2"
    mesh.configure(policy("web", Gateways="require"))
    assert mesh.serves == "dc3"
    assert "no way through well gateways leads to it" in mesh.head(HEAD).content.sentence
    mesh.tell_gateways("dc3", "critical", "critical")
    assert mesh.serves == "dc2", "where no way is well, the others decide"
    mesh.tell_gateways("dc3", "passing", "critical")
    assert mesh.serves == "dc3"
    mesh.tell_gateways("dc2")
    assert mesh.serves == "dc3"
    mesh.tell_gateways("dc2", "passing")
    assert mesh.serves == "dc2"
    mesh.configure(policy("web", Gateways="ignore"))
    mesh.tell_gateways("dc2", "critical", "passing")
    assert (mesh.serves, mesh.head(HEAD).content.avoided) == ("dc2", ())
    assert mesh.promises.broken == []
