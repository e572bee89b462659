"""Silence: a source that was not heard for its lease counts less than one that is heard, as soon as that is written."""

import pytest
from pointsman.model import lease
from pointsman.pipeline import renewals
from pointsman.pipeline.lapses import lapse
from pointsman.pipeline.observer import Observer
from pointsman.pipeline.reconcile import reconcile
from pointsman.store import keys
from pointsman.store.protocol import Stored

from tests.pipeline.memory import Crash
from tests.pipeline.meshes import alive, event, gateway, gateway_instance, instance, proxy_defaults, resolver, sidecar
from tests.pipeline.place import Place, Writer

DATACENTERS = ("dc1", "dc2", "dc3")
HEAD = "dc1/sidecar/web.default.dc2"
SILENCE = keys.silence("dc2")


class Mesh(Place):
    """The sidecars of dc1 use web, which serves in dc2 and fails over to dc3, then dc1; each datacenter has a source
    of its own with a lease of 30 s, and an observer looks."""

    def __init__(self, mode: str = "remote") -> None:
        super().__init__()
        self.configure(
            proxy_defaults(mode=mode),
            resolver("web", Redirect={"Datacenter": "dc2"}) if not mode else resolver("web", **FAILOVER),
            sidecar("client", {"DestinationName": "web", "Datacenter": "dc2"}),
            *(gateway(dc) for dc in DATACENTERS),
        )
        self.index = 10
        self.observer = Observer(self.engine)
        for dc in DATACENTERS:
            self.ingest(event("web", 1, [instance("web")], dc=dc, source=f"agent-{dc}", lease="30s"))
            self.ingest(event(None, 1, [gateway_instance()], dc=dc, source=f"agent-{dc}", lease="30s"))
        self.pass_time(0)

    def hear(self, *datacenters: str, writer: Writer | None = None) -> None:
        """Each source of these is heard once more."""
        for dc in datacenters:
            self.index += 1
            (writer or self).ingest(alive(self.index, dc=dc, source=f"agent-{dc}"))

    def pass_time(self, seconds: int, *speak: str) -> None:
        """The observer looks every second; these sources speak every ten."""
        for second in range(max(seconds, 1)):
            if speak and second % 10 == 0:
                self.hear(*speak)
            self.observer.look(1000 if seconds else 0)

    @property
    def serves(self) -> str:
        """The datacenter that web's traffic goes to."""
        return self.head(HEAD).content.active.split(".")[2]


FAILOVER = {"Failover": {"*": {"Datacenters": ["dc3", "dc1"]}}}


def test_a_dark_datacenter_is_left_after_its_lease_and_taken_again_when_it_speaks() -> None:
    mesh = Mesh()
    assert mesh.serves == "dc2"
    mesh.pass_time(29, "dc1", "dc3")
    assert mesh.serves == "dc2"
    mesh.pass_time(2, "dc1", "dc3")
    assert mesh.serves == "dc3"
    assert mesh.head(HEAD).content.sentence == (
        "dc2: 1 of 1 healthy, but nobody who tells of it is heard; "
        "dc3: first with a healthy instance that is heard of, through the gateways of dc3"
    )
    done = mesh.ingest(alive(99, dc="dc2", source="agent-dc2"))
    assert [each.plan_key for each in done.moved] == [HEAD]
    assert done.heard_again
    assert mesh.serves == "dc2"
    assert mesh.promises.broken == []


def test_two_dark_datacenters_are_left_for_the_third() -> None:
    mesh = Mesh()
    mesh.pass_time(32, "dc1")
    assert mesh.serves == "dc1"
    mesh.ingest(event("web", 20, [instance("web", status="critical")], dc="dc1", source="agent-dc1", lease="30s"))
    assert mesh.serves == "dc2", "a silent target serves before an ill one"


def test_total_silence_moves_nothing_and_neither_does_the_minute_after() -> None:
    mesh = Mesh()
    before = dict(mesh.objects.objects)
    mesh.pass_time(3600)
    mesh.pass_time(60, *DATACENTERS)
    moved = {key for key, stored in mesh.objects.objects.items() if before.get(key) != stored}
    assert {key for key in moved if not key.startswith("leases/")} == set()
    assert SILENCE not in mesh.objects.objects


def test_an_hour_of_renewals_writes_no_head_and_each_costs_one_small_write() -> None:
    mesh = Mesh()
    mesh.forget_the_past()
    mesh.hear("dc2")
    assert mesh.calls() == ["get_many", "put_many", "get_many"]
    mesh.forget_the_past()
    mesh.pass_time(3600, *DATACENTERS)
    assert {key.split("/")[0] for key in mesh.writes()} == {"leases"}
    assert len(mesh.writes()) == 3 * 360
    assert max(len(mesh.objects.objects[key].data) for key in mesh.objects.under("leases/")) < 400
    assert mesh.told == []


def test_a_redelivery_revives_nobody() -> None:
    mesh = Mesh()
    mesh.pass_time(32, "dc1", "dc3")
    assert mesh.serves == "dc3"
    for again in (
        event("web", 1, [instance("web")], dc="dc2", source="agent-dc2", lease="30s"),
        alive(1, dc="dc2", source="agent-dc2"),
    ):
        mesh.ingest(again)
        assert mesh.serves == "dc3"


def test_a_source_without_a_lease_is_always_heard() -> None:
    mesh = Mesh()
    mesh.ingest(event("web", 1, [instance("web", 2)], dc="dc2", source="consul"))
    mesh.pass_time(100, "dc1", "dc3")
    assert mesh.serves == "dc2", "one of its instances is told of by a source that is not silent"


def test_a_source_that_ends_its_lease_is_silent_no_more_and_never_again() -> None:
    mesh = Mesh()
    mesh.pass_time(32, "dc1", "dc3")
    mesh.ingest(alive(50, dc="dc2", source="agent-dc2", lease="0s"))
    assert mesh.serves == "dc2"
    mesh.pass_time(100, "dc1", "dc3")
    assert mesh.serves == "dc2"


def test_tiers_of_silent_targets_come_last() -> None:
    mesh = Mesh(mode="")
    mesh.configure(resolver("web", **FAILOVER))
    mesh.pass_time(32, "dc1", "dc3")
    (web,) = (key for key in mesh.objects.under("snapshots/dc1/sidecar/") if "web" in key)
    content = mesh.head(web.removeprefix("snapshots/")).content
    assert content.active == "web.default.dc3"
    assert content.check(), "the tiers are in order, and the SNI stays the primary's"


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("key", [SILENCE, keys.snapshot(HEAD)])
def test_a_crash_while_a_lapse_is_written_is_mended_by_the_next_look(key: str, moment: str) -> None:
    mesh = Mesh()
    mesh.crash("put", key, moment)  # type: ignore[arg-type]
    with pytest.raises(Crash):
        mesh.pass_time(32, "dc1", "dc3")
    mesh.observer = Observer(mesh.another().engine)
    mesh.pass_time(0)
    mesh.pass_time(32, "dc1", "dc3")
    assert mesh.serves == "dc3"
    assert mesh.promises.broken == []


def test_a_crash_before_the_readers_of_a_source_that_is_back_are_settled_is_mended_by_its_next_event() -> None:
    mesh = Mesh()
    mesh.pass_time(32, "dc1", "dc3")
    again = alive(77, dc="dc2", source="agent-dc2")
    dying = mesh.another()
    dying.crash("put", keys.snapshot(HEAD), "before")
    with pytest.raises(Crash):
        dying.ingest(again)
    assert mesh.serves == "dc3"
    done = mesh.another().ingest(again)
    assert not done.new, "it is the same event, delivered again"
    assert mesh.serves == "dc2", "acknowledged means published"
    assert mesh.promises.broken == []


def test_a_source_heard_while_its_lapse_is_written_is_not_silent() -> None:
    for key, moment in [(SILENCE, "before"), (SILENCE, "after")]:
        mesh = Mesh()
        other = mesh.another()
        mesh.once("put", key, moment, lambda mesh=mesh, other=other: mesh.hear("dc2", writer=other))  # type: ignore[arg-type,misc]
        mesh.pass_time(30, "dc1", "dc3")
        mesh.pass_time(1)
        mesh.pass_time(5, *DATACENTERS)
        assert mesh.serves == "dc2"
        assert mesh.promises.broken == []


def test_an_observer_never_writes_what_another_one_disproves() -> None:
    mesh = Mesh()
    mesh.hear("dc2")
    done = lapse(mesh.engine, {keys.lease("dc2", "agent-dc2"): (0, 1)})
    assert done.silent == ()
    assert SILENCE not in mesh.objects.objects


@pytest.mark.parametrize("damaged", [SILENCE, keys.lease("dc2", "agent-dc2")])
def test_damaged_objects_are_written_anew(damaged: str) -> None:
    mesh = Mesh()
    mesh.pass_time(32, "dc1", "dc3")
    stored = mesh.objects.objects[damaged]
    mesh.objects.objects[damaged] = Stored(damaged, b"damaged", stored.etag + "x")
    mesh.objects.watchers.clear()
    mesh.pass_time(40, "dc1", "dc3")
    assert mesh.serves == "dc3"
    mesh.hear("dc2")
    mesh.pass_time(60, *DATACENTERS)
    assert mesh.serves == "dc2"
    assert reconcile(mesh.engine).failed == ()


def test_a_datacenter_has_so_many_sources_with_leases_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "MOST_SOURCES", 3)
    place = Place()
    for number in range(3):
        assert place.ingest(alive(1, source=f"agent-{number}")).doubt == ""
    refused = place.ingest(event("web", 1, [instance("web")], source="one more", lease="30s"))
    assert refused.doubt == "its lease of 30s is not kept: 3 sources have one in dc1 already"
    assert refused.changed
    assert place.ingest(alive(2, source="agent-0")).new


def test_of_a_source_that_speaks_of_too_much_all_of_the_datacenter_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "MOST_CATALOGS", 1)
    mesh = Mesh()
    mesh.ingest(event("other", 20, [instance("other")], dc="dc2", source="agent-dc2", lease="30s"))
    mesh.pass_time(32, "dc1", "dc3")
    assert mesh.serves == "dc3"
