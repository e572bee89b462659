"""What a function meets outside its process: AWS's services (the mock, over HTTP) and Lambda's runtime API."""

import json
import queue
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.awsrequest import AWSPreparedRequest
from moto.core.models import botocore_stubber

from tests.aws.template import ACCOUNT, REGION

_SCOPE = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def _serving(handler: type[_Handler]) -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _AwsHandler(_Handler):
    dropped: frozenset[str] = frozenset()
    # The mock compares and writes in two steps, which S3 does in one. Others stay out: who waits for a message of a
    # queue waits for seconds.
    lock = threading.RLock()

    def any(self) -> None:
        scope = _SCOPE.search(self.headers.get("authorization", ""))
        if scope is None:
            self.answer(403, {}, b"not signed")
            return
        url = f"https://{scope[2]}.{scope[1]}.amazonaws.com{self.path}"
        sent = {name: value for name, value in self.headers.items() if name.lower() not in self.dropped}
        request = AWSPreparedRequest(self.command, url, sent, self.body(), False)
        with self.lock if scope[2] == "s3" else nullcontext():
            found = botocore_stubber.process_request(request)
        assert found is not None, f"the mock has no {url}"
        status, headers, body = found
        names = {str(name): str(value) for name, value in headers.items()}
        self.answer(status, names, body.encode() if isinstance(body, str) else body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = any


@contextmanager
def aws_over_http(drop: frozenset[str] = frozenset()) -> Iterator[str]:
    """The mocked AWS of this process for other processes: what AWS_ENDPOINT_URL is to be.

    Headers with the lower-case names in `drop` do not arrive.
    """
    with _serving(type("_Dropping", (_AwsHandler,), {"dropped": drop})) as server:
        yield f"http://{server.address}"


@dataclass
class RuntimeApi:
    """Lambda's side of https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html."""

    function: str
    address: str = ""
    events: "queue.Queue[tuple[str, bytes]]" = field(default_factory=queue.Queue)
    answers: "queue.Queue[tuple[str, Any]]" = field(default_factory=queue.Queue)
    ready: threading.Event = field(default_factory=threading.Event)

    def invoke(self, event: dict[str, Any], timeout: float = 30.0) -> tuple[str, Any]:
        """Hand over an event: "response" and the answer, or "error" and what went wrong."""
        self.events.put((str(uuid.uuid4()), json.dumps(event).encode()))
        return self.answers.get(timeout=timeout)


@contextmanager
def runtime_api(function: str) -> Iterator[RuntimeApi]:
    """A runtime API for one execution environment of a function."""
    api = RuntimeApi(function)

    class Handler(_Handler):
        def do_GET(self) -> None:
            api.ready.set()
            id_, event = api.events.get()
            arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{api.function}:live"
            headers = {
                "Lambda-Runtime-Aws-Request-Id": id_,
                "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 30_000),
                "Lambda-Runtime-Invoked-Function-Arn": arn,
                "Content-Type": "application/json",
            }
            self.answer(200, headers, event)

        def do_POST(self) -> None:
            body = self.body()
            self.answer(202, {}, b"{}")
            api.answers.put((self.path.rpartition("/")[2], json.loads(body)))

    with _serving(Handler) as server:
        api.address = server.address
        yield api
