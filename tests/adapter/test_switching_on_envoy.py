"""Targets switch back and forth under load, in every way to fetch: nothing fails, and no SNI meets another's endpoints.

What stands behind the sidecar here are TLS servers in the place of gateways; tests/fleet/test_planned_failovers.py
does the same in a whole mesh, with every combination.
"""

import contextlib
import time
from pathlib import Path

import pytest
from pointsman.model.upstream_config import Mode

from tests.adapter.doubles import Remote
from tests.adapter.fetching import Fetching
from tests.adapter.published import DATACENTERS
from tests.adapter.switching import Switching, failures, wait_for_switch
from tests.fleet.client import Asker, patient
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40
from tests.fleet.process import Ports, wait_until
from tests.fleet.talk import Talk
from tests.fleet.ways import TONGUES, WAYS, Tongue, Way

pytestmark = pytest.mark.envoy

FLIPS = 50
# Every way, and over all of them both modes with both protocols.
KINDS: list[tuple[Mode, str]] = [("local", "tcp"), ("remote", "http"), ("local", "http"), ("remote", "tcp")]
SWITCHES = [(way, *KINDS[number % 4]) for number, way in enumerate(WAYS)]


@pytest.mark.parametrize(
    ("way", "mode", "protocol"), SWITCHES, ids=[f"{way}; {mode}; {protocol}" for way, mode, protocol in SWITCHES]
)
def test_targets_switch_while_adapters_come_and_go_and_nothing_fails(
    way: Way, mode: Mode, protocol: str, store: Remote, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        mesh = held.enter_context(Switching(mode, protocol, store, tmp_path, ports))
        fetching = held.enter_context(Fetching(way, store, tmp_path, ports, mesh.authority))
        client = held.enter_context(patient("127.0.0.1", mesh.upstream))
        client.wait_for_answer("dc2", after=0.0)
        askers: list[Asker] = [client]
        if protocol == "http":
            # Over TCP a connection stays where it is.
            askers.append(talk := held.enter_context(Talk("127.0.0.1", mesh.upstream)))
            talk.wait_for_answer("dc2", after=0.0)
        begin, wrong = time.perf_counter(), []
        for flip in range(FLIPS):
            if flip % 20 == 10:
                fetching.stop_adapter()
                wrong += mesh.switch(askers, fetching.start_adapter)
            else:
                wrong += mesh.switch(askers)
        assert (wrong, failures(askers, begin)) == ([], [])
        assert [asker.connections for asker in askers if isinstance(asker, Talk)] in ([], [1])
        assert mesh.targets.seen == mesh.ways()
        # Where the SNI goes with the endpoints, health never touches the cluster, nor does another adapter.
        assert fetching.envoy.counters(r"cluster_manager\.cluster_(modified|removed)") == {
            "cluster_manager.cluster_modified": 0 if way.hostnames else FLIPS,
            "cluster_manager.cluster_removed": 0,
        }
        assert (fetching.rejected(), fetching.rejections()) == ({}, [])


@pytest.mark.parametrize("mode", ["local", "none"], ids=["measured", "priority tiers"])
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
def test_with_all_targets_unhealthy_the_answer_is_503_and_never_the_wrong_target(
    binary: Path, mode: Mode, store: Remote, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        mesh = held.enter_context(Switching(mode, "http", store, tmp_path, ports))
        fetching = held.enter_context(Fetching(Way(Tongue.DELTA, binary), store, tmp_path, ports, mesh.authority))
        talk = held.enter_context(Talk("127.0.0.1", mesh.upstream))
        # Who answers goes by the SNI; tiers have the primary's.
        talk.wait_for_answer("dc2" if mode == "local" else "dc1", after=0.0)
        for datacenter in DATACENTERS:
            mesh.report(datacenter, False)
        wait_until(lambda: talk.attempts(0.0)[-1].failure == "answered 503", "the answer to be 503")
        since = time.perf_counter()
        wait_until(lambda: len(talk.attempts(since)) > 100, "a hundred answers")
        assert {(each.datacenter, each.failure) for each in talk.attempts(since)} == {(None, "answered 503")}
        assert fetching.rejected() == {}


@pytest.mark.parametrize("mode", ["local", "remote"])
@pytest.mark.parametrize("way", TONGUES, ids=str)
def test_gateways_come_and_go_and_move_and_nothing_fails(way: Way, mode: Mode, store: Remote, tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        mesh = held.enter_context(Switching(mode, "tcp", store, tmp_path, ports))
        fetching = held.enter_context(Fetching(way, store, tmp_path, ports, mesh.authority))
        client = held.enter_context(patient("127.0.0.1", mesh.upstream))
        talk = held.enter_context(Talk("127.0.0.1", mesh.upstream, interval=0.01))
        askers: list[Asker] = [client, talk]
        begin = max(asker.wait_for_answer("dc2", after=0.0).done for asker in askers)
        where = "dc1" if mode == "local" else "dc2"
        place = {name: ("127.0.0.1", ports.take("127.0.0.1")) for name in ("second", "second, moved")}

        def told(**gateways: str) -> None:
            mesh.control.report_gateways({id_: place[name] for id_, name in gateways.items()}, dc=where)
            listening = {port for _, port in (place[name] for name in gateways.values())}
            wait_until(lambda: _ports(fetching) == listening, "the Envoy to know these gateways alone")

        def leave(gateway: str) -> None:
            """What an operator does with a gateway that was removed: when no connection arrives, it ends."""

            def quiet() -> bool:
                before, now = mesh.targets.handshakes[gateway, "dc2"], time.perf_counter()
                wait_until(lambda: len(client.attempts(now)) >= 20, "twenty answers")
                client.wait_past(time.perf_counter())
                return mesh.targets.handshakes[gateway, "dc2"] == before

            # An Envoy's workers learn of it a moment after its admin tells.
            wait_until(quiet, f"nobody to come to the gateway {gateway} any more")
            mesh.targets.remove(gateway)

        mesh.targets.add("second", place["second"])
        place["first"] = mesh.gateways[where]
        told(gateway="first", other="second")
        wait_until(lambda: mesh.targets.handshakes["second", "dc2"], "the one that came to be used")
        told(other="second")
        leave(where)
        mesh.targets.add("second, moved", place["second, moved"])
        told(other="second, moved")
        leave("second")
        wait_for_switch(client, "dc2")
        assert failures(askers, begin) == []
        # A connection of TCP stays where it is, also where its gateway is told of no more.
        assert talk.connections == 1
        assert mesh.targets.handshakes["second, moved", "dc2"] > 0
        assert {asked for _, asked in mesh.targets.seen} == {"dc2"}
        assert (fetching.rejected(), fetching.rejections()) == ({}, [])


def _ports(fetching: Fetching) -> set[int]:
    (hosts,) = (hosts for name, hosts in fetching.envoy.clusters().items() if name.startswith("s2."))
    return {host["address"]["socket_address"]["port_value"] for host in hosts}
