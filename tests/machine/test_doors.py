"""The doors of real processes: who is answered, who is turned away, and that an honest client is served meanwhile."""

import asyncio
import contextlib
import http.client
import json
import os
import resource
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from pointsman.cli.main import run
from pointsman.discovery.request import MAX_BODY_BYTES
from pointsman.model.errors import PointsmanError
from pointsman.model.sources.text import MOST_BYTES
from pointsman.serve import ask as asking
from pointsman.serve.ask import NoAnswer, get_json
from pointsman.serve.listen import Listen
from pointsman.store.protocol import StoreError, StoreUnavailable
from pointsman.store.sqlite import SQLiteStore

from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import REPOSITORY, Child, wait_until
from tests.machine.test_sources_sent import Door

JSON = {"content-type": "application/json"}
NODE = {"id": "s1-1", "cluster": "s1", "metadata": {"datacenter": "dc1"}}
MEBIBYTE = 1024 * 1024
FILES = 600
"""Files that a process may open here."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store in which s1 is registered."""
    path, document = tmp_path / "store.db", tmp_path / "s1.json"
    proxy = {"DestinationServiceName": "s1", "Upstreams": [{"DestinationName": "s2", "LocalBindPort": 5000}]}
    service = {"Kind": "connect-proxy", "ID": "s1", "Proxy": proxy}
    document.write_text(json.dumps({"Datacenter": "dc1", "Service": service}))
    assert run(["apply", "--store", str(path), str(document)]) == 0
    return path


class Up(Child):
    """`pointsman up` with 4 GB of address space; `doors` are the places where it listens, by name."""

    def __init__(self, store: Path, *options: str, listen: str = "127.0.0.1:0", files: int = 0) -> None:
        limits = f'ulimit -v 4000000; {f"ulimit -n {files}; " if files else ""}exec "$@"'
        ways = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
        words = [POINTSMAN, "up", "--store", store, "--listen", listen, *ways, *options]
        super().__init__("up", ["sh", "-c", limits, "up", *words], store.parent)
        self.doors: dict[str, Any] = {}

    def __enter__(self) -> "Up":
        super().__enter__()
        said = json.loads(wait_until(self.out.read_bytes, "it to be ready", children=[self]))
        self.doors = {"intake": said["url"], "http": said["http"], "grpc": f"//{said['grpc']}"}
        return self

    def connect(self, door: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", urlsplit(self.doors[door]).port), timeout=30)

    def peak(self) -> int:
        """Bytes of memory that it had at most."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def request(
    url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Status and answer of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port, timeout=30)
    with contextlib.closing(connection):
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, data, JSON if headers is None else headers)
        answer = connection.getresponse()
        text = answer.read()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text


def event(index: int, status: str = "passing") -> dict[str, Any]:
    service = {"ID": "a", "Kind": "connect-proxy", "Address": "127.0.0.1", "Port": 1}
    service["Proxy"] = {"DestinationServiceName": "s2"}
    instance = {"Node": {"Node": "n"}, "Service": service, "Checks": [{"Status": status}]}
    return {"Source": "test", "Index": index, "Datacenter": "dc1", "Service": "s2", "Instances": [instance]}


def serves(up: Up, index: int) -> None:
    """An event is ingested, an Envoy is answered over HTTP and gRPC, and the health check passes."""
    status, told = request(up.doors["intake"], "POST", "/v1/events", event(index))
    assert (status, told["new"]) == (200, True)
    assert request(up.doors["intake"], "GET", "/healthz")[0] == 200
    assert request(up.doors["http"], "POST", "/v3/discovery:clusters", {"node": NODE})[0] == 200
    with grpc.insecure_channel(urlsplit(up.doors["grpc"]).netloc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        grpc.channel_ready_future(channel).result(timeout=30)


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("door", ["intake", "http", "grpc"])
def test_who_connects_and_says_nothing_stops_nobody(door: str, store: Path, many_files: None) -> None:
    with Up(store, files=FILES) as up, contextlib.ExitStack() as held:
        for _ in range(FILES + 300):
            with contextlib.suppress(ConnectionError):
                held.enter_context(up.connect(door))
        for index in range(1, 6):
            serves(up, index)
        assert len(up.err.read_text().splitlines()) <= 10


def test_bodies_that_do_not_end_take_no_more_memory_than_is_said(store: Path) -> None:
    with Up(store) as up, contextlib.ExitStack() as held:
        serves(up, 1)
        before = up.peak()
        for door, path in (("intake", "/v1/events"), ("http", "/v3/discovery:clusters")):
            head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            size = (MOST_BYTES if door == "intake" else MAX_BODY_BYTES) - 1
            for _ in range(24 if door == "intake" else 280):
                connection = held.enter_context(up.connect(door))
                with contextlib.suppress(ConnectionError):
                    connection.sendall(f"{head}content-length: {size + 1}\r\n\r\n".encode() + b" " * size)
        for index in range(2, 5):
            serves(up, index)
        # 256 MiB for each of the two, and half as much again for what is not counted.
        assert up.peak() - before < 1.5 * 2 * 256 * MEBIBYTE
        assert len(up.err.read_text().splitlines()) <= 10


@pytest.mark.parametrize("polls", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_ten_thousand_polls_are_held_and_all_of_them_answered(polls: int, store: Path, many_files: None) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2 * polls:
        pytest.skip("this system lets nobody open so many files")

    async def ask(port: int, version: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        body = json.dumps({"node": NODE, "version_info": version}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v3/discovery:clusters HTTP/1.1\r\nhost: pointsman\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        return reader, writer

    async def held(up: Up, version: str) -> list[bytes]:
        port = urlsplit(up.doors["http"]).port or 0
        waiting = []
        for _ in range(0, polls, 500):
            waiting += await asyncio.gather(*(ask(port, version) for _ in range(500)))
        await asyncio.to_thread(
            wait_until, lambda: subscriptions(up) == polls, "all to be held", children=[up], timeout=60
        )
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
        await asyncio.to_thread(up.terminate)
        answers = await asyncio.gather(*(reader.readline() for reader, _ in waiting))
        for _, writer in [*waiting, *silent]:
            writer.close()
        return answers

    with Up(store) as up:
        version = request(up.doors["http"], "POST", "/v3/discovery:clusters", {"node": NODE})[1]["version_info"]
        assert set(asyncio.run(held(up, version))) == {b"HTTP/1.1 304 Not Modified\r\n"}
        assert up.wait() == 0
        # Where half of the files are taken by polls, those who say nothing are turned away.
        assert len(up.err.read_text().splitlines()) <= 1


def subscriptions(up: Up) -> float:
    text = request(up.doors["intake"], "GET", "/metrics")[1].decode()
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("pointsman_subscriptions{")
    )


OURS = ("localhost", "LOCALHOST:8420", "127.0.0.1", "127.0.0.1:1", "127.1.2.3", "[::1]:8420", "[::1]", "ops.example:80")
OTHERS = (
    "evil.example",
    "evil.example:8420",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "0.0.0.0",
    "10.0.0.1",
    "[::]",
    "localhost@evil.example",
    "",
    "2130706433",
    "ops.example.evil",
)
PAGES = (
    ("intake", "GET", "/v1/status"),
    ("intake", "GET", "/config_dump"),
    ("intake", "GET", "/metrics"),
    ("intake", "GET", "/healthz"),
    ("intake", "POST", "/v1/events"),
    ("intake", "POST", "/v1/consul/watch"),
    ("intake", "PUT", "/v1/config"),
    ("intake", "POST", "/v1/orders"),
    ("http", "GET", "/config_dump"),
    ("http", "GET", "/rejections"),
)


def test_a_page_in_a_browser_gets_nothing_from_this_machine_and_changes_nothing(store: Path) -> None:
    with Up(store, "--host", "OPS.example") as up:
        for door, method, path in PAGES:
            url, body = up.doors[door], event(1) if method == "POST" else None
            own = f"127.0.0.1:{urlsplit(url).port}"
            for host in OTHERS:
                status, told = request(url, method, path, body, {**JSON, "host": host})
                assert (status, "--host NAME" in told["error"]) == (403, True), (path, host)
            for origin in ("https://evil.example", "null", "http://localhost:3000", f"http://{own}.evil.example", "x"):
                status, told = request(url, method, path, body, {**JSON, "host": own, "origin": origin})
                assert (status, "Origin" in told["error"]) == (403, True), (path, origin)
        assert request(up.doors["intake"], "GET", "/v1/status")[1]["resolvers"][0]["targets"][0]["total"] == 0
        for door, method, path in PAGES:
            for host in OURS:
                headers = {**JSON, "host": host}
                for told in ({}, {"origin": f"http://{host}"}):
                    body = event(1) if method == "POST" else None
                    status, answer = request(up.doors[door], method, path, body, headers | told)
                    # What was let in may be refused for what it says.
                    assert status in (200, 400), (path, host, answer)
        # An Envoy's Host is the name of its cluster. A page cannot ask in its place: it has an Origin.
        asked = {"node": NODE}
        for headers, status in (({"host": "pointsman"}, 200), ({"host": "x", "origin": "http://x.example"}, 403)):
            assert request(up.doors["http"], "POST", "/v3/discovery:clusters", asked, headers)[0] == status


def test_what_is_sent_has_to_be_said_to_be_json(store: Path, tmp_path: Path) -> None:
    with Up(store) as up:
        url = up.doors["intake"]
        for path in ("/v1/events", "/v1/consul/watch"):
            for told in (
                "text/plain",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
                "application/jsonp",
                "",
            ):
                status, answer = request(url, "POST", path, event(1), {"content-type": told} if told else {})
                assert status == 415
                assert "-H 'content-type: application/json'" in answer["error"]
        assert request(url, "GET", "/v1/status")[1]["resolvers"][0]["targets"][0]["total"] == 0
        for index, told in enumerate(
            ("application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json")
        ):
            assert request(url, "POST", "/v1/events", event(index + 1), {"content-type": told})[0] == 200
        for body in (
            b"\xff\xfe",
            b"",
            b"\x00",
            b'{"a": "\xed\xa0\x80"}',
            b'{"Index": 1' + b"0" * 5000 + b"}",
            b"[" * 5000,
        ):
            for path in ("/v1/events", "/v1/consul/watch?type=service&dc=dc1&service=s2"):
                status, answer = request(url, "POST", path, body, {**JSON, "x-consul-index": "9" * 5000})
                assert (status, bool(answer["error"])) == (400, True)
        assert "Traceback" not in up.err.read_text()


@pytest.mark.parametrize("mode", ["", "?mode=0600", "?mode=0666"])
def test_events_come_over_a_socket_from_those_whom_its_mode_lets_in(
    mode: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, sent = tmp_path / "events.sock", tmp_path / "event.json"
    sent.write_text(json.dumps(event(1)))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Up(store, listen=f"unix:{path}{mode}") as up:
        assert up.doors["intake"] == f"unix:{path}"
        assert stat.filemode(path.stat().st_mode) == {"": "srw-rw----", "?mode=0600": "srw-------"}.get(
            mode, "srw-rw-rw-"
        )
        assert sorted(each.name for each in tmp_path.iterdir() if each.name.startswith(".")) == []
        assert run(["emit", "--url", f"unix:{path}", str(sent)]) == 0
        assert "took effect" in capsys.readouterr().out
        assert run(["status", "--store", str(store), "--adapter", f"unix:{path}"]) == 0
        with pytest.raises(PointsmanError, match="another process listens there"):
            Listen.read(f"unix:{path}", "--listen").bind("--listen")
        assert run(["emit", "--url", f"unix:{path}", str(sent)]) == 0
        up.terminate()
        assert up.wait() == 0
    assert not path.exists()


@pytest.mark.parametrize("text", ["unix:/s?mode=", "unix:/s?mode=8", "unix:/s?mode=0o600", "unix:/s?mode=77777"])
def test_a_mode_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PointsmanError, match="is no mode of a socket"):
        Listen.read(text, "--listen")


def test_a_socket_has_its_mode_before_anybody_can_connect_and_of_many_that_want_its_place_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    seen: list[str] = []
    link = os.link

    def linked(source: str, target: str) -> None:
        seen.append(stat.filemode(os.stat(source).st_mode))
        link(source, target)

    monkeypatch.setattr(os, "link", linked)
    before = os.umask(0)
    try:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        outcomes: list[Any] = []

        def take() -> None:
            try:
                outcomes.append(Listen.read(f"unix:{path}?mode=0600", "--listen").bind("--listen"))
            except PointsmanError as error:
                outcomes.append(str(error))

        threads = [threading.Thread(target=take) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        os.umask(before)
    listeners = [each for each in outcomes if isinstance(each, socket.socket)]
    assert len(listeners) == 1
    assert all("another process listens there" in each for each in outcomes if isinstance(each, str))
    assert set(seen) == {"srw-------"}
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listeners[0].accept()[0].close()
    listeners[0].close()
    path.unlink()
    path.write_text("mine")
    with pytest.raises(PointsmanError, match="not a socket"):
        Listen.read(f"unix:{path}", "--listen").bind("--listen")
    assert path.read_text() == "mine"


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A head at once, and a byte of the body now and then."""
    handler.send_response(200)
    handler.send_header("content-length", "1000000")
    handler.end_headers()
    drops(handler.wfile.write, b" ")


def drip_head(handler: BaseHTTPRequestHandler) -> None:
    """A byte of the head now and then."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
    drops(handler.wfile.write, b"x")


def flood(handler: BaseHTTPRequestHandler) -> None:
    """More than anybody wants."""
    handler.send_response(200)
    handler.end_headers()
    drops(handler.wfile.write, b" " * MEBIBYTE, pause=0.0)


def drops(write: Callable[[bytes], Any], drop: bytes, pause: float = 0.05) -> None:
    with contextlib.suppress(OSError):
        while True:
            write(drop)
            threading.Event().wait(pause)


@pytest.mark.parametrize("answer", [drip, drip_head, flood])
def test_whoever_is_asked_has_so_much_time_and_so_many_bytes_in_all(
    answer: Callable[[BaseHTTPRequestHandler], None], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(asking, "MOST_ANSWER_BYTES", 8 * MEBIBYTE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        place = Listen.read(f"127.0.0.1:{server.server_port}", "--adapter")
        said = r"no complete answer within 0\.5 s" if answer is not flood else "more than 8388608 bytes"
        with pytest.raises(NoAnswer, match=said):
            get_json(place, "/rejections", timeout=0.5 if answer is not flood else 30.0)
        monkeypatch.setattr("pointsman.cli.rejected._PATIENCE_S", 0.5 if answer is not flood else 30.0)
        monkeypatch.setattr("pointsman.cli.emit._PATIENCE_S", 0.5 if answer is not flood else 30.0)
        assert run(["status", "--store", str(store), "--adapter", f"http://{place}"]) == 1
        sample = REPOSITORY / "events" / "bare-detail.json"
        assert run(["emit", "--url", f"http://{place}", str(sample)]) == 1
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (MemoryError(), 503, "out of memory"),
        (StoreUnavailable("the store is away"), 503, "the store is away"),
        (StoreError("the store is damaged"), 500, "the store is damaged"),
        (ZeroDivisionError("ours"), 500, "a defect of ours, which the log has: ZeroDivisionError"),
    ],
)
def test_what_is_our_fault_is_never_said_to_be_the_events(
    error: Exception, status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("pointsman.api.events.read_json", fail)
    with contextlib.closing(SQLiteStore(tmp_path / "store.db")) as store:
        code, answer = Door(store).post("/v1/events", event(1))
    assert (code, answer["error"].removesuffix("; send it again")) == (status, said)
