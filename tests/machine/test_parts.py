"""A process with a part that ends or fails: the process reports it, and its supervisor restarts it."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from pointsman.machine.process import AdapterProcess
from pointsman.machine.reconciling import LATE, Reconciling
from pointsman.machine.settings import AdapterSettings
from pointsman.model.errors import PointsmanError
from pointsman.serve.http import HttpServer
from pointsman.serve.listen import Listen
from pointsman.serve.supervisor import Supervisor
from pointsman.store.protocol import StoreUnavailable
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.doubles import Clock
from tests.fleet.process import Child, wait_until

POISONED = """
import sys, threading
import pointsman.adapter.ads.server, pointsman.serve.http, pointsman.machine.machine
from pointsman.cli.main import run

def poison(where, name, first):
    # From the moment on at which "ready" was said, it raises what no thread survives; or, for `first`, an exception.
    whole = getattr(where, name)
    def poisoned(*args, **kwargs):
        if ready.is_set():
            raise first("poisoned") if first else SystemExit("poisoned")
        return whole(*args, **kwargs)
    setattr(where, name, poisoned)

ready = threading.Event()
told = pointsman.machine.machine.Machine._ready
def say(*args):
    told(*args)
    ready.set()
pointsman.machine.machine.Machine._ready = say
{poison}
sys.exit(run(sys.argv[1:]))
"""

PARTS = {
    "reconcile": "import pointsman.machine.machine as m; poison(m, 'reconcile', None)",
    "follower": "from pointsman.adapter.follow.follower import Follower as F; poison(F, 'refresh', None)",
    "files": "from pointsman.adapter.follow.follower import Follower as F; poison(F, 'refresh', None)",
    "admin": "from pointsman.adapter.admin.watch import AdminWatch as A; poison(A, 'look', None)",
    "http": "from pointsman.serve.http import _Server as S; poison(S, 'on_tick', None)",
    "intake": "from pointsman.serve.http import _Server as S; poison(S, 'on_tick', None)",
    "grpc": (
        "from pointsman.adapter.ads.server import AdsServer as S; import threading\n"
        "threading.Thread(target=lambda: (ready.wait(), [s._loop.call_soon_threadsafe(s._loop.stop) for s in made]),"
        " daemon=True).start()\n"
        "made = []; init = S.__init__\n"
        "def noted(self, *a, **k): init(self, *a, **k); made.append(self)\n"
        "S.__init__ = noted"
    ),
}
"""Every thread that `pointsman up` has and that has to go on, and what ends it."""


ALIVE = {"alive": True, "ended": "", "standing_still": ""}


def up(directory: Path, poison: str, *ways: str) -> Child:
    script = directory / "poisoned.py"
    script.write_text(POISONED.replace("{poison}", poison))
    words = ["up", "--store", directory / "store.db", "--listen", "127.0.0.1:0", "--reconcile-every", "1", *ways]
    return Child("up", [sys.executable, script, *words], directory)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_ends_ends_the_process_with_one_line(part: str, tmp_path: Path) -> None:
    ways: dict[str, list[str]] = {
        "files": ["--files", str(tmp_path / "envoys")],
        "grpc": ["--grpc", "127.0.0.1:0"],
        "admin": ["--envoy-admin", "127.0.0.1:1"],
    }
    with up(tmp_path, PARTS[part], *ways.get(part, ["--http", "127.0.0.1:0"])) as child:
        assert child.wait() == 1
        said = [line for line in child.err.read_text().splitlines() if "a part has ended unexpectedly" in line]
        assert len(said) == 1
        ended = said[0].removeprefix("pointsman: a part has ended unexpectedly: ").partition(" (")[0]
        assert part in ended.split(", ")


FAILING = {
    "reconcile": PARTS["reconcile"].replace("None", "RuntimeError"),
    "follower": PARTS["follower"].replace("None", "RuntimeError"),
}


@pytest.mark.parametrize("part", FAILING)
def test_a_part_that_fails_every_time_is_shown_and_everything_else_goes_on(part: str, tmp_path: Path) -> None:
    with up(tmp_path, FAILING[part], "--http", "127.0.0.1:0") as child:
        url = json.loads(wait_until(child.out.read_bytes, "it to be ready", children=[child]))["url"]
        failing = wait_until(lambda: page(url, "readyz")[1]["failing"], "it to be shown", children=[child])
        assert "RuntimeError: poisoned" in failing
        assert (page(url, "healthz"), child.alive) == ((200, ALIVE), True)
        wait_until(lambda: child.err.read_text().count("RuntimeError: poisoned") > 3, "more turns", children=[child])
        assert child.err.read_text().count("Traceback") == 1
        child.terminate()
        assert child.wait() == 0


def page(url: str, name: str) -> tuple[int, Any]:
    try:
        with urlopen(f"{url}/{name}", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture
def process(tmp_path: Path) -> Iterator[AdapterProcess]:
    store = SQLiteStore(tmp_path / "store.db")
    yield AdapterProcess(store, AdapterSettings(ops="127.0.0.1:0"))
    store.close()


def test_health_and_readiness_say_which_part_has_ended(process: AdapterProcess) -> None:
    alive, stop = threading.Event(), threading.Event()
    alive.set()
    process.parts.watch("something", alive.is_set)
    with ExitStack() as serving:
        url = process.start(serving)["ops"]
        assert page(url, "healthz") == (200, ALIVE)
        alive.clear()
        assert page(url, "healthz") == (503, ALIVE | {"alive": False, "ended": "something"})
        status, ready = page(url, "readyz")
        assert (status, ready["ready"], ready["ended"]) == (503, False, "something")
        with pytest.raises(PointsmanError, match="a part has ended unexpectedly: something"):
            process.parts.wait(stop, Supervisor({}), process.waiting_for)


def test_every_thread_of_a_process_is_watched(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.db")
    settings = AdapterSettings(http="127.0.0.1:0", grpc="127.0.0.1:0", ops="127.0.0.1:0", files=tmp_path / "envoys")
    process = AdapterProcess(store, settings)
    before = set(threading.enumerate())
    with ExitStack() as serving:
        process.start(serving)
        started = {thread.name for thread in set(threading.enumerate()) - before}
        watched = {part.name for part in process.parts._parts}
        # Threads of a pool end with what they are given, gRPC and the followers see to their own.
        others = ("files_", "confirming", "Thread-")
        assert {name for name in started if not name.startswith(others)} - watched == set()
        assert watched == {"http", "grpc", "ops", "files", "follower", "seeing"}
    store.close()


def test_a_reconcile_that_does_not_come_to_its_end_is_told_of_after_some_periods() -> None:
    clock, outcome = Clock(), [StoreUnavailable("the store is away")]
    turns = threading.Semaphore(0)

    def reconcile() -> None:
        turns.release()
        if outcome:
            raise outcome[0]

    reconciling = Reconciling(reconcile, 0.1, clock=clock)
    reconciling.start()
    for _ in range(3):
        turns.acquire()
    assert (reconciling.problem, reconciling.age) == ("", 0.0)
    clock.now += LATE + 1
    assert "the store is away" in reconciling.problem
    outcome.clear()
    wait_until(lambda: not reconciling.problem, "it to come to its end")
    reconciling.stop()
    assert not reconciling.alive


def test_a_server_whose_thread_dies_is_not_alive(caplog: pytest.LogCaptureFixture) -> None:
    server = HttpServer(lambda *_: None, Listen.read("127.0.0.1:0", "--ops"))  # type: ignore[arg-type, return-value]
    server.start()
    assert server.alive

    async def fail(counter: int) -> bool:
        raise RuntimeError("on its own")

    server._server.on_tick = fail  # type: ignore[method-assign]
    deadline = time.monotonic() + 10
    while server.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not server.alive
    assert "the server has ended" in caplog.text
    server.stop()
