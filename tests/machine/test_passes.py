"""Waiting events are ingested in one pass, and each is answered for itself."""

import asyncio
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pointsman.api.events import read_event
from pointsman.api.request import Answer, Api, Request
from pointsman.machine import passes
from pointsman.machine.passes import Passes
from pointsman.pipeline import ingest as ingesting
from pointsman.store import keys

from tests.fleet.process import wait_until
from tests.pipeline.meshes import instance, resolver, sidecar
from tests.pipeline.place import Place


@pytest.fixture
def place() -> Place:
    """Sidecars of `api` talk to `web`."""
    place = Place()
    place.configure(resolver("web"), sidecar("api", "web"))
    return place


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each pass had."""
    seen: list[int] = []
    real = ingesting.ingest_all

    def counted(engine: Any, events: Sequence[Any], *more: Any) -> Any:
        seen.append(len(events))
        return real(engine, events, *more)

    monkeypatch.setattr(passes, "ingest_all", counted)
    return seen


def said(index: int, status: str = "passing", service: str = "web", size: int = 0) -> bytes:
    """An event about the one instance of a service, at least `size` bytes long."""
    detail = {"Source": "consul", "Datacenter": "dc1", "Service": service, "Index": index}
    return json.dumps({"detail": {**detail, "Instances": [instance(service, 1, status)]}}).encode().ljust(size)


def sent(place: Place, *bodies: bytes) -> tuple[list[tuple[int, Any]], list[str]]:
    """The answers to `bodies`, all sent at the same time, and what was reported."""
    reported: list[str] = []

    async def run() -> list[Answer]:
        taking = Passes(Api(place.engine), reported.append)
        requests = [Request("POST", "/v1/events", body=body) for body in bodies]
        return await asyncio.gather(*(taking.take(each, read_event) for each in requests))

    return [(each.status, each.body) for each in asyncio.run(run())], reported


def test_what_comes_while_a_pass_is_under_way_is_the_next_one(place: Place, together: list[int]) -> None:
    answers, _ = sent(place, *(said(index, "critical" if index % 2 else "passing") for index in range(1, 101)))
    assert [code for code, _ in answers] == [200] * 100
    assert [answer["revision"] for _, answer in answers] == list(range(1, 101))
    assert together == [1, 99], "the first waited for nobody"
    assert place.objects.objects[keys.catalog("dc1/service/default/web")]


def test_each_is_answered_for_itself(place: Place, together: list[int]) -> None:
    catalog = keys.catalog("dc1/service/default/db")
    place.objects.damage(catalog, b"{")
    answers, reported = sent(place, said(1), b"{", said(2, service="db"), b"\xff", said(2, "critical"), said(1))
    assert [code for code, _ in answers] == [200, 400, 500, 400, 200, 200]
    assert "is not JSON" in answers[1][1]["error"]
    assert catalog in answers[2][1]["error"]
    assert answers[5][1]["stale"], "the last one is older than the one before it"
    assert [line.partition(":")[0] for line in reported] == ["stale"]
    assert together == [1, 3]


def test_a_pass_takes_so_many_requests_and_so_many_bytes(
    place: Place, together: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "MOST_TOGETHER", 4)
    sent(place, *(said(index) for index in range(1, 11)))
    assert together == [1, 4, 4, 1]
    together.clear()
    monkeypatch.setattr(passes, "MOST_TOGETHER_BYTES", 6000)
    sent(place, *(said(index, size=3000) for index in range(11, 17)))
    assert together == [1, 2, 2, 1]


def test_what_is_left_of_a_pass_that_takes_too_long_is_taken_in_event_by_event(
    place: Place, together: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "PASS_SECONDS", 0.0)
    monkeypatch.setattr("pointsman.pipeline.settle.BATCH", 1)
    place.configure(*(sidecar(f"c{number}", f"s{number}") for number in range(4)))
    answers, _ = sent(place, said(1), *(said(1, service=f"s{number}") for number in range(4)))
    assert [code for code, _ in answers] == [200] * 5
    assert together == [1, 4, 1, 1, 1], "one step of the pass, and what was left of it"


def test_more_than_may_wait_is_asked_for_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = said(1), said(2)
    monkeypatch.setattr(passes, "MOST_WAITING_BYTES", len(first) + len(second))
    answers, _ = sent(place, first, second, said(3))
    assert [code for code, _ in answers] == [200, 200, 503]
    assert answers[2][1]["error"] == "too many events are waiting; send it again"
    assert sent(place, said(3))[0][0][0] == 200, "when there is room again"


def test_servers_with_a_loop_each_share_the_passes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go = threading.Event(), threading.Event()
    real = ingesting.ingest_all

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert go.wait(60)
        return real(*arguments)

    monkeypatch.setattr(passes, "ingest_all", slow)
    taking = Passes(Api(place.engine), [].append)

    def one(index: int) -> int:
        request = Request("POST", "/v1/events", body=said(index))
        return asyncio.run(asyncio.wait_for(taking.take(request, read_event), 60)).status

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(one, 1)
        assert begun.wait(60)
        others = [pool.submit(one, index) for index in (2, 3)]
        wait_until(lambda: len(taking._waiting) == 2, "the others to wait")
        go.set()
        assert [each.result(60) for each in (first, *others)] == [200] * 3
