"""What a process tells systemd, over a real socket as systemd has it: when it is ready, that it works, that it ends."""

import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest
from pointsman.cli.main import run
from pointsman.serve.supervisor import LONGEST_STATUS, Supervisor

from tests.adapter.doubles import Clock
from tests.fleet.process import Child, wait_until
from tests.pipeline.meshes import gateway, resolver

HANGING = """
import sys, threading
from pathlib import Path
import pointsman.serve.turning
pointsman.serve.turning.STANDSTILL_SECONDS = 3.0
from pointsman.cli.main import run

def hang(where, name):
    # Once the file is there, whoever calls it does not come back.
    whole = getattr(where, name)
    def hung(*args, **kwargs):
        if Path(SIGN).exists():
            threading.Event().wait()
        return whole(*args, **kwargs)
    setattr(where, name, hung)

"""

STANDING = {
    "follower": "from pointsman.adapter.follow.follower import Follower as F; hang(F, 'refresh')",
    "reconcile": "import pointsman.machine.machine as m; hang(m, 'reconcile')",
    "leases": "from pointsman.pipeline.observer import Observer as O; hang(O, 'look')",
    "intake": "from pointsman.serve.crowd import Crowd as C; hang(C, 'sweep')",
}
"""The parts of `pointsman up`, and how each comes to stand still."""


class Manager:
    """A stand-in for systemd, which wants a sign of life every 0.8 seconds: what it is told, line by line."""

    def __init__(self, address: str) -> None:
        self.environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "800000"}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._socket.close()

    def has(self, line: str) -> bool:
        """Whether it was told a line that begins so."""
        return any(each.startswith(line) for each in self.heard())

    def heard(self) -> list[str]:
        """All that it was told so far."""
        while True:
            try:
                self.lines += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.lines


def child(directory: Path, manager: Manager, hang: str, words: Sequence[str]) -> Child:
    script = directory / "hanging.py"
    script.write_text(f"SIGN = {str(directory / 'sign')!r}{HANGING}{hang}\nsys.exit(run(sys.argv[1:]))\n")
    return Child("hanging", [sys.executable, script, *words], directory, manager.environment)


def test_what_stands_still_gives_no_sign_of_life_and_is_named(tmp_path: Path) -> None:
    words = ["up", "--store", str(tmp_path / "store.db"), "--listen", "127.0.0.1:0", "--reconcile-every", "1"]
    with (
        Manager(str(tmp_path / "notify")) as manager,
        child(tmp_path, manager, "\n".join(STANDING.values()), [*words, "--http", "127.0.0.1:0"]) as up,
    ):
        wait_until(lambda: manager.has("READY=1"), "it to be ready", children=[up])
        wait_until(lambda: manager.heard().count("WATCHDOG=1") >= 3, "signs of life", children=[up])
        assert "STATUS=serving" in manager.lines
        (tmp_path / "sign").touch()
        for part in STANDING:
            wait_until(lambda part=part: standing(manager, part), f"{part} to be missed", children=[up])  # type: ignore[misc]
        first = next(number for number, line in enumerate(manager.lines) if line.startswith("STATUS=standing still"))
        assert "WATCHDOG=1" not in manager.lines[first:]
        up.kill()  # as systemd does then


def standing(manager: Manager, part: str) -> bool:
    return any(line.startswith("STATUS=standing still") and f"{part} stands still" in line for line in manager.heard())


def test_an_adapter_is_ready_when_it_has_what_it_is_to_serve_and_says_that_it_ends(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    words = ["adapter", "http", "--store", str(store), "--listen", "127.0.0.1:0", "--proxy", "dc1/gateway/edge"]
    # An abstract socket, as systemd has in containers.
    name = f"@pointsman-{os.getpid()}-{tmp_path.name}"
    assert apply(tmp_path, store, resolver("s2")) == 0
    with Manager(name) as manager, child(tmp_path, manager, "", words) as adapter:
        wait_until(lambda: manager.has("STATUS=waiting for the mesh gateway edge in dc1"), "it", children=[adapter])
        wait_until(lambda: manager.has("WATCHDOG=1"), "a sign of life", children=[adapter])
        assert not manager.has("READY=1")
        assert apply(tmp_path, store, gateway("dc1", "edge")) == 0
        wait_until(lambda: manager.has("READY=1"), "it to be ready", children=[adapter])
        adapter.terminate()
        assert adapter.wait() == 0
        assert manager.has("STOPPING=1")


def test_an_agent_is_ready_after_the_first_round_of_checks_and_misses_a_check_that_does_not_end(tmp_path: Path) -> None:
    check = {"id": "alive", "args": ["true"], "interval": "1s", "timeout": "1s"}
    (tmp_path / "web.json").write_text(
        json.dumps({"service": {"name": "web", "port": 1, "check": check, "connect": {"sidecar_service": {"port": 2}}}})
    )
    words = ["agent", "--dc", "dc1", "--node", "h1", "--address", "127.0.0.1", "--to", "http://127.0.0.1:1"]
    hang = """
from pointsman.agent.probe import Prober
whole = Prober.run
async def hung(self, check):
    if Path(SIGN).exists():
        import asyncio
        await asyncio.Event().wait()
    return await whole(self, check)
Prober.run = hung
"""
    with (
        Manager(str(tmp_path / "notify")) as manager,
        child(tmp_path, manager, hang, [*words, str(tmp_path / "web.json")]) as agent,
    ):
        wait_until(lambda: manager.has("READY=1"), "it to be ready", children=[agent])
        wait_until(lambda: manager.heard().count("WATCHDOG=1") >= 3, "signs of life", children=[agent])
        (tmp_path / "sign").touch()
        wait_until(lambda: manager.has("STATUS=standing still"), "it to be missed", children=[agent])
        assert any("alive is" in line for line in manager.lines)
        first = next(number for number, line in enumerate(manager.lines) if line.startswith("STATUS=standing still"))
        assert "WATCHDOG=1" not in manager.lines[first:]
        agent.terminate()
        wait_until(lambda: manager.has("STOPPING=1"), "it to end")


def apply(directory: Path, store: Path, document: dict[str, object]) -> int:
    file = directory / "document.json"
    file.write_text(json.dumps(document))
    return run(["apply", "--store", str(store), "--trust-domain", "td", str(file)])


def test_what_is_told_and_when() -> None:
    clock = Clock()
    with Manager(f"@pointsman-told-{os.getpid()}") as manager:
        environment = manager.environment | {"WATCHDOG_PID": str(os.getpid()), "OTHER": "stays"}
        supervisor = Supervisor(environment, clock)
        # What this process starts is not to speak for it.
        assert environment == {"OTHER": "stays"}
        for _ in range(2):
            supervisor.look()
        assert manager.heard() == ["READY=1", "STATUS=serving", "WATCHDOG=1"]
        clock.now += 0.21
        supervisor.look(failing="the store\nis away " + "x" * 1000)
        status, alive = manager.heard()[3:]
        assert (len(status), alive) == (LONGEST_STATUS + len("STATUS="), "WATCHDOG=1")
        assert status.startswith("STATUS=failing: the store is away x")
        clock.now += 0.21
        supervisor.look(standing="follower stands still for 61 s")
        assert manager.heard()[5:] == ["STATUS=standing still: follower stands still for 61 s"]


def test_nobody_to_tell_is_no_failure(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    Supervisor({}).look()
    assert caplog.text == ""
    supervisor = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"})
    for _ in range(2):
        supervisor.look()
        supervisor.stopping()
    assert caplog.text.count("the service manager cannot be told (No such file or directory): READY=1") == 1
