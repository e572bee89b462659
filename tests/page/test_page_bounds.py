"""The bounds of the page, and how fast it answers when there is much to show."""

import asyncio
import re
import threading
import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from pointsman.model.cause import NO_CAUSE
from pointsman.model.names import ServiceName
from pointsman.overview.explained import read_explanation
from pointsman.overview.history import SWITCH, Happening, History
from pointsman.overview.now import Now, ResolverNow
from pointsman.page import app as apps
from pointsman.page import pages as made
from pointsman.page.app import MOST_AT_ONCE, MOST_REQUESTS, PageApp
from pointsman.page.changes import LOOK_SECONDS, Changes
from pointsman.page.matrix import MOST_ROWS, MOST_SAID, line_of, matrix_of
from pointsman.page.pages import (
    LONGEST_SEARCH,
    MOST_INSTANCES,
    MOST_KEPT,
    MOST_KEPT_BYTES,
    MOST_LINES,
    Pages,
    Shown,
)
from pointsman.page.picture import LONGEST_LABEL, MOST_BOXES, picture_of
from pointsman.page.timeline import MOST_MARKS, timeline_of
from pointsman.pipeline.ingest import ingest_all
from pointsman.store.protocol import StoreUnavailable

from tests.pipeline.meshes import (
    BEGINNING,
    defaults,
    event,
    gateway,
    instance,
    proxy_defaults,
    resolver,
    router,
    sidecar,
)
from tests.pipeline.place import Place


def resolver_now(number: int, *, served: bool) -> ResolverNow:
    """What is known of a service without targets."""
    name = f"s{number:04d}"
    cluster = f"{name}.default.dc1"
    return ResolverNow(
        name, "default", "dc1", cluster, 1, 1, "", "why", "", "", served, False, "", NO_CAUSE, ()
    )  # fmt: skip


def now_of(*resolvers: ResolverNow) -> Now:
    """A state with nothing but these."""
    return Now("td", 1, 1, (), "", resolvers)


def test_so_many_services_are_shown_and_so_many_named_the_worst_first() -> None:
    well = [resolver_now(number, served=True) for number in range(MOST_ROWS)]
    ill = [resolver_now(1000 + number, served=False) for number in range(MOST_SAID + 2)]
    matrix = matrix_of(now_of(*well, *ill))
    assert (len(matrix.rows), matrix.found) == (MOST_ROWS, len(well) + len(ill))
    assert [row.state for row in matrix.rows[: len(ill) + 1]] == ["nobody"] * len(ill) + ["well"]
    assert [row.label for row in matrix_of(now_of(*well, *ill), "s0199").rows] == ["s0199"]
    line = line_of(now_of(*well, *ill)).text
    assert line.count("has no healthy target in dc1") == MOST_SAID
    assert "2 more services without a healthy target" in line


def test_so_many_happenings_are_drawn_and_listed_the_newest() -> None:
    def happening(number: int) -> Happening:
        moment = datetime.fromtimestamp(BEGINNING + 60 * number, UTC).isoformat().replace("+00:00", "Z")
        return Happening(moment, SWITCH, f"switch {number}", NO_CAUSE)

    some = [happening(number) for number in range(MOST_MARKS + 1)]
    timeline = timeline_of(History(some[0].at, some[-1].at, tuple(some)))
    assert (len(timeline.listed), timeline.more) == (MOST_MARKS, True)
    assert timeline.listed[0] is some[-1]
    marks = timeline.lanes[0].marks
    assert sum(each.count for each in marks) == MOST_MARKS
    # None lies on another.
    assert all(one.x - other.x > 10 for one, other in pairwise(marks))


def test_a_chain_has_so_many_boxes_and_their_lines_are_cut() -> None:
    place = Place()
    long = "a" * 60

    def route(name: str, number: int) -> dict[str, Any]:
        return {"Match": {"HTTP": {"PathPrefix": f"/{number}"}}, "Destination": {"Service": name}}

    names = [f"s{number}" for number in range(MOST_BOXES // 2)]
    place.configure(
        proxy_defaults("http"),
        resolver(long),
        *(resolver(name) for name in names),
        router("many", *(route(name, number) for number, name in enumerate(names))),
        router("few", route(long, 1)),
        defaults("many", Protocol="http"),
        sidecar("client", "many", "few"),
    )
    assert picture_of(read_explanation(place.engine, ServiceName("default", "many"), "dc1")) is None
    few = picture_of(read_explanation(place.engine, ServiceName("default", "few"), "dc1"))
    assert few is not None
    assert max(len(line) for box in few.boxes for line in box.lines) == LONGEST_LABEL
    assert any(f"{long}.default.dc1" in box.title for box in few.boxes)


def test_pages_that_are_kept_and_what_is_on_them_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    place.configure(resolver("web"), sidecar("client", "web"))
    half = MOST_INSTANCES // 2
    place.ingest(event("web", 1, [instance("web", number) for number in range(1, half + 1)]))
    more = [instance("web", number) for number in range(1, half + 2)]
    place.ingest(event("web", 1, more[:-1], dc="dc2"))
    place.ingest(event("web", 1, more[-1:], dc="dc3"))
    # The clock of these tests takes a second for every look at it.
    place.engine._clock = lambda: datetime.fromtimestamp(BEGINNING + 3600, UTC)
    pages = Pages(place.engine, lambda: [f"rejection {number}" for number in range(MOST_LINES + 1)])
    page = pages.show("/services/web").data.decode()
    assert page.count('scope="row"') == MOST_INSTANCES
    assert "1 are left out" in page
    page = pages.show("/").data.decode()
    assert (page.count("rejection "), "and 1 more" in page) == (MOST_LINES, True)
    searched = pages.show("/", f"search={'x' * (LONGEST_SEARCH + 1)}").data.decode()
    assert max(map(len, re.findall("x+", searched))) == LONGEST_SEARCH
    for number in range(MOST_KEPT):
        pages.show("/", f"search=s{number}")
    assert len(pages._kept) == MOST_KEPT
    assert sum(len(each.data) for each in pages._kept.values()) < MOST_KEPT_BYTES
    monkeypatch.setattr(made, "MOST_KEPT_BYTES", 2 * len(searched))
    assert pages.show("/", "search=last").status == 200
    assert list(pages._kept) == [("/", f"search=s{MOST_KEPT - 1}"), ("/", "search=last")]


def test_a_thousand_services_are_shown_at_once() -> None:
    place, many, datacenters = Place(), 1000, ("dc1",)
    names = [f"s{number}" for number in range(many)]
    place.configure(
        proxy_defaults("http", "local"),
        *(resolver(name, Failover={"*": {"Datacenters": ["dc2"]}}) for name in names),
        *(gateway(dc, f"gw-{dc}") for dc in datacenters),
        *(sidecar("shop", *names, dc=dc) for dc in datacenters),
    )
    ingest_all(place.engine, [event(name, 1, [instance(name)]) for name in names[:100]])
    place.engine._clock = lambda: datetime.fromtimestamp(BEGINNING + 3600, UTC)
    pages, spent = Pages(place.engine), []
    for _ in range(4):
        began = time.process_time()
        page = pages.show("/").data.decode()
        spent.append(time.process_time() - began)
    assert page.count('class="cell ') == len(datacenters) * MOST_ROWS
    assert f"{MOST_ROWS} of {many} are shown" in page
    # Seconds of CPU: what was made is shown again, and the first one is no more than a few times as much.
    assert min(spent[1:]) < 0.2
    assert min(spent[1:]) < spent[0] / 2


class Slow:
    """Pages that take until they are let go."""

    def __init__(self) -> None:
        self.go, self.at_once, self.most, self._lock = threading.Event(), 0, 0, threading.Lock()

    def show(self, path: str, query: str = "") -> Shown:
        """A page, in the end."""
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        assert self.go.wait(60)
        with self._lock:
            self.at_once -= 1
        return Shown(200, "text/html", b"here")


class Browser:
    """One request to an application: what was answered."""

    def __init__(self, app: Any, path: str, method: str = "GET") -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def data(self) -> bytes:
        """The body."""
        return b"".join(each.get("body", b"") for each in self.sent)


def test_so_many_requests_wait_and_so_many_pages_are_made_at_a_time() -> None:
    async def ask() -> tuple[list[int], int]:
        slow = Slow()
        app = PageApp(slow, None)  # type: ignore[arg-type]
        asked = [Browser(app, "/") for _ in range(MOST_REQUESTS + 1)]
        await asked[-1].task
        slow.go.set()
        await asyncio.gather(*(each.task for each in asked))
        return [each.sent[0]["status"] for each in asked], slow.most

    assert asyncio.run(ask()) == ([200] * MOST_REQUESTS + [503], MOST_AT_ONCE)


class Store:
    """A store that is away at first, and notes how long it is waited for."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.reads = 0

    def changes(self, known: object) -> Any:
        """Nothing."""
        self.reads += 1
        if self.reads == 1:
            raise StoreUnavailable("away")
        return type("Changes", (), {"cursor": "1"})

    def wait(self, cursor: str, timeout: float) -> bool:
        """Something may have changed."""
        self.waited.append(timeout)
        return True


def test_a_stream_tells_of_a_store_that_is_away_and_lives_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(apps, "STREAM_SECONDS", 1.0)
    store = Store()

    async def listen() -> bytes:
        changes = Changes(store, lambda: "mark")  # type: ignore[arg-type]
        browser = Browser(PageApp(None, changes), "/page/changes")  # type: ignore[arg-type]
        await browser.task
        assert browser.sent[-1] == {"type": "http.response.body", "body": b""}
        # Who goes is forgotten, and closing ends the others.
        left, held = (Browser(PageApp(None, changes), "/page/changes") for _ in range(2))  # type: ignore[arg-type]
        left.gone.set()
        await left.task
        changes.close()
        await held.task
        assert changes.join() is None
        return browser.data

    told = asyncio.run(listen())
    assert told.startswith(b"retry: 1000\n\n")
    assert told.index(b"data: away") < told.index(b"data: mark")
    assert told.count(b"data: mark") == 1
    assert b": still here" in told
    assert set(store.waited) == {LOOK_SECONDS}
