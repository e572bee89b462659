"""`OnSwitch: drain`: connections that are open follow a switch too, those of its listener and no others."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pointsman.model.upstream_config import Mode
from pointsman.store.protocol import Store

from tests.adapter import targets
from tests.adapter.control import Control, defaults, instance, proxy_defaults, resolver, s1
from tests.adapter.doubles import Remote
from tests.adapter.fetching import Fetching
from tests.adapter.lines import Lines
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import patient
from tests.fleet.process import Ports, wait_until
from tests.fleet.talk import Talk
from tests.fleet.ways import TONGUES, WAYS, Way

pytestmark = pytest.mark.envoy

# Envoy counts whole seconds: in the first it tells no HTTP connection to go, and after the last it closes the rest.
DRAIN_S = {"tcp": 1, "http": 3}
UPDATES = "listener_manager.listener_in_place_updated"


@dataclass(slots=True)
class Drained:
    """s1 in dc1 calls s2, whose switches end connections, and s3, whose switches do not. Both are ill in dc1, and well
    in dc2 and dc3, which gateways lead to, or in tiers."""

    control: Control
    fetching: Fetching
    ports: dict[str, int]
    places: dict[str, targets.Place]
    mode: Mode

    def report(self, service: str, datacenter: str, *statuses: str) -> None:
        """The health of a service in a datacenter: of as many instances as there are statuses."""
        ip, port = self.places[datacenter]
        listed = [instance(service, (ip, port + number), status) for number, status in enumerate(statuses)]
        self.control.report(service, *listed, dc=datacenter)

    def updates(self) -> int:
        """How often the Envoy has replaced the filter chain of a listener."""
        return self.fetching.envoy.stats([UPDATES]).get(UPDATES, 0)


@contextlib.contextmanager
def drained(way: Way, mode: Mode, protocol: str, store: Store, directory: Path) -> Iterator[Drained]:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        authority = CertificateAuthority(directory / "ca", TRUST_DOMAIN)
        upstreams = {service: ports.take("127.0.0.1") for service in ("s2", "s3")}
        places = targets.places(ports, DATACENTERS)
        # In tiers, the instances answer; gateways answer who was asked for.
        serving = targets.instances if mode == "none" else targets.gateways
        held.enter_context(serving(authority, "s2", places))
        control = Control(store)
        for service in upstreams:
            control.apply(
                defaults(service, Protocol=protocol), resolver(service, Failover={"*": {"Datacenters": ["dc2", "dc3"]}})
            )
        control.apply(
            proxy_defaults(mode),
            {"Kind": "failover-policy", "Name": "s2", "OnSwitch": "drain"},
            s1(**upstreams),
        )
        mesh = Drained(control, None, upstreams, places, mode)  # type: ignore[arg-type]
        for datacenter, place in places.items():
            control.report_gateways({"gateway": place}, dc=datacenter)
            for service in upstreams:
                mesh.report(service, datacenter, "critical" if datacenter == "dc1" else "passing")
        mesh.fetching = held.enter_context(
            Fetching(way, store, directory, ports, authority, drain_time_s=DRAIN_S[protocol])
        )
        yield mesh


def tcp(way: Way, mode: Mode, store: Store, directory: Path) -> None:
    """What becomes of TCP connections when both services move from dc2 to dc3, and then an adapter comes anew."""
    with drained(way, mode, "tcp", store, directory) as mesh, contextlib.ExitStack() as held:
        follows, stays = (held.enter_context(Lines("127.0.0.1", mesh.ports[each])) for each in ("s2", "s3"))
        for lines in (follows, stays):
            wait_until(lambda lines=lines: len(lines.all) >= 5, "some connections")  # type: ignore[misc]
        # Other endpoints of the target that serves end nothing.
        mesh.report("s2", "dc2", "passing", "critical")
        for service in ("s2", "s3"):
            mesh.report(service, "dc2", "critical")
        wait_until(lambda: mesh.updates() == 1, "the listener of s2 to be replaced")
        replaced = time.perf_counter()
        wait_until(lambda: {each.datacenter for each in follows.open()} == {"dc3"}, "those to dc2 to end")
        # The drain time, and what a busy machine takes.
        assert time.perf_counter() - replaced < DRAIN_S["tcp"] + 10
        seen = len(follows.all)
        wait_until(lambda: len(follows.all) >= seen + 10, "more connections")
        for lines in (follows, stays):
            lines.stop()
            assert {each.datacenter for each in lines.all} == {"dc2", "dc3"}
            assert lines.failures == []
        # Nobody who came after the listener changed can have been sent to the old target: that would stay.
        assert {each.datacenter for each in follows.all if each.opened > replaced} == {"dc3"}
        assert stays.open() == stays.all
        # A new adapter changes nothing.
        before = follows.open()
        mesh.fetching.stop_adapter()
        mesh.fetching.start_adapter()
        mesh.report("s3", "dc3", "critical")
        wait_until(lambda: _answers(mesh) == "dc1", "the new adapter to deliver")
        time.sleep(2 * DRAIN_S["tcp"])  # whatever would end, would end now
        assert follows.open() == before
        assert mesh.updates() == 1
        assert (mesh.fetching.rejected(), mesh.fetching.rejections()) == ({}, [])


def _answers(mesh: Drained) -> str:
    found = [host for name, hosts in mesh.fetching.envoy.clusters().items() if name.startswith("s3.") for host in hosts]
    return "dc1" if {host["health_status"]["eds_health_status"] for host in found} == {"UNHEALTHY"} else ""


@pytest.mark.parametrize("way", TONGUES, ids=str)
def test_tcp_connections_through_the_old_target_end_and_no_others(way: Way, store: Remote, tmp_path: Path) -> None:
    tcp(way, "local", store, tmp_path)


def http(way: Way, mode: Mode, store: Store, directory: Path) -> None:
    """What becomes of requests when both services move from dc2 to dc3, and back."""
    with drained(way, mode, "http", store, directory) as mesh, contextlib.ExitStack() as held:
        client = held.enter_context(patient("127.0.0.1", mesh.ports["s2"], interval=0.01))
        follows, stays = (held.enter_context(Talk("127.0.0.1", mesh.ports[each], may_go=True)) for each in ("s2", "s3"))
        askers = (client, follows, stays)
        begin = max(asker.wait_for_answer("dc2", after=0.0).done for asker in askers)
        for number, (old, new) in enumerate((("dc2", "dc3"), ("dc3", "dc2")), 1):
            connections = follows.connections
            for service in ("s2", "s3"):
                mesh.report(service, "dc2", "critical" if new == "dc3" else "passing")
            wait_until(lambda number=number: mesh.updates() == number, "the listener to be replaced")  # type: ignore[misc]
            wait_until(lambda before=connections: follows.connections > before, "the connection to be told to go")  # type: ignore[misc]
            switched = time.perf_counter()
            for asker in askers:
                asker.wait_for_answer(new, after=switched)
                asker.wait_past(time.perf_counter())
                assert {each.datacenter for each in asker.attempts(switched)} == {new}, old
            time.sleep(DRAIN_S["http"] + 1)
        assert [each for asker in askers for each in asker.attempts(begin) if each.failure] == []
        assert stays.connections == 1
        assert mesh.updates() == 2


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["local", "remote", "none"])
@pytest.mark.parametrize("protocol", ["tcp", "http"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_open_connections_follow_a_switch_in_every_way(
    way: Way, protocol: str, mode: Mode, store: Remote, tmp_path: Path
) -> None:
    (tcp if protocol == "tcp" else http)(way, mode, store, tmp_path)
