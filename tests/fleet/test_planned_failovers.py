"""Planned failovers in a whole mesh: both targets live, traffic moves back and forth between them through gateways, and
no request notices."""

import contextlib
import time
from pathlib import Path

import pytest

from tests.fleet.client import Asker
from tests.fleet.judge import Mode, Point, Switch, wrong_names, wrong_switching
from tests.fleet.mesh import Mesh
from tests.fleet.process import wait_until
from tests.fleet.talk import Talk
from tests.fleet.ways import WAYS, Tongue, Way

pytestmark = pytest.mark.envoy

EVERYTHING: list[tuple[Way, Mode, str]] = [
    (way, mode, protocol) for way in WAYS for mode in ("local", "remote") for protocol in ("tcp", "http")
]


@pytest.mark.soak
@pytest.mark.parametrize(
    ("way", "mode", "protocol"), EVERYTHING, ids=[f"{way}; {mode}; {protocol}" for way, mode, protocol in EVERYTHING]
)
def test_two_hundred_planned_failovers_and_no_request_notices(
    way: Way, mode: Mode, protocol: str, tmp_path: Path
) -> None:
    # Over TCP every request is a connection with a handshake; HTTP shares connections between requests.
    play(way, mode, protocol, tmp_path, failovers=200, handshakes=30_000 if protocol == "tcp" else 200)


def test_planned_failovers_over_grpc_and_no_request_notices(tmp_path: Path) -> None:
    play(Way(Tongue.DELTA), "remote", "http", tmp_path, failovers=10, handshakes=10)


def play(way: Way, mode: Mode, protocol: str, directory: Path, failovers: int, handshakes: int) -> None:
    """So many failovers between dc2 and dc3, spread over so many handshakes at least."""
    with contextlib.ExitStack() as held:
        mesh = held.enter_context(Mesh(mode, directory, way, protocol=protocol, patient=True))
        askers: list[Asker] = [mesh.client]
        if protocol == "http":
            askers.append(talk := held.enter_context(Talk(*mesh.upstream)))
            talk.wait_for_answer("dc1", after=0.0)
        wrong, answered, old = [], 0, "dc1"
        for number in range(failovers + 1):
            new = "dc3" if number % 2 else "dc2"
            started = time.perf_counter()
            if number:
                reported = mesh.report("dc2", "critical" if new == "dc3" else "passing")
            else:
                reported = mesh.report("dc1", "critical")
            switched = min(asker.wait_for_answer(new, after=reported).done for asker in askers)
            answered += _answers(askers, new, switched, handshakes // (failovers + 1) + 1)
            settled = time.perf_counter()
            for asker in askers:
                asker.wait_past(settled)
                wrong += wrong_switching(asker.attempts(started, settled), Switch(old, new, None, reported, switched))
            old = new
        assert wrong == [], mesh.trouble()
        assert [asker.connections for asker in askers if isinstance(asker, Talk)] in ([], [1])
        # A connection is written down when it is over: over HTTP, when its target is no longer the one.
        wait_until(lambda: _served(mesh) >= handshakes, "the access logs")
        assert answered >= handshakes
    assert wrong_names(mesh.seen(), mesh.sni) == []


def _served(mesh: Mesh) -> int:
    """How many connections the sidecars of s2 had in the datacenters behind gateways."""
    return sum(map(len, mesh.seen(Point("sidecar", each) for each in ("dc2", "dc3")).values()))


def _answers(askers: list[Asker], who: str, since: float, at_least: int) -> int:
    """Wait for as many answers; how many there were."""

    def enough() -> int:
        found = sum(each.datacenter == who for asker in askers for each in asker.attempts(since))
        return found if found >= at_least else 0

    return wait_until(enough, f"{at_least} answers from {who}", timeout=60)
