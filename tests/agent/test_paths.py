"""An agent probes the gateways of other datacenters: where it reaches none, its datacenter goes elsewhere."""

import asyncio
import json
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pointsman.agent import paths
from pointsman.agent.definition import read_definitions
from pointsman.agent.paths import FALL, Gateway, KnownGateways, Probing, read_gateway, with_probes
from pointsman.agent.probe import Prober
from pointsman.agent.statement import Host, statement
from pointsman.agent.verdict import Verdict
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.pipeline import gateways as known
from pointsman.pipeline.gateways import known_gateways

from tests.fleet.ca import CertificateAuthority
from tests.fleet.control_plane import POINTSMAN, Pointsman
from tests.fleet.process import Child, Ports, wait_until
from tests.pipeline.meshes import event, gateway, gateway_instance, instance, policy, proxy_defaults, resolver, sidecar
from tests.pipeline.place import Place

HOST = Host("dc1", "h1", "10.1.0.11", 30_000_000_000)


class Way:
    """The path to a gateway, which can be cut."""

    def __init__(self, held: ExitStack, port: int) -> None:
        self.port = port
        self._held, self._socket = held, None
        self.mend()

    def mend(self) -> None:
        self._socket: socket.socket | None = self._held.enter_context(
            socket.create_server(("127.0.0.1", self.port), backlog=512)
        )

    def cut(self) -> None:
        assert self._socket is not None
        self._socket.close()


def told(up: Pointsman, index: int, dc: str, *at: int, host: str = "127.0.0.1") -> None:
    """Web is well in a datacenter, and so are its gateways, at these ports of `host`."""
    of: dict[str, Any] = {"Source": f"events-{dc}", "Index": index, "Datacenter": dc}
    up.send(of | {"Service": "web", "Instances": [instance("web")]})
    gateways = []
    for number, port in enumerate(at, 1):
        found = gateway_instance(number)
        found["Service"] |= {"TaggedAddresses": {"wan": {"Address": host, "Port": port}}}
        gateways.append(found)
    up.send(of | {"Index": index + 1, "Kind": "mesh-gateway", "Instances": gateways})


def test_a_datacenter_that_this_one_does_not_reach_is_left_and_a_gateway_is_avoided(tmp_path: Path) -> None:
    with ExitStack() as held:
        ports = held.enter_context(Ports())
        one, two, three = (Way(held, ports.take("127.0.0.1")) for _ in range(3))
        config = tmp_path / "config.json"
        documents = [
            proxy_defaults(mode="remote"),
            resolver("web", Failover={"*": {"Datacenters": ["dc3"]}}),
            policy("web", Gateways="require"),
            sidecar("client", {"DestinationName": "web", "Datacenter": "dc2"}),
            *(gateway(dc) for dc in ("dc1", "dc2", "dc3")),
        ]
        config.write_text(json.dumps(documents))
        (tmp_path / "services.json").write_text("{}")
        up = Pointsman(tmp_path, "td", listen=f"127.0.0.1:{ports.take('127.0.0.1')}")
        up.apply([config])
        held.enter_context(up)
        told(up, 1, "dc2", one.port, two.port, host="localhost")
        told(up, 1, "dc3", three.port)
        where = ["--dc", "dc1", "--node", "h1", "--address", "127.0.0.1", "--to", up.url]
        probes = ["--probe-gateways", "--probe-interval", "1s", str(tmp_path / "services.json")]
        agent = Child("agent", [POINTSMAN, "agent", *where, *probes], tmp_path)
        held.callback(agent.stop)
        agent.start()

        def traffic() -> tuple[str, list[str]]:
            (found,) = json.loads(up.page("/v1/status"))["resolvers"]
            return found["active"].split(".")[2], [each.rpartition(":")[2] for each in found["avoided"]]

        def wait_for(active: str, *avoided: Way) -> None:
            wanted = active, sorted(str(each.port) for each in avoided)
            wait_until(lambda: traffic() == wanted, f"{wanted}", children=[agent])

        wait_until(lambda: b"ready" in agent.out.read_bytes(), "the agent to be ready", children=[agent])
        wait_for("dc2")
        one.cut()
        wait_for("dc2", one)
        two.cut()
        wait_for("dc3")
        found = json.loads(up.page("/v1/status"))["findings"]
        cut = [each["where"] for each in found if each["what"] == "cut"]
        assert cut == sorted(f"dc1 localhost:{each.port}" for each in (one, two))
        said = up.command("instances", "gateway-paths", "--dc", "dc1")
        assert "told by agent/h1" in said
        assert f"{two.port}" in said
        assert "2 remote gateways in dc2, 2 in dc2 not reached" in up.command(
            "explain", "web", "--dc", "dc1", "--from", "client"
        )
        one.mend()
        wait_for("dc2", two)
        agent.terminate()
        assert agent.wait() == 0
        wait_for("dc2")


def test_of_all_gateways_so_many_are_probed_and_checks_of_the_host_say_nothing_of_them() -> None:
    gateways = [Gateway("dc2", f"203.0.113.{number}", 443) for number in range(paths.MOST_PROBED + 2)]
    of_files = read_definitions(
        [("a.json", {"check": {"id": "disk", "args": ["true"], "interval": "10s"}})], HOST.address
    )
    found = with_probes(of_files, gateways, Probing())
    assert len(found.services) == paths.MOST_PROBED
    assert [line for line in found.passed_over if "are probed at most" in line]
    verdicts = {key: Verdict("critical" if key == "disk" else "passing") for key in found.checks}
    said = statement(HOST, found, verdicts, "gateway-paths", 1, 0.0)["detail"]["Instances"]
    assert {check["Status"] for each in said for check in each["Checks"]} == {"passing"}
    (check,) = with_probes(of_files, gateways[:1], Probing()).checks_of("dc2=203.0.113.0:443")
    assert (check.definition.tcp, check.definition.failures_before_critical) == ("203.0.113.0:443", FALL)


def test_which_gateways_there_are_is_asked_and_what_was_answered_last_counts() -> None:
    class Place:
        url = "http://127.0.0.1:1"
        answers: Any = iter(
            [
                (200, {"gateways": [{"datacenter": "dc2", "address": "203.0.113.2", "port": 443}, {"port": 1}, 7]}),
                (500, {"error": "the store is away"}),
                None,
                (200, {"gateways": [{"datacenter": "dc1", "address": "2001:db8::1", "port": 443}]}),
                (200, []),
            ]
        )

        async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
            found = next(self.answers)
            if found is None:
                raise PointsmanError("nobody is there")
            return found  # type: ignore[no-any-return]

    async def run() -> list[list[str]]:
        seen = []
        gateways = KnownGateways("dc1", [read_gateway("dc3=[2001:db8::3]:443")], [Place()], said.append)
        for _ in range(5):
            await gateways.ask()
            seen.append(sorted(map(str, gateways.now)))
        return seen

    said: list[str] = []
    both, one = ["dc2=203.0.113.2:443", "dc3=[2001:db8::3]:443"], ["dc3=[2001:db8::3]:443"]
    assert asyncio.run(run()) == [both, both, both, one, one]
    assert len(said) == 2


def test_it_is_asked_less_often_while_the_answer_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    class Place:
        url = "http://127.0.0.1:1"

        async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
            new = [{"datacenter": "dc2", "address": "203.0.113.2", "port": 443}] if len(pauses) >= 10 else []
            return 200, {"gateways": new}

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            raise asyncio.CancelledError

    async def run() -> None:
        monkeypatch.setattr(paths.asyncio, "sleep", sleep)
        with pytest.raises(asyncio.CancelledError):
            await KnownGateways("dc1", [], [Place()], print).run()

    asyncio.run(run())
    longest = paths.LONGEST_PAUSE_S
    assert longest / 2 <= min(pauses[8], pauses[-1]) <= max(pauses) <= longest
    assert pauses[10] <= paths.FIRST_PAUSE_S


@pytest.mark.parametrize("text", ["", "dc2", "dc2=10.0.0.300:443", "dc2=gw.test", "dc2=10.0.0.1:0", "DC=10.0.0.1:1"])
def test_what_is_no_gateway_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not DC=HOST:PORT"):
        read_gateway(text)


def test_a_handshake_for_a_server_name_asks_whoever_answers(tmp_path: Path) -> None:
    files = CertificateAuthority(tmp_path, "mesh.example").issue("s2", "dc2")
    seen: list[str] = []

    async def run() -> list[str]:
        import ssl

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(files.certificate, files.private_key)
        context.sni_callback = lambda sock, name, ctx: seen.append(str(name))
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        deaf = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        prober, statuses = Prober(), []
        for each in (port, deaf.sockets[0].getsockname()[1]):
            probing = Probing(sni="s2.default.{dc}.internal.mesh.example")
            found = with_probes(read_definitions([], HOST.address), [Gateway("dc2", "127.0.0.1", each)], probing)
            (check,) = found.checks.values()
            statuses.append((await prober.run(check.definition)).status)
        await prober.close()
        return statuses

    assert asyncio.run(run()) == ["passing", "critical"]
    assert seen == ["s2.default.dc2.internal.mesh.example"]


def test_a_control_plane_shows_so_many_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    place.configure(gateway("dc1"), gateway("dc2"))
    for dc in ("dc1", "dc2", "dc3"):
        place.ingest(event(None, 1, [gateway_instance(1), gateway_instance(2)], dc=dc))
    shown = [(each.datacenter, each.id, each.address, each.port) for each in known_gateways(place.engine)]
    assert shown == [(dc, f"gw-{number}", f"203.0.113.{number}", 443) for dc in ("dc1", "dc2") for number in (1, 2)]
    monkeypatch.setattr(known, "MOST_SHOWN", 3)
    assert len(known_gateways(place.engine)) == 3
