"""What an HTTP server does with clients that are too slow or send too much: each gets the reason, and is
disconnected."""

import contextlib
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from pointsman.adapter.report.metrics import Metrics
from pointsman.serve import crowd
from pointsman.serve.body import BodyRefused, ClientGone, read_body
from pointsman.serve.connection import MOST_AHEAD, MOST_HEAD_BYTES, MOST_HEADERS
from pointsman.serve.crowd import Bounds, Crowd, Stage
from pointsman.serve.http import HttpServer
from pointsman.serve.listen import Listen
from pointsman.serve.log import LINES, ONE, FewLines

from tests.adapter.doubles import Clock
from tests.fleet.process import wait_until

LARGEST = 1024 * 1024
BIG = 64 * LARGEST
"""More bytes than any system buffers for a client that does not read."""

BOUNDS = Bounds(connections=20, held=2 * LARGEST, files=0.5)
HEAD = b"POST /echo HTTP/1.1\r\nhost: localhost\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers how many bytes were sent; `/big` with many."""
    try:
        status, body = 200, b"%d" % len(await read_body(scope, receive, LARGEST))
    except ClientGone:
        return
    except BodyRefused as error:
        status, body = error.status, str(error).encode()
    if scope["path"] == "/big":
        body = bytes(BIG)
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Door:
    """A server and its clients."""

    def __init__(self, bounds: Bounds) -> None:
        self.metrics = Metrics(lambda: 0.0, str)
        self.server = HttpServer(app, Listen.read("127.0.0.1:0", "--listen"), bounds=bounds, metrics=self.metrics)
        self._held = contextlib.ExitStack()

    def come(self, sent: bytes = b"") -> socket.socket:
        """A connection on which this was sent."""
        port = int(self.server.address.rpartition(":")[2])
        connection = self._held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=15))
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        return connection

    def honest(self) -> bytes:
        """What an honest client is answered."""
        return heard(self.come(HEAD + b"connection: close\r\ncontent-length: 5\r\n\r\nhello"))

    def count(self, name: str) -> float:
        lines = self.metrics.text().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def __enter__(self) -> "Door":
        self.server.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._held.close()
        self.server.stop()


def heard(connection: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 20):
            found += part
    return found


@pytest.fixture
def door() -> Iterator[Door]:
    with Door(BOUNDS) as door:
        yield door


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may take longer than a moment."""
    for stage in crowd._SECONDS:
        monkeypatch.setitem(crowd._SECONDS, stage, 0.2)
    monkeypatch.setattr("pointsman.serve.http._SWEEP_S", 0.05)


TOO_MUCH = {
    "a header": (HEAD + b"x: " + b"x" * MOST_HEAD_BYTES + b"\r\n\r\n", b" 431 "),
    "a header without an end": (HEAD + b"x: " + b"x" * (64 * MOST_HEAD_BYTES), b" 431 "),
    "a URL": (b"POST /" + b"x" * MOST_HEAD_BYTES + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", b" 431 "),
    "many headers": (HEAD + b"x: y\r\n" * (MOST_HEADERS + 1) + b"\r\n", b" 431 "),
    "what comes after a body": (
        HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\ny: " + b"x" * (64 * MOST_HEAD_BYTES),
        b" 431 ",
    ),
    "a length": (HEAD + b"content-length: %d\r\n\r\nx" % (LARGEST + 1), b" 413 "),
    "a length of many digits": (HEAD + b"content-length: 1" + b"0" * 18 + b"\r\n\r\nx", b" 413 "),
    "a length of more digits than there are": (HEAD + b"content-length: " + b"9" * 5000 + b"\r\n\r\n", b" 400 "),
    "a body in pieces": (
        HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % (LARGEST + 1) + b"x" * (LARGEST + 1) + b"\r\n",
        b" 413 ",
    ),
    "requests ahead": (b"GET /echo HTTP/1.1\r\nhost: localhost\r\n\r\n" * (MOST_AHEAD * 50), b""),
    "no HTTP": (bytes(range(256)), b" 400 "),
    "a path that is no ASCII": (b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n", b" 400 "),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_what_is_too_large_is_refused_and_the_connection_ends(
    what: str, door: Door, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    sent, status = TOO_MUCH[what]
    answer = heard(door.come(sent))
    assert status in answer[:20]
    assert b" 200 " in door.honest()
    assert [record for record in caplog.records if record.exc_info] == []
    wait_until(lambda: door.count("pointsman_connections{") == 0, "all to be gone")


TOO_LONG = {
    "nothing": (b"", b""),
    "an empty line": (b"\r\n", b""),
    "half a head": (HEAD, b" 408 "),
    "half a body": (HEAD + b"content-length: 10\r\n\r\nhalf", b" 408 "),
    "half a body in pieces": (HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n", b" 408 "),
}


@pytest.mark.parametrize("what", TOO_LONG)
def test_who_takes_too_long_is_told_so_and_gone(
    what: str, door: Door, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    sent, status = TOO_LONG[what]
    answer = heard(door.come(sent))
    assert status in answer
    assert bool(answer) is bool(status)
    wait_until(lambda: door.count("pointsman_connections{") == 0, "it to be gone")
    assert door.count('pointsman_connections_turned_away_total{door="http",reason="late') >= 1
    assert caplog.records == []


def test_who_asks_for_nothing_more_is_gone_and_was_not_turned_away(door: Door, hasty: None) -> None:
    assert b" 200 " in heard(door.come(HEAD + b"content-length: 5\r\n\r\nhello"))
    wait_until(lambda: door.count("pointsman_connections{") == 0, "it to be gone")
    assert door.count("pointsman_connections_turned_away_total{") == 0


def test_who_does_not_take_in_its_answer_is_gone(hasty: None) -> None:
    with Door(replace(BOUNDS, held=2 * BIG)) as door:
        connection = door.come(b"GET /big HTTP/1.1\r\nhost: localhost\r\n\r\n")
        late = 'pointsman_connections_turned_away_total{door="http",reason="late: sending"'
        wait_until(lambda: door.count(late), "it to be cut")
        assert len(heard(connection)) < BIG
        wait_until(lambda: door.count("pointsman_connections{") == 0, "it to be gone")


BAD = {
    "says nothing": b"",
    "is between two requests": HEAD + b"content-length: 1\r\n\r\nx",
    "has said half a head": HEAD,
    "has said half a body": HEAD + b"content-length: 10\r\n\r\nhalf",
    "has said nearly all of a large body": HEAD + b"content-length: %d\r\n\r\n" % LARGEST + b"x" * (LARGEST - 1),
    "does not read": b"GET /big HTTP/1.1\r\nhost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("what", BAD)
def test_an_honest_client_is_served_while_there_are_more_others_than_there_is_room_for(
    what: str, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3 * BOUNDS.connections):
        door.come(BAD[what])
    for _ in range(10):
        assert b" 200 " in door.honest()
    assert door.count("pointsman_connections{") <= BOUNDS.connections
    # One line in a minute, once it goes through what a process has before its log.
    few = FewLines()
    assert 1 <= sum(map(few.filter, caplog.records)) <= 2


def test_who_waits_for_an_answer_makes_room_for_nobody() -> None:
    ended: list[str] = []

    class Member:
        def __init__(self, name: str) -> None:
            self.name = name

        def expire(self, stage: Stage) -> None:
            ended.append(f"{self.name} late")

        def abort(self) -> None:
            ended.append(self.name)

    clock = Clock()
    door = Crowd("door", Bounds(3, 100, 1.0), clock=clock)
    for name, stage in (("idle", Stage.IDLE), ("waiting", Stage.WORKING), ("new", Stage.NEW)):
        assert door.admit()
        door.place(Member(name), stage)
    assert door.admit()
    door.place(Member("next"), Stage.WORKING)
    assert door.admit()
    door.place(Member("last"), Stage.WORKING)
    assert (ended, door.admit(), len(door)) == (["new", "idle"], False, 3)
    clock.now += 1e6
    door.sweep()
    assert ended == ["new", "idle"]


def test_of_lines_that_are_alike_few_are_printed_and_the_others_counted() -> None:
    clock = Clock()
    few = FewLines(clock)

    def log(text: str, *args: object, **extra: Any) -> str | None:
        record = logging.LogRecord("here", logging.WARNING, "", 1, text, args, None)
        record.__dict__.update(extra)
        return record.getMessage() if few.filter(record) else None

    printed = [log("%s is refused", each) for each in range(1000)]
    assert [line for line in printed if line][:2] == ["0 is refused", "1 is refused"]
    assert sum(line is not None for line in printed) == LINES
    assert printed[LINES - 1] == f"{LINES - 1} is refused (more like this are left out for a minute)"
    assert log("something else") == "something else"
    assert log("a door is full", **ONE) == "a door is full (more like this are left out for a minute)"
    assert log("a door is full", **ONE) is None
    clock.now += 60
    assert log("%s is refused", "x") == f"x is refused ({1000 - LINES} more like this were left out before)"
    for number in range(5000):
        assert log(f"kind {number}") == f"kind {number}"
    assert len(few._few._windows) <= 1000


def test_a_refusal_is_json(door: Door, hasty: None) -> None:
    _, _, body = heard(door.come(HEAD)).partition(b"\r\n\r\n")
    assert orjson.loads(body) == {"error": "the headers did not come within 10 s"}
