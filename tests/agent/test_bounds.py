"""The bounds of an agent, each reached."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pointsman.agent import agent as of_agent
from pointsman.agent import definition, files, outbox, probe
from pointsman.agent.agent import Agent, Settings
from pointsman.agent.control_plane import MOST_ANSWER_BYTES, ControlPlane
from pointsman.agent.counter import Counter
from pointsman.agent.definition import CheckDefinition, read_definitions
from pointsman.agent.outbox import FIRST_PAUSE_S, LONGEST_PAUSE_S, Outbox
from pointsman.agent.probe import Prober
from pointsman.agent.statement import Host
from pointsman.agent.ttl import MOST_BODY_BYTES, application
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.serve.supervisor import Supervisor

HOST = Host("dc1", "h1", "127.0.0.1", 30_000_000_000)


def service(name: str, checks: int = 0) -> dict[str, Any]:
    """A service with so many checks."""
    many = [{"id": f"{name}-{number}", "ttl": "10s"} for number in range(checks)]
    return {
        "name": name,
        "checks": many,
        "connect": {"sidecar_service": {"port": 20000, "check": {"id": "x", "ttl": "9s"}}},
    }


def test_a_host_has_so_many_services_checks_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=f"more than {definition.MOST_CHECKS}"):
        read_definitions([("a.json", {"service": service("web", definition.MOST_CHECKS)})], HOST.address)
    monkeypatch.setattr(definition, "MOST_SERVICES", 1)
    with pytest.raises(InvalidInput, match="2 on one host; 1 are the most"):
        read_definitions([("a.json", {"services": [service("a"), service("b", 1)]})], HOST.address)
    monkeypatch.setattr(files, "MOST_FILES", 1)
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InvalidInput, match="are 2 files; 1 are the most"):
        files.Files([tmp_path], HOST.address).read()


def test_so_many_checks_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "MOST_AT_ONCE", 3)
    running = most = 0

    async def counted(check: CheckDefinition) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    async def run() -> None:
        prober = Prober()
        prober._kinds["tcp"] = counted
        await asyncio.gather(*(prober.run(CheckDefinition(tcp="a:1")) for _ in range(10)))
        await prober.close()

    asyncio.run(run())
    assert most == 3


def test_attempts_come_less_often_and_never_more_than_so_far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            raise asyncio.CancelledError

    async def fails(event: outbox.Event) -> None:
        raise PointsmanError("away")

    async def run() -> None:
        monkeypatch.setattr(outbox.asyncio, "sleep", sleep)
        box = Outbox("place", fails, lambda text: None)
        for number in range(100):
            box.put("web", {"number": number})
        assert len(box) == 1, "only the newest about each waits"
        with pytest.raises(asyncio.CancelledError):
            await box.run()

    asyncio.run(run())
    assert pauses[0] <= FIRST_PAUSE_S
    assert LONGEST_PAUSE_S / 2 <= min(pauses[-5:]) <= max(pauses[-5:]) <= LONGEST_PAUSE_S


class Long(BaseHTTPRequestHandler):
    """Answers with more than anybody reads."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(b"x" * MOST_ANSWER_BYTES)
        except OSError:
            pass

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def server() -> Iterator[str]:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Long)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()


def test_no_more_of_an_answer_is_read_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(url: str) -> None:
        control_plane = ControlPlane(url, lambda text: None)
        with pytest.raises(PointsmanError, match="more than"):
            await control_plane.ask("POST", "/v1/events", {"detail-type": "Source Alive"})
        await control_plane.close()

    with server() as url:
        asyncio.run(run(url))


def test_of_a_word_over_http_so_much_is_read() -> None:
    definitions = read_definitions([("a.json", {"service": service("web", 1)})], HOST.address)
    settings = Settings(HOST, definitions, lambda: None, Counter(None, lambda: 0))

    async def run() -> list[int]:
        prober = Prober()
        runner = web.AppRunner(application(Agent(settings, {}, prober, lambda text: None)))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/agent/check"
        codes = []
        async with aiohttp.ClientSession() as client:
            for path, body, host in (
                ("update/web-0", '{"Status": "passing", "Output": "fine"}', ""),
                ("update/web-0", '{"Status": "well"}', ""),
                ("update/web-0", "x" * (MOST_BODY_BYTES + 1), ""),
                ("update/none", '{"Status": "passing"}', ""),
                ("pass/web-0", "", "evil.example"),
            ):
                headers = {"host": host} if host else {}
                async with client.put(f"{url}/{path}", data=body, headers=headers) as answer:
                    codes.append(answer.status)
        await runner.cleanup()
        await prober.close()
        return codes

    assert asyncio.run(run()) == [200, 400, 413, 404, 403]


def test_a_part_that_ends_ends_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(HOST, read_definitions([], HOST.address), lambda: None, Counter(None, lambda: 0))

    async def run() -> None:
        prober = Prober()
        agent = Agent(settings, {}, prober, lambda text: None)
        monkeypatch.setattr(agent, "_state_changed", lambda: 1 // 0)
        monkeypatch.setattr(of_agent, "REREAD_S", 0.01)
        try:
            await agent.run(Supervisor())
        finally:
            await prober.close()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())


def test_what_is_gone_is_said_and_then_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    of_web = read_definitions([("a.json", {"service": service("web")})], HOST.address)
    later = iter([None, None, None, read_definitions([], HOST.address)])
    host = replace(HOST, lease_ns=30_000_000)
    settings = Settings(host, of_web, lambda: next(later, None), Counter(None, lambda: 0), leave=False)
    said: list[Any] = []

    class Hears:
        async def send(self, event: outbox.Event) -> None:
            said.append(event["detail"])

        async def close(self) -> None:
            pass

    async def run() -> None:
        monkeypatch.setattr(of_agent, "REREAD_S", 0.01)
        prober = Prober()
        agent = Agent(settings, {"place": Hears()}, prober, lambda text: None)
        assert agent.heard("x", "passing", "fine")
        running = asyncio.create_task(agent.run(Supervisor()))
        while agent.definitions is of_web or agent._said:
            await asyncio.sleep(0.01)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await prober.close()

    asyncio.run(run())
    counts = [len(each["Instances"]) for each in said if "Instances" in each]
    assert set(counts) == {0, 1}
    assert counts == sorted(counts, reverse=True), "first that it is there, then that it is gone"
