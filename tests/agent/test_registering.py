"""What an agent registers, beside others that register the same: with the real API, in this process."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from pointsman.agent import registered as of_registered
from pointsman.agent import registrar as of_registrar
from pointsman.agent.definition import Definitions, read_definitions
from pointsman.agent.registered import Registered
from pointsman.agent.registrar import FIRST_PAUSE_S, LONGEST_PAUSE_S, Registrar
from pointsman.agent.registrations import registrations
from pointsman.agent.sender import HttpSender
from pointsman.agent.statement import Host, nothing
from pointsman.api.request import Api, Request
from pointsman.api.routes import answer
from pointsman.model.errors import PointsmanError
from pointsman.model.grants import EVERYTHING, Grant, Role
from pointsman.pipeline.recover import recover

from tests.pipeline.fresh import config_in
from tests.pipeline.meshes import resolver, sidecar
from tests.pipeline.place import Place

WEB = "dc1/sidecar/default/web"


class ControlPlane:
    """The API of a control plane, and what it was asked."""

    url = "http://127.0.0.1:1"

    def __init__(self) -> None:
        self.place = Place()
        self.place.configure(resolver("db"))
        self.grant: Grant = EVERYTHING
        self.away = False
        self.asked: list[tuple[str, int]] = []

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        if self.away:
            raise PointsmanError("nobody is there")
        parts = urlsplit(path)
        headers = {"content-type": "application/json"}
        data = b"" if body is None else orjson.dumps(body)
        request = Request(method, parts.path, parts.query, headers, data, self.grant)
        found = answer(Api(self.place.engine), request)
        self.asked.append((f"{method} {parts.path}", found.status))
        return found.status, orjson.loads(found.data)

    @property
    def generation(self) -> int:
        return config_in(self.place.objects).root.generation

    @property
    def owners(self) -> dict[str, str]:
        return {key: each.owner for key, each in config_in(self.place.objects).registrations.items()}


class HostOfWeb:
    """A host with web, its sidecar and a mesh gateway; `restart` is another agent on it."""

    def __init__(self, control_plane: ControlPlane, number: int, state: Path | None = None) -> None:
        self.control_plane, self.number = control_plane, number
        self.host = Host("dc1", f"h{number}", f"10.1.0.{number}", 30_000_000_000)
        self.state = state and state / f"{number}.json"
        self.said: list[str] = []
        self.upstreams = ["db"]
        self.restart()

    def defined(self) -> Definitions:
        upstreams = [{"destination_name": each, "local_bind_port": 5000 + i} for i, each in enumerate(self.upstreams)]
        proxy = {"upstreams": upstreams}
        web = {
            "name": "web",
            "id": f"web-{self.number}",
            "port": 8080,
            "tags": [f"host-{self.number}"],
            "connect": {"sidecar_service": {"port": 20000 + self.number, "proxy": proxy}},
        }
        gateway = {"name": "edge", "id": f"gateway-{self.number}", "kind": "mesh-gateway", "port": 8443}
        return read_definitions([("a.json", {"services": [web, gateway]})], self.host.address)

    def restart(self) -> None:
        registered = Registered(self.state, self.said.append)
        self.registrar = Registrar(self.control_plane, self.host.source, registered, self.said.append)
        self.registrar.want(registrations(self.host, self.defined()))
        self.registrar.look()

    def settle(self) -> bool:
        return asyncio.run(self.registrar.settle())

    def change(self, *upstreams: str) -> None:
        self.upstreams = list(upstreams)
        self.registrar.want(registrations(self.host, self.defined()))
        self.settle()

    def look(self) -> None:
        self.registrar.look()
        self.settle()


@pytest.fixture
def control_plane() -> ControlPlane:
    return ControlPlane()


def test_hosts_that_come_and_go_are_no_config_generations(control_plane: ControlPlane, tmp_path: Path) -> None:
    first = HostOfWeb(control_plane, 1, tmp_path)
    first.settle()
    assert control_plane.generation == 2
    assert control_plane.owners == {WEB: "agent", "dc1/gateway/gateway-1": "agent"}
    for host in (first, HostOfWeb(control_plane, 1), first):
        for _ in range(10):
            host.restart()
            assert host.settle()
    assert control_plane.generation == 2
    # Another host of the service has a gateway of its own, and nothing else is new.
    second = HostOfWeb(control_plane, 2)
    second.settle()
    assert control_plane.generation == 3
    for host in (first, second):
        host.look()
        host.restart()
        host.settle()
    assert control_plane.generation == 3
    assert not [line for host in (first, second) for line in host.said if "otherwise" in line]


def test_hosts_whose_files_differ_do_not_take_turns(control_plane: ControlPlane, tmp_path: Path) -> None:
    hosts = [HostOfWeb(control_plane, number, tmp_path) for number in (1, 2)]
    for host in hosts:
        host.settle()
    generation = control_plane.generation
    hosts[1].change("db", "api")
    assert control_plane.generation == generation + 1
    for _ in range(5):
        for host in hosts:
            host.look()
            host.restart()
            host.settle()
    assert control_plane.generation == generation + 1
    assert [line for line in hosts[0].said if "otherwise than the files of this host" in line]
    assert not [line for line in hosts[1].said if "otherwise" in line]
    hosts[0].change("db", "api")
    assert control_plane.generation == generation + 1, "what is there already is no change"
    hosts[0].change("db")
    assert control_plane.generation == generation + 2, "the last change counts"


def test_what_an_operator_wrote_stays_and_holds_nothing_else_back(control_plane: ControlPlane) -> None:
    control_plane.place.configure(sidecar("web", "db"))
    host = HostOfWeb(control_plane, 1)
    assert host.settle()
    assert control_plane.owners == {WEB: "", "dc1/gateway/gateway-1": "agent"}
    assert [line for line in host.said if f"refused the registration {WEB}" in line and "without an owner" in line]
    said, generation = len(host.said), control_plane.generation
    host.look()
    assert (len(host.said), control_plane.generation) == (said, generation), "it is said once"
    control_plane.place.delete(registrations=(WEB,))
    host.look()
    assert control_plane.owners[WEB] == "agent"
    # An operator takes it over, and it is the operator's.
    control_plane.place.configure(sidecar("web", "api"))
    host.look()
    assert control_plane.owners[WEB] == ""
    assert "otherwise" in host.said[-1]
    control_plane.place.delete(registrations=(WEB,))
    host.look()
    assert control_plane.owners[WEB] == "agent", "what is missing is written again"


def test_what_cannot_be_sent_waits_and_rights_are_found_when_they_are_there(
    control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    host = HostOfWeb(control_plane, 1)
    control_plane.away = True

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            control_plane.away = False
        if len(pauses) > 20:
            raise asyncio.CancelledError

    async def until_done() -> None:
        running = asyncio.create_task(host.registrar.run())
        while not control_plane.owners:
            await yielded()
        running.cancel()

    yielded: Callable[[], Any] = lambda: asyncio.to_thread(int)  # noqa: E731
    monkeypatch.setattr(of_registrar.asyncio, "sleep", sleep)
    asyncio.run(until_done())
    assert pauses[0] <= FIRST_PAUSE_S
    assert LONGEST_PAUSE_S / 2 <= min(pauses[-5:]) <= max(pauses[-5:]) <= LONGEST_PAUSE_S
    assert [line.split(": ", 1)[1] for line in host.said[:2]] == [
        "registrations wait: nobody is there",
        "registered dc1/gateway/gateway-1, dc1/sidecar/default/web",
    ]
    control_plane.grant = Grant(frozenset({Role.REPORT}), "the token")
    host.change("api")
    assert "is not for register" in host.said[-1]
    control_plane.grant = Grant(frozenset({Role.REGISTER}), "the token", services=("web",))
    host.look()
    assert [line.split(": ", 1)[1] for line in host.said if f"registered {WEB}" in line]
    assert 'may not register "gateway/gateway-1"' in host.said[-1]
    control_plane.place.delete(registrations=(WEB,))
    host.look()
    assert "or not at all, which a token for read would tell" in host.said[-1]
    control_plane.grant = Grant(frozenset({Role.REGISTER, Role.READ}), "the token", services=("web",))
    host.look()
    assert host.said[-1].endswith(f"registered {WEB}")


def test_a_store_that_was_restored_is_told_everything_again(control_plane: ControlPlane) -> None:
    host, wanted = HostOfWeb(control_plane, 1), list[str]()
    host.settle()

    class Agent:
        def overtaken(self, index: int) -> None:
            wanted.append(str(index))

        def all_again(self, why: str) -> None:
            wanted.append(why)

    sender = HttpSender(control_plane, Agent(), host.said.append)

    def say(index: int) -> None:
        asyncio.run(sender.send(nothing(host.host, "web", index)))

    copied = dict(control_plane.place.objects.objects)
    for index in (1, 2):
        say(index)
    assert wanted == []
    control_plane.place.objects.objects = copied
    recover(control_plane.place.engine)
    for index in (3, 4):
        say(index)
    assert wanted == ["http://127.0.0.1:1 has another store, or one that went back"]
    say(2)
    assert wanted[1:] == [], "what says the same is not stale"


def test_a_file_of_what_was_registered_that_cannot_be_read_counts_as_empty(
    control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "1.json"
    for wrong in ("{", "[]", '{"http://127.0.0.1:1": 1}'):
        path.write_text(wrong)
        host = HostOfWeb(control_plane, 1, tmp_path)
        assert "registered again" in host.said[0]
        host.settle()
    kept = path.read_bytes()
    monkeypatch.setattr(of_registered, "MOST_KEPT_BYTES", len(kept) - 1)
    assert "registered again" in HostOfWeb(control_plane, 1, tmp_path).said[0]
    assert control_plane.generation == 2
