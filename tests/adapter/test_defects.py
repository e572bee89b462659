"""A failure of any kind for one proxy affects that proxy alone: the others fail over, and operators see it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.adapter.ads import conversation, shelf
from pointsman.adapter.files import files_adapter
from pointsman.adapter.files.proxy_files import ProxyFiles
from pointsman.adapter.follow import views
from pointsman.adapter.report import defects
from pointsman.adapter.rest import book, rest_adapter
from pointsman.discovery import deliveries
from pointsman.discovery.proxy import SidecarId
from pointsman.machine.process import AdapterProcess
from pointsman.store import keys

from tests.adapter.doubles import Remote
from tests.adapter.node import MANIFEST, NEW, S1
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.adapter.rest import Envoy
from tests.adapter.streams import CLUSTERS, node, stream
from tests.adapter.three_ways import OF_S1, Seen, three_ways
from tests.fleet.process import wait_until


def _has_it(argument: Any) -> bool:
    found = getattr(argument, "manifests", argument)
    found = getattr(found, "delivery", found)
    return any(OF_S1.encode() in each for each in getattr(found, "listeners", ()) or ())


def _raises_for_s1(function: Callable[..., Any]) -> Callable[..., Any]:
    def raising(*arguments: Any, **named: Any) -> Any:
        if any(map(_has_it, arguments)):
            raise RuntimeError("a planted defect")
        return function(*arguments, **named)

    return raising


# Where the defect is, and for whom among files, HTTP and gRPC: every step from the store to an Envoy.
PLACES: dict[str, tuple[list[tuple[Any, str]], str]] = {
    "the view": ([(views, "make_view")], "files http grpc"),
    "what is delivered": ([(files_adapter, "deliver_sidecar"), (deliveries, "deliver_sidecar")], "files http grpc"),
    "the files": ([(ProxyFiles, "bring")], "files"),
    "the answers": ([(book, "view_listeners")], "http"),
    "the resources": ([(shelf, "make_resources")], "grpc"),
}


@pytest.fixture
def process(store: Remote, publisher: Publisher, tmp_path: Path) -> Iterator[tuple[AdapterProcess, Seen, Seen]]:
    """All three ways in one process, at work for s1 and s9."""
    with three_ways(store, publisher, tmp_path) as found:
        yield found


@pytest.mark.parametrize("place", PLACES)
def test_a_defect_is_one_proxys_and_the_others_fail_over(
    place: str,
    process: tuple[AdapterProcess, Seen, Seen],
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    adapter, s1, s9 = process
    where, ways = PLACES[place]
    monkeypatch.setattr(defects, "AGAIN_S", 0.3)
    with monkeypatch.context() as planted:
        for module, name in where:
            planted.setattr(module, name, _raises_for_s1(getattr(module, name)))
        publisher.head(sidecar_plan(), content(["dc2"]))
        assert s9.grpc() == "dc2"
        wait_until(lambda: s9.http() == "dc2" and s9.files() == "dc2", "s9 to fail over")
        # Once more: whatever the first failure left behind, what comes next is not kept from anybody.
        publisher.head(sidecar_plan(), content(["dc3"]))
        assert s9.grpc() == "dc3"
        wait_until(lambda: s9.http() == "dc3" and s9.files() == "dc3", "s9 to fail over again")
        wait_until(lambda: S1 in adapter.problems(), "the problem of s1 to be told")
        assert set(adapter.problems()) == {S1}
        assert any("planted" in line for line in adapter.problems()[S1])
        assert "pointsman_proxies_behind 1.0" in adapter.metrics.text().decode()
        for way in ways.split():
            if way != "grpc":
                assert getattr(s1, way)() == "dc1"
        assert not adapter.parts.ended
        told = [each for each in caplog.records if each.levelname == "ERROR"]
        assert 1 <= len(told) <= len(ways.split())
        assert all(str(S1) in each.getMessage() for each in told)
    # It is tried again without anything new.
    wait_until(lambda: s1.http() == "dc3" and s1.files() == "dc3", "s1 to catch up")
    assert "dc3" in (s1.grpc(), *([] if "grpc" in ways.split() else [s1.grpc()]))
    wait_until(lambda: not adapter.problems(), "the problem to be over")


def test_what_one_request_or_stream_cannot_be_told_is_refused_and_the_others_go_on(
    process: tuple[AdapterProcess, Seen, Seen], publisher: Publisher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    adapter, _, s9 = process
    envoy = Envoy(tmp_path / "http")
    with monkeypatch.context() as planted:

        def broken(*arguments: Any) -> Any:
            raise RuntimeError("a planted defect")

        planted.setattr(rest_adapter.RestChannel, "wait", broken)
        planted.setattr(conversation.Conversation, "_new_clusters", broken)
        reply = envoy.ask("listeners", envoy.ask("listeners").version)
        assert (reply.status, "a planted defect" in reply.json["error"]) == (500, True)
        with stream(f"unix:{tmp_path / 'grpc'}") as refused:
            refused.say(CLUSTERS, node=node(NEW))
            with pytest.raises(Exception, match="a planted defect"):
                refused.hear()
        assert set(adapter.problems()) == {S1}
        publisher.head(sidecar_plan(), content(["dc2"]))
        assert s9.grpc() == "dc2"


@pytest.mark.parametrize("serial", ["1e999", "[1]", '"1"', "{}", "NaN", "-1e999", "null"])
def test_an_object_of_whatever_kind_is_no_others_concern(
    serial: str, process: tuple[AdapterProcess, Seen, Seen], publisher: Publisher
) -> None:
    adapter, _, s9 = process
    publisher.garbage(MANIFEST, b'{"serial": %s, "kind": %s}' % (serial.encode(), serial.encode()))
    publisher.garbage(keys.snapshot(sidecar_plan(service="s3").key), b'{"serial": %s}' % serial.encode())
    publisher.head(sidecar_plan(), content(["dc2"]))
    assert s9.grpc() == "dc2"
    wait_until(lambda: S1 in adapter.problems(), "the problem of s1 to be told")
    assert not adapter.parts.ended


def test_what_fails_is_kept_within_a_bound_and_let_go_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defects, "MOST_DEFECTS", 20)
    found = defects.Defects()
    for number in range(100):
        with found.of(SidecarId("dc1", "default", f"s{number}"), "something"):
            raise RuntimeError("a planted defect")
    assert [each.service for each in found.problems()] == [f"s{number}" for number in range(80, 100)]
    for each in found.problems():
        with found.of(each, "something"):
            pass
    assert not found.problems()
