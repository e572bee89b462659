"""Mesh gateways fall ill: nothing is sent to one that is ill while another is well, and where the policy asks for a way
through well ones, traffic leaves a datacenter that has none."""

import contextlib
import time
from pathlib import Path

import pytest
from pointsman.model.upstream_config import Mode

from tests.adapter.control import policy
from tests.adapter.doubles import Remote
from tests.adapter.fetching import Fetching
from tests.adapter.published import DATACENTERS
from tests.adapter.switching import Switching, failures, wait_for_switch
from tests.fleet.client import Client, patient
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import TONGUES, Tongue, Way

pytestmark = pytest.mark.envoy


@pytest.mark.parametrize("mode", ["local", "remote"])
@pytest.mark.parametrize("way", TONGUES, ids=str)
def test_of_two_gateways_the_ill_one_gets_nothing_and_no_request_fails(
    way: Way, mode: Mode, store: Remote, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        mesh = held.enter_context(Switching(mode, "tcp", store, tmp_path, ports))
        where = "dc1" if mode == "local" else "dc2"
        places = {"one": mesh.gateways[where], "two": (DATACENTERS[where], ports.take(DATACENTERS[where]))}
        names = {"one": where, "two": "two"}
        mesh.targets.add("two", places["two"])
        mesh.control.report_gateways(places, dc=where)
        fetching = held.enter_context(Fetching(way, store, tmp_path, ports, mesh.authority))
        client = held.enter_context(patient("127.0.0.1", mesh.upstream))
        client.wait_for_answer("dc2", after=0.0)
        wait_until(lambda: len(mesh.targets.handshakes) == 2, "both gateways to be used")
        begin = time.perf_counter()

        def fall_ill(ill: str, well: str) -> None:
            # It still answers those who come late; then it is gone, as a gateway that is ill may be.
            mesh.control.report_gateways(places, dc=where, ill={ill})
            wait_until(lambda: not _is_asked(mesh, names[ill], client), f"nobody to come to gateway {ill}")
            mesh.targets.remove(names[ill])
            before = mesh.targets.handshakes[names[well], "dc2"]
            wait_until(lambda: mesh.targets.handshakes[names[well], "dc2"] > before + 100, "a hundred answers")
            mesh.targets.add(names[ill], places[ill])

        fall_ill("one", well="two")
        fall_ill("two", well="one")
        assert failures([client], begin) == []
        assert (fetching.rejected(), fetching.rejections()) == ({}, [])


def _is_asked(mesh: Switching, gateway: str, client: Client) -> bool:
    """Whether a request of twenty more comes to the gateway."""
    before, now = mesh.targets.handshakes[gateway, "dc2"], time.perf_counter()
    wait_until(lambda: len(client.attempts(now)) >= 20, "twenty answers")
    client.wait_past(time.perf_counter())
    return mesh.targets.handshakes[gateway, "dc2"] > before


@pytest.mark.parametrize("mode", ["local", "remote"])
def test_where_a_way_is_required_traffic_leaves_a_datacenter_whose_gateways_are_dead(
    mode: Mode, store: Remote, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        mesh = held.enter_context(Switching(mode, "http", store, tmp_path, ports))
        fetching = held.enter_context(Fetching(Way(Tongue.DELTA), store, tmp_path, ports, mesh.authority))
        client = held.enter_context(patient("127.0.0.1", mesh.upstream))
        client.wait_for_answer("dc2", after=0.0)
        dead = {"gateway": mesh.gateways["dc2"]}
        mesh.control.report_gateways(dead, dc="dc2", ill=dead)
        # By default only the health of instances decides.
        wait_for_switch(client, "dc2")
        mesh.control.apply(policy(Gateways="require"))
        wait_for_switch(client, "dc3")
        wait_until(lambda: not _is_asked(mesh, "dc1" if mode == "local" else "dc2", client), "dc2 to be left")
        if mode == "remote":
            mesh.targets.remove("dc2")
        begin = time.perf_counter()
        wait_until(lambda: len(client.attempts(begin)) > 100, "a hundred answers")
        assert failures([client], begin) == []
        mesh.control.report_gateways(dead, dc="dc3", ill=dead)
        mesh.control.report_gateways(dead, dc="dc2")
        if mode == "remote":
            mesh.targets.add("dc2", mesh.gateways["dc2"])
        wait_for_switch(client, "dc2")
        assert fetching.rejected() == {}
