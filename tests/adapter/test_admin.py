"""What an Envoy's counters and its own words tell of what it rejects; an admin that is away is no error."""

import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from pointsman.adapter.admin.client import Admin
from pointsman.adapter.admin.watch import AdminWatch
from pointsman.adapter.report.metrics import Metrics
from pointsman.adapter.report.rejection import Rejection, standing
from pointsman.discovery.proxy import ProxyId
from pointsman.model.errors import InvalidInput

from tests.adapter.doubles import Clock
from tests.adapter.node import S1

CLUSTER = "68b862c7:s2.default.dc1.internal.mesh.example"
STAT = CLUSTER.replace(":", "_")


class Told:
    """An admin that gives scripted answers, as Envoy 1.40 does: see the recorded shapes in test_rejected_on_envoy."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {"server.uptime": 1}
        self.listeners: Any = None
        self.node: dict[str, Any] = {"id": "s1-1", "cluster": "s1", "metadata": {"datacenter": "dc1"}}
        told = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                body = told.answer(url.path, parse_qs(url.query))
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(orjson.dumps(body))

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        import re

        if path == "/server_info":
            return {"node": self.node}
        if path == "/config_dump":
            return self.listeners
        pattern = re.compile(query["filter"][0])
        stats = [{"name": name, "value": value} for name, value in self.values.items() if pattern.search(name)]
        return {"stats": [*stats, {"histograms": {}}]}

    def reject(self, prefix: str, times: int = 1) -> None:
        """Reject what came."""
        self.values[f"{prefix}.update_rejected"] = self.values.get(f"{prefix}.update_rejected", 0) + times

    def accept(self, prefix: str, version: str = "1") -> None:
        """Take what came."""
        self.values[f"{prefix}.update_success"] = self.values.get(f"{prefix}.update_success", 0) + 1
        self.values[f"{prefix}.version_text"] = version

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def told() -> Iterator[Told]:
    """An admin."""
    told = Told()
    yield told
    told.close()


class Watch:
    """One watch of `told`."""

    def __init__(self, told: Told, clock: Clock) -> None:
        self.metrics = Metrics(lambda: 0.0, str)
        self.serves: dict[tuple[str, str], str] = {}
        admin = Admin.read(f"127.0.0.1:{told.server.server_port}")
        self.watch = AdminWatch([admin], self.metrics, self._clusters_of, self._has, now=clock)

    def look(self) -> list[tuple[str, str, str]]:
        """What is rejected now."""
        self.watch.look()
        return [(each.kind, each.name, each.reason) for each in self.watch.rejections()]

    def counted(self, kind: str) -> float:
        return self.metrics.rejected.labels("admin", kind)._value.get()

    def _clusters_of(self, proxy: ProxyId) -> list[str]:
        assert proxy == S1
        return [CLUSTER]

    def _has(self, proxy: ProxyId, kind: str, name: str, version: str) -> bool | None:
        wanted = self.serves.get((kind, name))
        return None if wanted is None else version == wanted


NO_WORDS = "its admin does not say why; its log does"


def test_what_is_rejected_stands_until_something_is_taken_and_is_logged_once(
    told: Told, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(told, clock)
    told.accept("cluster_manager.cds")
    assert watch.look() == []
    told.reject("cluster_manager.cds", 3)
    told.reject(f"cluster.{STAT}")
    with caplog.at_level(logging.WARNING):
        found = watch.look()
        assert found == [("clusters", "", NO_WORDS), ("endpoints", CLUSTER, NO_WORDS)]
        assert watch.look() == found
    assert len(caplog.messages) == 2
    assert caplog.messages[1] == (
        f"s1-1, the sidecar of default/s1 in dc1, rejects endpoints of {CLUSTER} and keeps what it had: {NO_WORDS}"
    )
    assert (watch.counted("clusters"), watch.counted("endpoints")) == (3, 1)
    (first, _) = watch.watch.rejections()
    assert (first.way, first.proxy, first.node, first.since) == ("admin", S1, "s1-1", "1970-01-01T00:16:40.000Z")
    told.accept("cluster_manager.cds")
    assert watch.look() == [("endpoints", CLUSTER, NO_WORDS)]
    # Something was taken and something rejected in between two looks: the version tells which was the last.
    for version, stands in (("2", True), ("3", False)):
        told.accept(f"cluster.{STAT}", version)
        told.reject(f"cluster.{STAT}")
        watch.serves = {("endpoints", CLUSTER): "3"}
        assert bool(watch.look()) is stands
        assert bool(watch.look()) is stands


def test_listeners_are_told_in_envoys_words(told: Told, clock: Clock) -> None:
    watch = Watch(told, clock)
    watch.look()
    told.reject("listener_manager.lds")
    told.listeners = {
        "configs": [
            {"name": "good"},
            {"name": "s2", "error_state": {"details": "no such filter"}},
            {"error_state": {"details": "bad port", "failed_configuration": {"name": "s3"}}},
        ]
    }
    assert watch.look() == [("listeners", "s2", "no such filter"), ("listeners", "s3", "bad port")]
    assert watch.watch.dump()["envoys"] == [
        {"admin": f"127.0.0.1:{told.server.server_port}", "node": "s1-1", "proxy": "dc1/sidecar/default/s1", "away": ""}
    ]


def test_what_was_rejected_before_the_first_look_stands_if_the_envoy_has_not_what_it_should_have(
    told: Told, clock: Clock
) -> None:
    told.accept("cluster_manager.cds", "old")
    told.reject("cluster_manager.cds")
    told.accept(f"cluster.{STAT}", "7")
    told.reject(f"cluster.{STAT}")
    watch = Watch(told, clock)
    watch.serves = {("clusters", ""): "new", ("endpoints", CLUSTER): "7"}
    assert watch.look() == [("clusters", "", NO_WORDS)]
    # It is over when what was rejected is taken back, though nothing new was taken.
    watch.serves["clusters", ""] = "old"
    assert watch.look() == []
    unknowing = Watch(told, clock)
    assert unknowing.look() == []


def test_an_envoy_that_started_again_starts_from_nothing(told: Told, clock: Clock) -> None:
    watch = Watch(told, clock)
    told.values["server.uptime"] = 100
    watch.look()
    told.reject("cluster_manager.cds")
    assert len(watch.look()) == 1
    told.values = {"server.uptime": 1}
    told.node = {**told.node, "id": "s1-2"}
    assert watch.look() == []
    told.reject("cluster_manager.cds")
    assert len(watch.look()) == 1
    assert watch.watch.rejections()[0].node == "s1-2"


@pytest.mark.parametrize("wrong", ["away", "nobody of ours", "nonsense", "nothing"])
def test_an_admin_that_does_not_answer_as_it_should_is_no_error(told: Told, clock: Clock, wrong: str) -> None:
    watch = Watch(told, clock)
    watch.look()
    told.reject("cluster_manager.cds")
    assert len(watch.look()) == 1
    if wrong == "away":
        told.close()
    elif wrong == "nobody of ours":
        told.node, told.values["server.uptime"] = {"id": "x", "cluster": "Not A Label"}, 0
    elif wrong == "nonsense":
        told.answer = lambda path, query: [1, {"stats": "none"}]  # type: ignore[method-assign]
    else:
        told.answer = lambda path, query: None  # type: ignore[method-assign]
    assert watch.look() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1:9901", "is not on this machine"),
        ("127.0.0.1:0", "has no port"),
        ("here", "neither IP:PORT nor unix:PATH"),
    ],
)
def test_an_admin_elsewhere_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Admin.read(text)


def test_who_knows_best_tells_of_a_rejection() -> None:
    def rejection(way: str, kind: str, node: str = "s1-1") -> Rejection:
        return Rejection(way, S1, node, kind, "", "why", "then")

    said, told, concluded = (rejection(way, "clusters") for way in ("ads", "admin", "rest"))
    other, elsewhere = rejection("rest", "listeners"), rejection("rest", "clusters", "s1-2")
    assert standing([concluded, told, other, elsewhere]) == [told, other, elsewhere]
    assert standing([told, said, concluded]) == [said]
