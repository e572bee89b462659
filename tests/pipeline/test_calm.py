"""Failback: a target that has just recovered waits for as long as its policy wants, and what waits is computed again at
the right moment, whoever dies meanwhile."""

import logging
from datetime import UTC, datetime

import pytest
from pointsman.model.events import HealthEvent
from pointsman.model.keys import MOMENT
from pointsman.pipeline import waits
from pointsman.pipeline.reconcile import reconcile
from pointsman.pipeline.wait_watch import WaitWatch
from pointsman.pipeline.waits import EVERYTHING, read_waits_object
from pointsman.store import keys
from pointsman.store.protocol import Stored

from tests.pipeline.memory import Crash
from tests.pipeline.meshes import (
    BEGINNING,
    event,
    gateway,
    gateway_instance,
    instance,
    policy,
    proxy_defaults,
    resolver,
    sidecar,
)
from tests.pipeline.place import Place, Writer

HEAD = "dc1/sidecar/web.default.dc1"
SNAPSHOT = keys.snapshot(HEAD)


class Mesh(Place):
    """Web serves in dc1 and fails over to dc2, whose traffic returns after ten seconds. Time passes only when told."""

    def __init__(self, *, mode: str = "local", failback_after: str = "10s", services: int = 1) -> None:
        super().__init__()
        self.second = 0.0
        self.index = 10
        self._keep_time(self)
        names = ["web", *(f"web{number}" for number in range(1, services))]
        self.configure(
            proxy_defaults(mode=mode),
            policy(FailbackAfter=failback_after),
            *(resolver(name, Failover={"*": {"Datacenters": ["dc2"]}}) for name in names),
            sidecar("client", *names),
            gateway("dc1"),
        )
        for dc in ("dc1", "dc2"):
            self.ingest(event(None, 1, [gateway_instance()], dc=dc))
            for name in names:
                self.ingest(event(name, 1, [instance(name)], dc=dc))
        self.watch = WaitWatch(self.engine)
        self.served = [(0.0, self.serves)]
        self.objects.watchers.append(self._note)

    def _keep_time(self, writer: Writer, ahead: float = 0.0) -> None:
        writer.engine._clock = lambda: datetime.fromtimestamp(BEGINNING + self.second + ahead, UTC)

    def another(self, ahead: float = 0.0) -> Writer:
        """One more process, whose clock is so many seconds ahead."""
        writer = super().another()
        self._keep_time(writer, ahead)
        return writer

    def says(self, status: str, dc: str = "dc1", service: str = "web") -> HealthEvent:
        """The next event about the one instance of a service: it happened now."""
        self.index += 1
        return event(service, self.index, one=instance(service, status=status), dc=dc, at=int(self.second))

    def hear(self, status: str, dc: str = "dc1", writer: Writer | None = None) -> HealthEvent:
        """The instance changes its health, and `writer` takes that in."""
        said = self.says(status, dc)
        (writer or self).ingest(said)
        return said

    def pass_time(self, seconds: float, *, step: float = 0.5) -> None:
        """Time passes, and the watch looks as often as `up` does."""
        end = self.second + seconds
        while self.second < end:
            self.second += step
            self.watch.look()

    @property
    def serves(self) -> str:
        """The datacenter that web's traffic goes to."""
        return self.head(HEAD).content.active.split(".")[2]

    def _note(self, old: Stored | None, new: Stored) -> None:
        if new.key == SNAPSHOT and self.serves != self.served[-1][1]:
            self.served.append((self.second, self.serves))

    @property
    def waits(self) -> dict[str, float]:
        """What waits, until which second."""
        found = read_waits_object(self.objects.objects.get(keys.WAITS), "").waits.due
        return {key: due / 1000 - BEGINNING for key, due in found.items()}


@pytest.mark.parametrize("mode", ["local", ""])
def test_an_instance_that_flaps_for_a_minute_moves_traffic_away_once_and_back_once(mode: str) -> None:
    mesh = Mesh(mode=mode)
    for number in range(20):
        mesh.hear("passing" if number % 2 else "critical")
        mesh.pass_time(3)
    last = mesh.second - 3
    mesh.pass_time(30)
    (_, first), (away, second), (back, third) = mesh.served
    assert (first, second, third) == ("dc1", "dc2", "dc1")
    assert away == 0
    assert last + 10 <= back <= last + 12
    assert mesh.promises.broken == []
    assert mesh.waits == {}


def test_what_nobody_waits_for_writes_nothing_and_what_is_needed_is_used_at_once() -> None:
    mesh = Mesh()
    assert keys.WAITS not in mesh.objects.objects
    mesh.hear("critical", "dc2")
    mesh.hear("critical")
    mesh.hear("passing")
    assert mesh.serves == "dc1"
    assert mesh.waits == {}
    mesh.pass_time(1)
    mesh.hear("passing", "dc2")
    assert mesh.serves == "dc1", "after an outage of all nobody leaves the primary"
    mesh.hear("critical")
    mesh.pass_time(5)
    mesh.hear("passing")
    assert mesh.serves == "dc2"
    mesh.pass_time(2)
    mesh.hear("critical", "dc2")
    assert mesh.serves == "dc1", "what is needed is used at once"
    mesh.pass_time(30)
    assert mesh.serves == "dc1"


def test_nothing_is_noted_while_an_earlier_wait_stands() -> None:
    mesh = Mesh()
    mesh.hear("critical")
    mesh.hear("passing")
    assert mesh.waits == {HEAD: 10}
    mesh.pass_time(4)
    mesh.hear("critical")
    mesh.pass_time(1)
    mesh.forget_the_past()
    mesh.hear("passing")
    assert keys.WAITS not in mesh.writes()
    mesh.pass_time(6)
    assert mesh.waits == {HEAD: 15}, "whoever computes it at the earlier moment finds the later one"
    mesh.pass_time(5)
    assert (mesh.serves, mesh.waits) == ("dc1", {})


def test_a_moment_is_part_of_the_provenance_only_where_the_policy_asks_for_one() -> None:
    mesh = Mesh(failback_after="0s")
    mesh.hear("critical")
    mesh.hear("passing")
    assert mesh.serves == "dc1"
    assert MOMENT not in mesh.head(HEAD).provenance.catalog
    mesh.configure(policy(FailbackAfter="10s"))
    mesh.hear("critical")
    said = mesh.hear("passing")
    assert mesh.serves == "dc2"
    assert MOMENT not in mesh.head(HEAD).provenance.catalog
    mesh.pass_time(11)
    assert mesh.serves == "dc1"
    assert mesh.head(HEAD).provenance.catalog[MOMENT] == (BEGINNING + 10) * 1000
    before = mesh.objects.objects[SNAPSHOT]
    mesh.pass_time(3600, step=600)
    mesh.ingest(said)
    reconcile(mesh.another().engine)
    assert mesh.objects.objects[SNAPSHOT] == before, "time alone stamps nothing"
    mesh.configure(policy(FailbackAfter="0s"))
    assert mesh.serves == "dc1"
    assert mesh.promises.broken == []


def test_a_writer_whose_clock_is_behind_takes_nothing_back() -> None:
    mesh = Mesh()
    mesh.hear("critical")
    mesh.hear("passing")
    ahead, behind = mesh.another(ahead=30), mesh.another(ahead=-30)
    WaitWatch(ahead.engine).look()
    assert mesh.serves == "dc1", "by its clock it is time"
    epoch = mesh.head(HEAD).provenance.epoch
    reconcile(behind.engine)
    behind.ingest(event("web", 9, [instance("web")], dc="dc2"))
    assert mesh.serves == "dc1"
    assert mesh.head(HEAD).provenance.epoch == epoch
    assert mesh.promises.broken == []


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("key", [keys.WAITS, SNAPSHOT])
def test_a_crash_before_the_acknowledgment_is_made_up_for_by_the_redelivery(key: str, moment: str) -> None:
    mesh = Mesh()
    mesh.hear("critical")
    said, dying = mesh.says("passing"), mesh.another()
    dying.crash("put", key, moment)  # type: ignore[arg-type]
    with pytest.raises(Crash):
        dying.ingest(said)
    mesh.another().ingest(said)
    assert mesh.waits == {HEAD: 10}
    mesh.pass_time(11)
    assert (mesh.serves, mesh.waits) == ("dc1", {})


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("key", [keys.WAITS, SNAPSHOT])
def test_a_look_that_dies_is_made_up_for_by_the_next_one_of_any_process(key: str, moment: str) -> None:
    mesh = Mesh()
    mesh.hear("critical")
    mesh.hear("passing")
    mesh.second += 11
    dying = mesh.another()
    dying.crash("put", key, moment)  # type: ignore[arg-type]
    with pytest.raises(Crash):
        WaitWatch(dying.engine).look()
    mesh.watch = WaitWatch(mesh.another().engine)
    mesh.pass_time(1)
    assert (mesh.serves, mesh.waits) == ("dc1", {})
    assert mesh.promises.broken == []


def test_reconcile_finds_what_waits_though_it_was_lost() -> None:
    mesh = Mesh()
    mesh.hear("critical")
    mesh.hear("passing")
    for lost in (None, b"damaged"):
        stored = mesh.objects.objects.pop(keys.WAITS)
        if lost is not None:
            mesh.objects.watchers.clear()
            mesh.objects.objects[keys.WAITS] = Stored(keys.WAITS, lost, stored.etag + "x")
        reconcile(mesh.another().engine)
        assert mesh.waits == {HEAD: 10}
    mesh.second += 11
    reconcile(mesh.another().engine)
    assert mesh.serves == "dc1", "and computes what is due by itself"


def test_of_too_many_that_wait_all_are_computed_at_the_first_moment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(waits, "MOST_WAITS", 2)
    mesh = Mesh(services=4)
    for name in ("web", "web1", "web2", "web3"):
        mesh.ingest(mesh.says("critical", service=name))
        mesh.ingest(mesh.says("passing", service=name))
        mesh.second += 1
    assert mesh.waits == {EVERYTHING: 10}
    mesh.pass_time(10)
    for name in ("web", "web1", "web2", "web3"):
        assert mesh.head(f"dc1/sidecar/{name}.default.dc1").content.active == f"{name}.default.dc1"
    assert mesh.waits == {}
