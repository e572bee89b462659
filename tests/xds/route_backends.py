"""HTTP servers that tell what reached them: who answered, and the path and headers that were received."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Backends:
    """Servers on 127.0.0.1, in threads, that live as long as the `with` block.

    They answer 200 with {"by", "instance", "path", "received"} as JSON, `received` being the headers. A request can ask
    for something else: with `x-fail-times: N` its first N attempts get 503, with `x-stall` it is never answered, with
    `upgrade` it gets 101.
    """

    def __init__(self) -> None:
        self._servers: list[_Server] = []
        self._closing = threading.Event()

    def add(self, name: str, instances: int = 1) -> list[int]:
        """Start `instances` servers that answer as `name`; their ports."""
        started = [_Server(name, each, self._closing) for each in range(instances)]
        self._servers += started
        for server in started:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return [server.server_address[1] for server in started]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, name: str, instance: int, closing: threading.Event) -> None:
        self.name, self.instance, self.closing = name, instance, closing
        self.attempts: Counter[str] = Counter()
        super().__init__(("127.0.0.1", 0), _Answer)


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        if "x-stall" in self.headers:
            self.server.closing.wait()
            return
        if "upgrade" in self.headers:
            self.send_response(101)
            self.send_header("upgrade", self.headers["upgrade"])
            self.send_header("connection", "upgrade")
            self.end_headers()
            self.close_connection = True
            return
        # Envoy gives all attempts of a request one id.
        request = self.headers.get("x-request-id", "")
        self.server.attempts[request] += 1
        failing = self.server.attempts[request] <= int(self.headers.get("x-fail-times", "0"))
        answer: dict[str, Any] = {
            "by": self.server.name,
            "instance": self.server.instance,
            "path": self.path,
            "received": {name.lower(): value for name, value in self.headers.items()},
        }
        body = json.dumps(answer).encode()
        self.send_response(503 if failing else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test's output is its own."""
