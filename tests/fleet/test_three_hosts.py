"""Three datacenters without anything that they share: each with its control plane, its store, its agent, its Envoys.

Whatever dies, stands still or is cut off, the callers in the first one are where they should be within the time of a
check and of a lease, and a client that counts finds nothing wrong in between.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleet.judge import Mode
from tests.fleet.mesh import Mesh
from tests.fleet.process import wait_until

LEASE_S = 3
SPARE_S = 20.0
"""Seconds that a busy machine may take beyond what is promised."""
PROMISED_S = 1.0 + 3.0 + LEASE_S
"""Seconds of a check's interval, of three probes, and of a lease."""


class Hosts:
    """The mesh, and a client that counts."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh

    def serves(self, datacenter: str) -> None:
        """From now on, all answers come from there, as soon as is promised, and nothing fails any more."""
        began = time.perf_counter()
        first = self.mesh.client.wait_for_answer(datacenter, after=began).done
        assert first - began < PROMISED_S + SPARE_S

        def steady() -> bool:
            found = self.mesh.client.attempts(time.perf_counter() - 1.0)
            return len(found) > 20 and {each.datacenter for each in found} == {datacenter}

        wait_until(steady, f"all answers to come from {datacenter}")

    def while_(self, happens: Callable[[], object], datacenter: str, ends: Callable[[], object], then: str) -> None:
        """What `happens` moves traffic to one datacenter, and its end to another one."""
        happens()
        self.serves(datacenter)
        ends()
        self.serves(then)


@pytest.mark.envoy
@pytest.mark.soak
@pytest.mark.parametrize("mode", ["local", "remote"])
def test_whatever_dies_stands_still_or_is_cut_off_traffic_is_where_it_should_be(tmp_path: Path, mode: Mode) -> None:
    with Mesh(mode, tmp_path, patient=True, lease_s=LEASE_S, probed=True, apart=True) as mesh:
        hosts, up, agent = Hosts(mesh), mesh.planes, mesh.agent("dc2")
        mesh.apply({"Kind": "failover-policy", "Name": "s2", "Gateways": "require"})
        hosts.serves("dc1")
        hosts.while_(lambda: mesh.kill_service("dc1"), "dc2", lambda: mesh.start_service("dc1"), "dc1")
        mesh.kill_service("dc1")
        hosts.serves("dc2")
        # Who tells of dc2 dies, or stands still: dc3 is heard of.
        hosts.while_(agent.kill, "dc3", agent.start, "dc2")
        hosts.while_(
            lambda: os.kill(agent.pid, signal.SIGSTOP), "dc3", lambda: os.kill(agent.pid, signal.SIGCONT), "dc2"
        )
        # The path between two datacenters is cut while both speak to all control planes.
        hosts.while_(mesh.paths["dc2"].cut, "dc3", mesh.paths["dc2"].mend, "dc2")
        hosts.while_(lambda: mesh.darken("dc2"), "dc3", lambda: mesh.lighten("dc2"), "dc2")
        # The control planes of the others are gone: dc1 goes on by itself.
        for other in ("dc2", "dc3"):
            up[other].kill()
        hosts.while_(lambda: mesh.kill_service("dc2"), "dc3", lambda: mesh.start_service("dc2"), "dc2")
        for other in ("dc2", "dc3"):
            up[other].start()
        # Its own is gone: Envoys go on with what they have, and afterwards with what happened meanwhile.
        up["dc1"].kill()
        hosts.serves("dc2")
        mesh.start_service("dc1")
        hosts.serves("dc2")
        up["dc1"].start()
        hosts.serves("dc1")
