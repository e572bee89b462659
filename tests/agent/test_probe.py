"""Each kind of check against real sockets and processes."""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from pointsman.agent.definition import CheckDefinition
from pointsman.agent.probe import Prober
from pointsman.agent.verdict import Result

from tests.fleet.process import Ports


def run(**fields: Any) -> Result:
    """One run of the check with these fields."""

    async def once() -> Result:
        prober = Prober()
        try:
            return await prober.run(CheckDefinition.model_validate({"interval": "1s", **fields}))
        finally:
            await prober.close()

    return asyncio.run(once())


STOPPING = threading.Event()


class Answers(BaseHTTPRequestHandler):
    """Answers the status in the path, `/slow` never, and what it was sent."""

    def do_GET(self) -> None:
        if self.path == "/slow":
            STOPPING.wait(60)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/200")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        said = f"{self.command} {self.headers.get('x-token')} {body.decode()}".encode()
        self.send_response(int(self.path[1:]))
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    STOPPING.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def closed() -> Iterator[int]:
    """A port on which nobody listens."""
    with Ports() as ports:
        yield ports.take("127.0.0.1")


def test_over_http_2xx_passes_429_warns_and_all_else_is_critical(web: str, closed: int) -> None:
    found = {path: run(http=f"{web}/{path}").status for path in ("200", "201", "301", "404", "429", "500", "moved")}
    assert found == {
        "200": "passing",
        "201": "passing",
        "301": "critical",
        "404": "critical",
        "429": "warning",
        "500": "critical",
        "moved": "passing",
    }
    assert run(http=f"{web}/moved", disable_redirects=True).status == "critical"
    sent = run(http=f"{web}/200", method="PUT", header={"X-Token": ["secret"]}, body="ping")
    assert "PUT secret ping" in sent.output
    assert run(http=f"{web}/slow", timeout="50ms") == Result("critical", "no result within 0.05 s")
    refused = run(http=f"http://127.0.0.1:{closed}/")
    assert refused.status == "critical"
    assert "Connect call failed" in refused.output


def test_over_tcp_a_connection_is_enough(web: str, closed: int) -> None:
    assert run(tcp=web.removeprefix("http://")).status == "passing"
    assert run(tcp=f"127.0.0.1:{closed}").status == "critical"
    assert run(tcp=web.removeprefix("http://"), tcp_use_tls=True, timeout="5s").status == "critical", "it speaks no TLS"


def test_over_udp_only_a_closed_port_is_critical(closed: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        assert run(udp=f"127.0.0.1:{listening.getsockname()[1]}").status == "passing"
    assert run(udp=f"127.0.0.1:{closed}").status == "critical"


def test_over_grpc_the_health_service_decides(closed: int) -> None:
    servicer = health.HealthServicer()
    servicer.set("good", health_pb2.HealthCheckResponse.SERVING)
    servicer.set("ill", health_pb2.HealthCheckResponse.NOT_SERVING)
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        found = [run(grpc=f"127.0.0.1:{port}{service}").status for service in ("", "/good", "/ill", "/absent")]
    finally:
        server.stop(None)
    assert found == ["passing", "passing", "critical", "critical"]
    assert "UNAVAILABLE" in run(grpc=f"127.0.0.1:{closed}").output


def test_the_exit_code_of_a_command_decides_and_all_that_it_started_ends_with_it(tmp_path: Path) -> None:
    assert [run(args=["sh", "-c", f"echo said; exit {code}"]).status for code in (0, 1, 2, 77)] == [
        "passing",
        "warning",
        "critical",
        "critical",
    ]
    assert run(args=["sh", "-c", "echo one; echo two >&2"]).output == "one\ntwo\n"
    assert run(args=["/nonexistent"]).status == "critical"
    assert len(run(args=[sys.executable, "-c", "print('x' * 1000000)"]).output) == 4096
    alive = tmp_path / "alive"
    slow = run(args=["sh", "-c", f"(while sleep 0.05; do touch {alive}; done) & wait"], timeout="500ms")
    assert slow == Result("critical", "no result within 0.5 s")
    alive.unlink(missing_ok=True)
    time.sleep(0.3)
    assert not alive.exists(), "a process that it started lives on"
