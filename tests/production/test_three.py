"""Three datacenters without AWS: whatever dies, stands still or is cut off, traffic goes where it should, in time."""

import shutil
from pathlib import Path

import pytest

from tests.fleet.process import Ports, wait_until
from tests.fleet.seaweedfs import SeaweedFS
from tests.production.site import CHECK_S, DATACENTERS, LEASE_S, Production

pytestmark = [pytest.mark.envoy, pytest.mark.soak]

IN_TIME_S = CHECK_S + LEASE_S + 1.0
"""Seconds until a failover that nobody reports, with one second for all that comes after the verdict."""

BUSY = 3.0
"""How many times as long a busy machine may take."""


class Story:
    """What happens to a site, and after how many seconds a request was answered by whom it should be."""

    def __init__(self, site: Production) -> None:
        self.site, self.took = site, dict[str, float]()

    def tell(self, what: str, began: float, serving: str, within: float = IN_TIME_S) -> None:
        """What began at `began` makes `serving` serve."""
        self.took[what] = self.site.served_by(serving, began)
        assert self.took[what] <= within * BUSY, self.took

    def settle(self, *of: str) -> None:
        """Wait until each `up` (of those datacenters) knows that all is well."""
        for dc in of or DATACENTERS:
            wait_until(lambda dc=dc: self.site.knows_all(dc), f"the up of {dc} to know of all", timeout=120)  # type: ignore[misc]


def hosts_die(story: Story) -> None:
    """What happens to services, agents and whole hosts, with every control plane there."""
    site = story.site
    story.tell("the service dies", site.kill("dc1", "service"), "dc2")
    story.tell("the service is back", site.start("dc1", "service"), "dc1", within=2 * IN_TIME_S)
    story.settle()
    story.tell("the agent dies", site.kill("dc1", "agent"), "dc2")
    story.tell("the agent is back", site.start("dc1", "agent"), "dc1", within=2 * IN_TIME_S)
    story.settle()
    story.tell("the agent stands still", site.freeze("dc1", "agent"), "dc2")
    story.tell("the agent goes on", site.thaw("dc1", "agent"), "dc1")
    story.settle()
    # Nobody but the control plane of dc1 is left.
    for dc in ("dc2", "dc3"):
        site.kill(dc, "up")
    story.tell("the service dies, and the other control planes are dead", site.kill("dc1", "service"), "dc2")
    for dc in ("dc2", "dc3"):
        site.start(dc, "up")
    story.tell("the host that serves dies", site.kill("dc2", "host"), "dc3")
    story.tell("that host is back", site.start("dc2", "host"), "dc2", within=2 * IN_TIME_S)
    story.tell("the host that serves is cut off", site.cut("dc2"), "dc3")
    # Connections that were made meanwhile lead nowhere, and an agent tries again after ten seconds at most.
    story.tell("its network is back", site.mend("dc2"), "dc2", within=4 * IN_TIME_S)


def test_each_datacenter_decides_for_its_own_with_the_others_gone(tmp_path: Path) -> None:
    with Production(tmp_path) as site:
        story = Story(site)
        hosts_die(story)
        # Its own control plane dies, and with it the decision, until it is started again. What was said waits.
        site.kill("dc1", "up")
        site.start("dc1", "service")
        site.stays("dc2", seconds=3.0)
        story.tell("its control plane is started again", site.start("dc1", "up"), "dc1", within=4 * IN_TIME_S)
        story.settle()
        site.wait_for_all_that_was_acknowledged()
        a_store_is_put_back(story, tmp_path / "copy.db")
    _print("a file each", story)


def a_store_is_put_back(story: Story, copy: Path) -> None:
    """The drill of docs/production.md: a copy is made while all goes on, and put back when more has happened."""
    site, store = story.site, story.site.file("dc1")
    site.command("backup", "--store", store, copy)
    story.tell("the service dies after the copy was made", site.kill("dc1", "service"), "dc2")
    for up in site.parts("dc1", "up"):
        up.stop()
    for log in (f"{store}-wal", f"{store}-shm"):
        Path(log).unlink(missing_ok=True)
    shutil.copy(copy, store)
    site.command("recover", "--store", store)
    # The copy says that the service is well; whoever told of it hears that this store has not heard, and says it again.
    began = site.start("dc1", "up")
    wait_until(lambda: site.has_somebody_ill("dc1"), "the agent to say it again", timeout=120)
    story.took["the copy is in use, and what came later was said again"] = site.now() - began
    site.served_by("dc2", site.now())
    story.tell("the service is back, on the store put back", site.start("dc1", "service"), "dc1", within=2 * IN_TIME_S)
    story.settle()


def test_on_one_store_any_control_plane_may_die(tmp_path: Path) -> None:
    with Ports() as ports, SeaweedFS(tmp_path, ports) as server:
        server.wait_ready()
        with Production(tmp_path, server.objects) as site:
            _any_may_die(Story(site), server)


def _any_may_die(story: Story, server: SeaweedFS) -> None:
    site = story.site
    hosts_die(story)
    # The Envoys of dc1 had the streams of this one.
    site.kill("dc1", "up")
    story.tell("the service is back, the nearest control plane dead", site.start("dc1", "service"), "dc1")
    story.tell("the service dies, the nearest control plane dead", site.kill("dc1", "service"), "dc2")
    site.start("dc1", "up")
    site.freeze("dc2", "up")
    site.freeze("dc3", "up")
    story.tell("the others stand still", site.start("dc1", "service"), "dc1", within=4 * IN_TIME_S)
    site.thaw("dc2", "up")
    site.thaw("dc3", "up")
    story.settle()
    # The store is away: Envoys keep what they have.
    server.kill()
    site.kill("dc1", "service")
    site.stays("", seconds=3.0)
    server.start()
    story.tell("the store is back", site.now(), "dc2", within=4 * IN_TIME_S)
    site.wait_for_all_that_was_acknowledged()
    _print("one store", story)


def _print(what: str, story: Story) -> None:
    for name, seconds in story.took.items():
        print(f"{what}: {name}: {seconds:.1f} s")
