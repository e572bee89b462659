"""Mesh gateways with host names, which Envoys resolve: targets switch under load, and nothing fails."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pointsman.bootstrap.document import Address, Node, gateway_bootstrap
from pointsman.model.upstream_config import Mode

from tests.adapter.dns import Dns
from tests.adapter.doubles import Remote
from tests.adapter.fetching import Fetching
from tests.adapter.published import DATACENTERS, gateway_name
from tests.adapter.switching import Switching, failures
from tests.fleet.client import Asker, Client, patient
from tests.fleet.envoy import ENVOY_1_39, Envoy
from tests.fleet.process import Ports, wait_until
from tests.fleet.talk import Talk
from tests.fleet.ways import Tongue, Way

pytestmark = pytest.mark.envoy

FLIPS = 6
WAYS = [Way(Tongue.FILES), Way(Tongue.REST), Way(Tongue.DELTA, ENVOY_1_39)]
NAMES = {datacenter: gateway_name(datacenter) for datacenter in DATACENTERS}


@contextlib.contextmanager
def _meshed(
    mode: Mode, protocol: str, way: Way, store: Remote, tmp_path: Path, *named: str
) -> Iterator[tuple[Ports, Dns, Switching, Fetching]]:
    """A mesh in which the gateways of the `named` datacenters have host names."""
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        dns = held.enter_context(Dns(ports.take("127.0.0.1"), {NAMES[dc]: [ip] for dc, ip in DATACENTERS.items()}))
        mesh = held.enter_context(Switching(mode, protocol, store, tmp_path, ports))
        for datacenter in named:
            mesh.control.report_gateways({"gateway": (NAMES[datacenter], mesh.gateways[datacenter][1])}, dc=datacenter)
        yield ports, dns, mesh, held.enter_context(Fetching(way, store, tmp_path, ports, mesh.authority, dns=dns))


@pytest.mark.parametrize(("way", "mode"), list(zip(WAYS, ["remote", "local", "remote"], strict=True)), ids=str)
def test_a_gateway_with_a_host_name_is_resolved_and_targets_switch_and_nothing_fails(
    way: Way, mode: Mode, store: Remote, tmp_path: Path
) -> None:
    # In mode remote dc3's gateway has an IP address: the cluster changes its type with each switch.
    with contextlib.ExitStack() as held:
        ports, dns, mesh, fetching = held.enter_context(_meshed(mode, "http", way, store, tmp_path, "dc1", "dc2"))
        client = held.enter_context(patient("127.0.0.1", mesh.upstream))
        talk = held.enter_context(Talk("127.0.0.1", mesh.upstream))
        askers: list[Asker] = [client, talk]
        begin = max(asker.wait_for_answer("dc2", after=0.0).done for asker in askers)
        wrong = [each for _ in range(FLIPS) for each in mesh.switch(askers)]
        assert (wrong, failures(askers, begin)) == ([], [])
        assert mesh.targets.seen == mesh.ways()
        # While DNS is away, a gateway with an IP address beside it is enough.
        where = "dc1" if mode == "local" else "dc2"
        dns.away, spare = True, (DATACENTERS[where], ports.take(DATACENTERS[where]))
        mesh.targets.add("spare", spare)
        named = {"gateway": (NAMES[where], mesh.gateways[where][1])}
        mesh.control.report_gateways({**named, "spare": spare}, dc=where)
        wait_until(lambda: mesh.targets.handshakes["spare", "dc2"], "the spare gateway to be used")
        wrong = [each for _ in range(2) for each in mesh.switch(askers)]
        assert (wrong, failures(askers, begin)) == ([], [])
        assert (fetching.rejected(), fetching.rejections()) == ({}, [])
        # Envoy takes nothing of it for outdated.
        assert "Deprecated field" not in fetching.envoy.err.read_text()


def test_gateways_keep_what_they_resolved_while_dns_is_away_and_targets_still_switch(
    store: Remote, tmp_path: Path
) -> None:
    way = Way(Tongue.DELTA)
    with contextlib.ExitStack() as held:
        ports, dns, mesh, fetching = held.enter_context(_meshed("local", "tcp", way, store, tmp_path, "dc2", "dc3"))
        # In the place of dc1's gateway now stands a real one.
        ip, port = mesh.gateways["dc1"]
        mesh.targets.remove("dc1")
        own = {"Kind": "mesh-gateway", "ID": "gateway", "Address": ip, "Port": port}
        mesh.control.apply({"Datacenter": "dc1", "Service": own})
        node, admin = Node("gateway", "mesh-gateway", "dc1"), Address(ip, ports.take(ip))
        bootstrap = gateway_bootstrap(node, admin, fetching.fetch) | dns.in_bootstrap()
        gateway = held.enter_context(Envoy("gateway", bootstrap, tmp_path))
        gateway.wait_ready()
        client = held.enter_context(patient("127.0.0.1", mesh.upstream, interval=0.04))
        begin = client.wait_for_answer("dc2", after=0.0).done
        dns.away = True
        asked = dns.failed
        wait_until(lambda: dns.failed > asked + 4, "the gateway to ask for its names in vain", timeout=60)
        # Its only gateway ahead is ill, and is tried all the same; then another datacenter serves.
        place = {"gateway": (NAMES["dc2"], mesh.gateways["dc2"][1])}
        mesh.control.report_gateways(place, dc="dc2", ill=place)
        _answers(client)
        assert [each for _ in range(2) for each in mesh.switch([client])] == []
        assert failures([client], begin) == []
        assert mesh.targets.seen == {("dc2", "dc2"), ("dc3", "dc3")}
        assert gateway.counters(r"cluster_manager\.cluster_modified") == {"cluster_manager.cluster_modified": 0}
        assert not any(gateway.counters(r".*\.update_rejected$").values())
        # The addresses behind a name change while nothing else does.
        moved = ("127.0.0.1", mesh.gateways["dc2"][1])
        dns.names[NAMES["dc2"]], dns.away = [moved[0]], False
        mesh.targets.add("moved", moved)
        wait_until(lambda: mesh.targets.handshakes["moved", "dc2"] > 10, "the gateway to follow the name", timeout=60)
        assert failures([client], begin) == []


def _answers(client: Client) -> None:
    now = time.perf_counter()
    wait_until(lambda: len(client.attempts(now)) > 20, "twenty answers")
