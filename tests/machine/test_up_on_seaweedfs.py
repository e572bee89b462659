"""Two `pointsman up` on one bucket of a real object store: whoever is killed, nothing acknowledged is lost."""

import random
import threading
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.fleet.ceph import INSTALLED, Ceph
from tests.fleet.control_plane import Pointsman
from tests.fleet.object_store import Bucket
from tests.fleet.process import FleetError, Ports, wait_until
from tests.fleet.seaweedfs import SeaweedFS
from tests.machine.test_up import SERVICES, endpoint_port, event, sidecar

_PATIENCE_S = 120.0

pytestmark = pytest.mark.objectstore


class Site:
    """Two `pointsman up` on one bucket, each with files of its own, and what either of them acknowledged."""

    def __init__(self, directory: Path, bucket: Bucket) -> None:
        self.ups = []
        for name in ("one", "other"):
            (directory / name).mkdir()
            self.ups.append(Pointsman(directory / name, "td", bucket=bucket))
        self.acknowledged = dict.fromkeys(SERVICES, 0)
        self._index = dict.fromkeys(SERVICES, 0)

    def produce(self, stop: threading.Event) -> list[threading.Thread]:
        """Send events of each service, now to one and now to the other, until told to `stop`."""

        def send(service: str) -> None:
            while not stop.is_set():
                self._index[service] += 1
                index = self._index[service]
                try:
                    self.ups[index % 2].send(event(service, index))
                except (OSError, HTTPException, FleetError):
                    stop.wait(0.05)  # it is dead, or the store is: the other one gets the next
                else:
                    self.acknowledged[service] = index

        threads = [threading.Thread(target=send, args=(service,)) for service in SERVICES]
        for thread in threads:
            thread.start()
        return threads

    def wait_delivered(self) -> None:
        """Return when the files of both have what was acknowledged, or what came after it."""
        for service in SERVICES:
            for up in self.ups:
                wait_until(
                    lambda service=service, up=up: endpoint_port(up, service) >= self.acknowledged[service],
                    f"both to have what was acknowledged of {service}\n{up.tail()}",
                    timeout=_PATIENCE_S,
                )


def live(site: Site, chance: random.Random, rounds: int, weed: SeaweedFS | None = None) -> None:
    """So many `rounds` of events, each of which ends with a kill of one, of both, or of `weed`."""
    for number in range(rounds):
        stop, before = threading.Event(), dict(site.acknowledged)
        producers, more = site.produce(stop), chance.randrange(2, 12)
        wait_until(
            lambda before=before, more=more: all(site.acknowledged[each] > before[each] + more for each in SERVICES),
            "events to be acknowledged",
            timeout=_PATIENCE_S,
        )
        killed = [site.ups[:1], site.ups[1:], site.ups][number % 3]
        with_store = weed is not None and number % 2 == 1
        if with_store and weed is not None:
            weed.kill()
        for up in killed:
            up.kill()
        stop.set()
        for producer in producers:
            producer.join()
        if with_store and weed is not None:
            weed.start()
            weed.wait_ready()
        for up in killed:
            up.start()
        site.wait_delivered()


def test_two_on_one_bucket_are_killed_and_nothing_that_was_acknowledged_is_lost(
    tmp_path: Path, seaweedfs: SeaweedFS
) -> None:
    site = Site(tmp_path, seaweedfs.bucket("two-ups"))
    site.ups[0].apply([sidecar(tmp_path)])
    with ExitStack() as running:
        for up in site.ups:
            running.enter_context(up)
        live(site, random.Random(1), rounds=2)


@pytest.mark.soak
def test_so_it_is_for_long_and_when_the_store_is_killed_too(tmp_path: Path) -> None:
    with Ports() as ports, SeaweedFS(tmp_path, ports) as weed, ExitStack() as running:
        weed.wait_ready()
        site = Site(tmp_path, weed.bucket("two-ups"))
        site.ups[0].apply([sidecar(tmp_path)])
        for up in site.ups:
            running.enter_context(up)
        live(site, random.Random(2), rounds=18, weed=weed)


@pytest.mark.soak
@pytest.mark.skipif(not INSTALLED, reason="needs Debian's ceph-common, ceph-mon, ceph-osd and radosgw")
def test_so_it_is_on_ceph(tmp_path: Path) -> None:
    with Ports() as ports, Ceph(tmp_path, ports) as ceph, ExitStack() as running:
        site = Site(tmp_path, ceph.objects.bucket("two-ups", probed=False))
        site.ups[0].apply([sidecar(tmp_path)])
        for up in site.ups:
            running.enter_context(up)
        live(site, random.Random(3), rounds=6)
