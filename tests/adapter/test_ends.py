"""How a process that Envoys poll ends: held requests are answered."""

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import orjson
import pytest
from pointsman.cli.main import run

from tests.adapter.rest import NODE
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, wait_until

POLLS = 50


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store in which s1 is registered."""
    path, document = tmp_path / "store.db", tmp_path / "s1.json"
    proxy = {"DestinationServiceName": "s1", "Upstreams": [{"DestinationName": "s2", "LocalBindPort": 5000}]}
    document.write_text(
        json.dumps({"Datacenter": "dc1", "Service": {"Kind": "connect-proxy", "ID": "s1", "Proxy": proxy}})
    )
    assert run(["apply", "--store", str(path), str(document)]) == 0
    return path


def serving(command: str, store: Path) -> Child:
    words = ["up", "--http", "127.0.0.1:0", "--listen"] if command == "up" else ["adapter", "http", "--listen"]
    return Child(command, [POINTSMAN, *words, "127.0.0.1:0", "--store", store], store.parent)


def address(child: Child) -> str:
    """The URL where Envoys ask."""
    said: dict[str, Any] = json.loads(wait_until(child.out.read_bytes, "it to be ready", children=[child]))
    return str(said["http"])


def connected(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", urlsplit(url).port, timeout=30)


def ask(connection: http.client.HTTPConnection, version: str = "") -> None:
    body = orjson.dumps({"node": NODE, "version_info": version})
    connection.request("POST", "/v3/discovery:clusters", body, {"content-type": "application/json"})


def hold(connection: http.client.HTTPConnection) -> None:
    """Ask twice, the second time for what is newer."""
    ask(connection)
    ask(connection, orjson.loads(connection.getresponse().read())["version_info"])


def held(url: str) -> int:
    with urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return round(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("pointsman_subscriptions{")))


@pytest.mark.parametrize("command", ["up", "adapter"])
def test_a_process_that_is_told_to_end_answers_every_poll_that_it_holds(command: str, store: Path) -> None:
    with serving(command, store) as child:
        url = address(child)
        polls = [connected(url) for _ in range(POLLS)]
        for poll in polls:
            hold(poll)
        wait_until(lambda: held(url) == POLLS, "all of them to be held", children=[child])
        child.terminate()
        answers = [poll.getresponse() for poll in polls]
        assert {(answer.status, answer.read()) for answer in answers} == {(304, b"")}
        assert child.wait() == 0
        # Had it waited for somebody until its patience was over, it would say so.
        assert child.err.read_text() == ""
