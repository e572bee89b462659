"""A datacenter that burns sends no event: `pointsman up` leaves it when the leases of its sources are over."""

import json
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import run
from pointsman.machine.observing import LONGEST_S, SHORTEST_S, Observing
from pointsman.pipeline.lapses import Lapsed
from pointsman.pipeline.observer import Observer
from pointsman.store.protocol import StoreUnavailable

from tests.fleet.control_plane import Pointsman
from tests.fleet.process import wait_until
from tests.machine.test_up import endpoint_port
from tests.pipeline.meshes import gateway, instance, proxy_defaults, resolver, sidecar

LEASE_S = 3.0
PORTS = {"dc2": 2002, "dc3": 2003}


class Agents:
    """What tells of dc2 and dc3: each a source with a lease, which it renews at a third of it as long as it lives."""

    def __init__(self, pointsman: Pointsman) -> None:
        self._pointsman, self._stop, self._indexes = pointsman, threading.Event(), count(1)
        self.alive = set(PORTS)
        self.last_heard = 0.0
        for datacenter, port in PORTS.items():
            one = instance("web")
            one["Service"] |= {"Address": "127.0.0.1", "Port": port}
            self.send("Service Health Changed", datacenter, Service="web", Instances=[one])
        self._thread = threading.Thread(target=self._renew)

    def send(self, kind: str, datacenter: str, **detail: Any) -> None:
        """One event of the agent of `datacenter`."""
        said = {"Source": f"agent-{datacenter}", "Index": next(self._indexes), "Datacenter": datacenter, "Lease": "3s"}
        self._pointsman.send({"detail-type": kind, "detail": {**said, **detail}})

    def _renew(self) -> None:
        while not self._stop.wait(LEASE_S / 3):
            for datacenter in sorted(self.alive):
                self.send("Source Alive", datacenter)
                self.last_heard = time.monotonic() if datacenter == "dc2" else self.last_heard

    def __enter__(self) -> "Agents":
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()


def test_a_dark_datacenter_is_left_after_its_lease_and_every_page_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pointsman = Pointsman(tmp_path, "td")
    path = tmp_path / "mesh.json"
    redirect = resolver("web", Failover={"*": {"Datacenters": ["dc3"]}})
    upstream = {"DestinationName": "web", "Datacenter": "dc2", "LocalBindPort": 5000}
    path.write_text(json.dumps([proxy_defaults(), redirect, sidecar("s1", upstream), gateway("dc2")]))
    pointsman.apply([path])

    def seen() -> Any:
        capsys.readouterr()
        assert run(["status", "--store", str(pointsman.store), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    def serves() -> str:
        return str(seen()["resolvers"][0]["active"])

    with pointsman, Agents(pointsman) as agents:
        wait_until(lambda: endpoint_port(pointsman, "web") == PORTS["dc2"], "the files to have dc2")
        time.sleep(LEASE_S)
        assert serves() == "web.default.dc2", "renewals are enough"
        agents.alive.discard("dc2")
        wait_until(lambda: endpoint_port(pointsman, "web") == PORTS["dc3"], "dc2 to be left")
        assert time.monotonic() - agents.last_heard >= LEASE_S * 0.9, "it was not left before its lease was over"
        assert serves() == "web.default.dc3"
        silent, heard = seen()["sources"]
        assert (silent["source"], bool(silent["silent_since"])) == ("agent-dc2", True)
        assert (heard["source"], heard["silent_since"]) == ("agent-dc3", "")
        assert run(["status", "--store", str(pointsman.store)]) == 0
        told = capsys.readouterr().out
        assert "2 sources with a lease, 1 silent" in told
        assert "dc2: 1 of 1 healthy, but nobody who tells of it is heard; dc3: first with a healthy instance" in told
        assert "agent-dc2  lease 3s, tells of 1 service, last heard at" in told
        assert "SILENT since" in told
        # Who is silent is read at the beginning of a look.
        silent_now = b'pointsman_source_silent{datacenter="dc2",source="agent-dc2"} 1.0'
        wait_until(lambda: silent_now in pointsman.page("/metrics"), "the metric")
        metrics = pointsman.page("/metrics").decode()
        assert 'pointsman_source_silent{datacenter="dc3",source="agent-dc3"} 0.0' in metrics
        assert 'pointsman_source_unheard_seconds{datacenter="dc2",source="agent-dc2"}' in metrics
        wait_until(lambda: "silent: agent-dc2 in dc2 was not heard for its lease of 3s" in pointsman.tail(), "the log")
        agents.send("Source Alive", "dc2")
        assert serves() == "web.default.dc2", "acknowledged means published"


class Shortest(Observer):
    """An observer whose shortest lease is given, and which notes how much time passed before each look."""

    def __init__(self, shortest_ms: int = 3_000, then: Callable[[], None] = lambda: None) -> None:
        self._known = {}
        self._shortest, self._then, self.elapsed = shortest_ms, then, list[int]()

    @property
    def shortest_ms(self) -> int:
        """The shortest lease."""
        return self._shortest

    def look(self, elapsed_ms: int) -> Lapsed | None:
        """Note it."""
        self.elapsed.append(elapsed_ms)
        self._then()
        return None


def test_how_often_leases_are_looked_at_follows_from_the_shortest() -> None:
    found = [Observing(Shortest(lease), print).pause_s for lease in (0, 3_000, 32_000, 86_400_000)]
    assert found == [LONGEST_S, SHORTEST_S, 1.0, LONGEST_S]


def test_time_in_which_the_process_stood_still_does_not_count_and_a_failing_look_is_survived() -> None:
    moments = iter([0.0, 3600.0, *(3600.1 + number for number in range(1000))])

    def fails() -> None:
        raise StoreUnavailable("the store is away")

    observer = Shortest(then=fails)
    observing = Observing(observer, print, clock=lambda: next(moments))
    observing.start()
    wait_until(lambda: len(observer.elapsed) == 2, "it to look again after a failure")
    assert observing.alive
    assert "the store is away" in observing.problem
    observing.stop()
    assert observer.elapsed[0] == round(2 * SHORTEST_S * 1000), "an hour passed by the clock"
