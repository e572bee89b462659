"""A running control plane that does not answer as it should: what a person reads then."""

import json
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pointsman.cli import remote as cli
from pointsman.cli.main import run
from pointsman.cli.remote import Away, Refused, Remote
from pointsman.model.errors import InvalidInput
from pointsman.serve import ask as asking
from pointsman.serve.access import NO_ACCESS, Access

from tests.fleet.ca import CertificateAuthority, Identity
from tests.fleet.process import Ports

Served = Callable[..., int]


@pytest.fixture
def served() -> Iterator[Served]:
    """Starts an HTTP server that gives one answer, and returns its port."""
    running: list[HTTPServer] = []

    def serve(status: int, body: bytes, identity: Identity | None = None) -> int:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        server = HTTPServer(("127.0.0.1", 0), Answer)
        server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
        if identity is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity.certificate, identity.private_key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        running.append(server)
        return server.server_port

    yield serve
    for server in running:
        server.shutdown()
        server.server_close()


def problem(url: str, access: Access = NO_ACCESS) -> str:
    with pytest.raises((Refused, Away)) as error:
        Remote(url, access).ask("GET", ("config",))
    return str(error.value)


def test_who_does_not_answer_is_named_with_the_reason_and_the_way_out(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ports() as ports:
        nobody = f"127.0.0.1:{ports.take('127.0.0.1')}"
        refused = f"http://{nobody} cannot be reached: {nobody}: Connection refused; is `pointsman up` running there?"
        assert problem(f"http://{nobody}") == refused
    assert "No such file or directory; is `pointsman up`" in problem(f"unix:{tmp_path}/none.sock")

    authority = CertificateAuthority(tmp_path, "td")
    port = served(200, b"[]", authority.issue_as("door", [(7, bytes([127, 0, 0, 1]))]))
    trusting = Access(ca=str(authority.file))
    assert Remote(f"https://127.0.0.1:{port}", trusting).ask("GET", ("config",)) == []
    assert "is not vouched for: unable to get local issuer" in problem(f"https://127.0.0.1:{port}")
    assert "is for another name: Hostname mismatch" in problem(f"https://localhost:{port}", trusting)
    assert "does an http server listen there?" in problem(f"https://127.0.0.1:{served(200, b'')}", trusting)

    monkeypatch.setattr(asking, "CONNECT_SECONDS", 0.2)
    with socket.socket() as full, ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        assert "no connection within 0.2 s" in problem(f"http://127.0.0.1:{full.getsockname()[1]}")
    monkeypatch.setattr(cli, "PATIENCE_SECONDS", 1.6)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "no complete answer within 1.6 s" in problem(url)
    assert re.fullmatch(rf"pointsman: waiting for {url}, [0-9]+ s\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": "a; b", "problems": ["a", "b"]}, "a; b"),
        (401, {"error": "a token is required"}, "URL answered 401: a token is required; give --token-file, or --cert"),
        (403, {"error": "not for that"}, "URL answered 403: not for that"),
        (403, {"Message": "Forbidden"}, "URL answered 403: Forbidden"),
        (404, {"error": 'service-resolver "s2": does not exist'}, 'service-resolver "s2": does not exist'),
        (
            404,
            {"error": "there is no such page here"},
            "URL does not know GET /v1/config: it is older than this command",
        ),
        (404, None, "URL does not know GET /v1/config: it is older than this command, or not Pointsman"),
        (409, {"error": "drain dc1: nobody is left", "problems": ["drain dc1: nobody is left"]}, "drain dc1: nobody"),
        (409, {"error": "the config is contended"}, "URL answered 409: the config is contended"),
        (413, {"error": "is too large"}, "URL answered 413: is too large"),
        (503, {"error": "the store is away; send it again"}, "URL answered 503: the store is away; send it"),
        (200, None, "URL answered without JSON: is that Pointsman?"),
    ],
    ids=lambda each: str(each) if isinstance(each, int) else None,
)
def test_an_answer_that_refuses_says_why(served: Served, status: int, body: object, reason: str) -> None:
    url = f"http://127.0.0.1:{served(status, b'Nothing matches' if body is None else json.dumps(body).encode())}"
    assert problem(url).startswith(reason.replace("URL", url))


@pytest.mark.parametrize("url", ["up", "ftp://up", "http://", "https://user:word@up", "http://up?a=b", "http://up:x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="--url"):
        Remote(url, NO_ACCESS)


@pytest.mark.parametrize(
    ("environment", "arguments", "reason"),
    [
        ({}, [], "give --store or --url (or set POINTSMAN_STORE or POINTSMAN_URL)"),
        ({}, ["--store", "a.db", "--url", "http://up"], "give --store or --url, not both"),
        ({"STORE": "a.db", "URL": "http://up"}, [], "POINTSMAN_STORE and POINTSMAN_URL are both set"),
        ({"URL": "http://up"}, ["--store", "a.db"], "there is no store at"),
        ({"STORE": "a.db"}, ["--url", "http://127.0.0.1:1"], "http://127.0.0.1:1 cannot be reached"),
        ({"STORE": "a.db"}, ["--token-file", "token"], "--token-file is for --url"),
        ({"STORE": "a.db", "TOKEN_FILE": "none"}, [], "there is no store at"),
        ({"URL": "http://127.0.0.1:1", "NOTICES": "none"}, [], "http://127.0.0.1:1 cannot be reached"),
        ({"URL": "http://up"}, ["--notices", "none"], "--notices is for --store; a running control plane has its own"),
    ],
)
def test_a_command_is_for_a_store_or_for_a_url_and_what_is_given_beats_the_environment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environment: dict[str, str],
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("STORE", "URL", "TOKEN_FILE"):
        monkeypatch.delenv(f"POINTSMAN_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(f"POINTSMAN_{name}", value)
    alive = {"detail-type": "Source Alive", "detail": {"Source": "a", "Index": 1, "Datacenter": "dc1", "Lease": "30s"}}
    Path("event.json").write_text(json.dumps(alive))
    assert run(["emit", *arguments, "event.json"]) in (1, 2)
    assert reason in capsys.readouterr().err
