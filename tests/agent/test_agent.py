"""`pointsman agent` beside a real `pointsman up`: what it says, when it says it, and when it stops."""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import orjson
import pytest
from pointsman.agent.counter import Counter
from pointsman.agent.sender import EventBridgeSender, QueueSender, is_http
from pointsman.agent.statement import Host, alive, nothing
from pointsman.cli.main import run
from pointsman.model.errors import InvalidInput

from tests.aws.harness import Aws
from tests.aws.mesh import CONFIG
from tests.fleet.control_plane import POINTSMAN, Pointsman
from tests.fleet.process import Child, Ports, wait_until
from tests.pipeline.meshes import resolver, sidecar

WHO = ["--dc", "dc1", "--node", "h1", "--address", "127.0.0.1"]


class HostOfWeb:
    """A host with one service, its agent, and two control planes that are told; all on loopback."""

    def __init__(self, directory: Path, held: ExitStack, lease: str = "60s") -> None:
        ports = held.enter_context(Ports())
        self.port, self._ttl = ports.take("127.0.0.1"), ports.take("127.0.0.1")
        self._directory = directory
        self.services = directory / "services"
        self.services.mkdir()
        self.http = {"id": "http", "http": f"http://127.0.0.1:{self.port}/", "interval": "1s"}
        self.define(self.http, {"id": "by-hand", "ttl": "1h"})
        config = directory / "config.json"
        config.write_text(json.dumps([resolver("web"), sidecar("client", {"DestinationName": "web"})]))
        self.ups = []
        for name in ("one", "two"):
            (directory / name).mkdir()
            up = Pointsman(directory / name, "td", listen=f"127.0.0.1:{ports.take('127.0.0.1')}")
            up.apply([config])
            self.ups.append(held.enter_context(up))
        self.app = Child("app", [sys.executable, "-m", "tests.fleet.app", "--name", "dc1", *self._where()], directory)
        held.callback(self.app.stop)
        told = [word for up in self.ups for word in ("--to", up.url)]
        kept = ["--state", str(directory / "state"), "--ttl", f"127.0.0.1:{self._ttl}", str(self.services)]
        self.agent = Child(
            "agent",
            [
                POINTSMAN,
                "agent",
                "--dc",
                "dc1",
                "--node",
                "h1",
                "--address",
                "127.0.0.1",
                "--lease",
                lease,
                *told,
                *kept,
            ],
            directory,
        )
        held.callback(self.agent.stop)

    def _where(self) -> list[str]:
        return ["--address", "127.0.0.1", "--port", str(self.port)]

    def define(self, *checks: Mapping[str, Any]) -> None:
        """Write the definition of web with these checks."""
        beside = {"sidecar_service": {"port": 20000, "check": {"id": "sidecar", "alias_service": "web"}}}
        # Told of as 127.0.0.1: the agent resolves it.
        service = {"name": "web", "address": "localhost", "port": self.port, "checks": checks, "connect": beside}
        (self.services / "web.json").write_text(json.dumps({"service": service}))

    def start(self) -> None:
        """Start application and agent, and say by hand that all is well."""
        self.app.start()
        self.agent.start()
        wait_until(lambda: b"ready" in self.agent.out.read_bytes(), "the agent to be ready", children=[self.agent])
        self.say("pass")

    def is_ready(self) -> bool:
        """Whether the agent says that all is known and told."""
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self._ttl}/ready", timeout=60).close()
        except urllib.error.HTTPError:
            return False
        return True

    def say(self, word: str) -> None:
        """What an application says of its check of kind TTL."""
        url = f"http://127.0.0.1:{self._ttl}/v1/agent/check/{word}/by-hand?note=said"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=60).close()

    def wait_for(self, healthy: int, total: int) -> None:
        """Return when both control planes count so."""
        for up in self.ups:
            wait_until(lambda up=up: counted(up) == (healthy, total), f"{healthy} of {total}", children=[self.agent])  # type: ignore[misc]


def counted(up: Pointsman) -> tuple[int, int]:
    """Healthy and all instances of web, as a control plane counts them."""
    (found,) = json.loads(up.page("/v1/status"))["resolvers"]
    target = found["targets"][0] if found["targets"] else {"healthy": 0, "total": 0}
    return target["healthy"], target["total"]


def registered(up: Pointsman) -> dict[str, int]:
    """The ports of the services that agents have registered."""
    found = json.loads(up.page("/v1/config?kind=registration"))
    proxies = [each["Service"]["Proxy"] for each in found if each.get("Owner") == "agent"]
    return {each["DestinationServiceName"]: each["LocalServicePort"] for each in proxies}


@contextmanager
def host(directory: Path, lease: str = "60s") -> Iterator[HostOfWeb]:
    with ExitStack() as held:
        yield HostOfWeb(directory, held, lease)


def test_an_agent_tells_of_what_its_checks_find_and_takes_its_instances_along_when_it_ends(tmp_path: Path) -> None:
    with host(tmp_path) as h1:
        h1.start()
        h1.wait_for(1, 1)
        for up in h1.ups:
            wait_until(lambda up=up: registered(up) == {"web": h1.port}, "web to be registered")  # type: ignore[misc]
        h1.app.kill()
        h1.wait_for(0, 1)
        h1.app.start()
        h1.wait_for(1, 1)
        h1.say("fail")
        h1.wait_for(0, 1)
        h1.say("pass")
        h1.wait_for(1, 1)
        h1.define({"id": "never", "args": ["sh", "-c", "exit 2"], "interval": "1s"})
        h1.wait_for(0, 1)
        h1.agent.terminate()
        assert h1.agent.wait() == 0
        h1.wait_for(0, 0)
        assert json.loads(h1.ups[0].page("/v1/status"))["sources"] == [], "its lease is over"


def test_what_cannot_be_sent_waits_and_an_agent_that_was_killed_is_silent(tmp_path: Path) -> None:
    with host(tmp_path, lease="3s") as h1:
        h1.start()
        h1.wait_for(1, 1)
        h1.ups[1].kill()
        h1.app.kill()
        wait_until(lambda: counted(h1.ups[0]) == (0, 1), "the one that is there to be told")
        wait_until(lambda: "what is said waits" in h1.agent.tail(), "the agent to notice")
        assert not h1.is_ready()
        h1.ups[1].start()
        h1.wait_for(0, 1)
        wait_until(lambda: "is taken again" in h1.agent.tail(), "the agent to say so")
        wait_until(h1.is_ready, "the agent to be ready again")
        h1.agent.kill()

        def silent() -> bool:
            sources = json.loads(h1.ups[0].page("/v1/status"))["sources"]
            return any(each["silent_since"] for each in sources)

        said = {"Source": "other", "Index": 1, "Datacenter": "dc1", "Lease": "3s"}
        index = 1

        def heard_beside() -> bool:
            nonlocal index
            index += 1
            h1.ups[0].send({"detail-type": "Source Alive", "detail": said | {"Index": index}})
            return silent()

        wait_until(heard_beside, "the agent to be missed")


def test_indexes_grow_through_restarts_and_a_clock_that_goes_back(tmp_path: Path) -> None:
    clock = [1_000_000]
    path = tmp_path / "state" / "agent.json"
    first = Counter(path, lambda: clock[0])
    given = [first.next(), first.next()]
    clock[0] += 200_000
    given.append(first.next())
    for _ in range(3):
        clock[0] -= 150_000
        given.append(Counter(path, lambda: clock[0]).next())
    again = Counter(path, lambda: clock[0])
    again.rise(5_000_000)
    given.append(again.next())
    assert given == sorted(set(given))
    assert given[-1] == 5_000_001


def test_a_counter_that_was_overtaken_rises_and_all_is_said_again(tmp_path: Path) -> None:
    with host(tmp_path) as h1:
        h1.start()
        h1.wait_for(1, 1)
        ahead = nothing(Host("dc1", "h1", "127.0.0.1", 60_000_000_000), "web", 2**50)
        for up in h1.ups:
            up.send(ahead)
        h1.wait_for(0, 0)
        h1.app.kill()
        wait_until(lambda: "all is said again" in h1.agent.tail(), "the agent to hear of it")
        h1.app.start()
        h1.wait_for(1, 1)


def test_once_for_cron_and_validate_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with host(tmp_path) as h1:
        h1.define(h1.http)
        common = ["agent", *WHO, str(h1.services)]
        assert run([*common, "--validate"]) == 0
        shown = capsys.readouterr().out
        assert "web: web, with a sidecar\n  http: http\n  sidecar: alias\n1 service, 2 checks" in shown
        assert run([*common, "--once", "--to", h1.ups[0].url]) == 0
        assert counted(h1.ups[0]) == (0, 1)
        h1.app.start()

        def told() -> bool:
            return run([*common, "--once", "--to", h1.ups[0].url]) == 0 and counted(h1.ups[0]) == (1, 1)

        wait_until(told, "the check to pass")
        (h1.services / "web.json").write_text('{"service": {"name": "web", "connect": {"sidecar_service": {}}}}')
        assert run([*common, "--validate"]) == 1
        h1.ups[0].stop()
    capsys.readouterr()


def test_events_reach_a_bus_and_a_queue() -> None:
    host = Host("dc1", "h1", "127.0.0.1", 60_000_000_000)
    with Aws() as aws:
        assert aws.request("Configure", "PUT", "/v1/config", CONFIG)[0] == 200
        bus = aws.stack.value({"Ref": "Bus"})
        queue = aws.stack.value({"Ref": "Queue"})

        async def send() -> None:
            await EventBridgeSender(bus, boto3.client("events", region_name="eu-central-1")).send(alive(host, 1))
            await QueueSender(queue, boto3.client("sqs", region_name="eu-central-1")).send(alive(host, 2))

        with aws.acting("Producer"):
            asyncio.run(send())
        assert aws.pump() == 0
        (lease,) = [body for key, body in aws.objects().items() if key.startswith("leases/")]
        assert orjson.loads(lease)["index"] == "2"


@pytest.mark.parametrize("place", ["", "ftp://a", "http://", "sqs://"])
def test_a_place_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(InvalidInput, match="is none of"):
        is_http(place)
