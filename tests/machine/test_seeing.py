"""Which Envoy is behind, or rejects something, is in the store, whatever the way it fetches."""

import contextlib
import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import run
from pointsman.machine import seeing
from pointsman.machine.seeing import Seeing, Sight
from pointsman.model.seen import GONE_SECONDS, TOLD_AGAIN_SECONDS, TOLD_EVERY_SECONDS, Seen, SeenEnvoy, SeenProxy
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.retention import Retention
from pointsman.pipeline.seen import told_by_adapters
from pointsman.store import keys
from pointsman.store.protocol import StoreError, Write, Written
from pointsman.xds.manifest import SidecarManifest

from tests.adapter.doubles import Clock, Remote
from tests.adapter.fetching import Fetching
from tests.adapter.node import MANIFEST, S1
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.adapter.stand import CLUSTER
from tests.adapter.three_ways import three_ways
from tests.fleet.ca import CertificateAuthority
from tests.fleet.handmade import upstream_listener
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import Tongue, Way
from tests.pipeline.meshes import engine_on, resolver, sidecar

NO_FILTER = "Didn't find a registered implementation for 'nope'"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Remote]:
    """A store in which s1, s9 and s7 are registered."""
    with contextlib.closing(Remote(tmp_path / "store.db")) as made:
        mesh = [resolver("s2"), *(sidecar(each, "s2") for each in ("s1", "s9", "s7"))]
        configure(engine_on(made), parse_documents(mesh))
        yield made


class Shown:
    """What `pointsman proxies` shows of a store."""

    def __init__(self, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._store, self._capsys = store, capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        self._capsys.readouterr()
        assert run(["proxies", *words, "--store", str(self._store)]) == code
        return self._capsys.readouterr().out

    def states(self, code: int = 0) -> dict[tuple[str, str], str]:
        """By service and way, how it is."""
        found = json.loads(self("--json", code=code))
        assert found["schema"] == 1
        return {(each["proxy"].rpartition("/")[2], each["way"]): each["state"] for each in found["envoys"]}


@pytest.fixture
def shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shown:
    """What is shown of the store."""
    return Shown(tmp_path / "store.db", capsys)


@pytest.mark.envoy
def test_an_envoy_that_rejects_or_stands_still_is_shown_with_what_it_lacks_and_since_when(
    store: Remote, tmp_path: Path, shown: Shown, caplog: pytest.LogCaptureFixture
) -> None:
    publisher, clock = Publisher(store), Clock()

    def listen(generation: int, **filters: str) -> None:
        listener = upstream_listener("s2", "127.0.0.1", port, CLUSTER)
        if filters:
            listener.listener_filters.add(**filters)
        manifest = SidecarManifest(generation, ("s2.default.dc1",), (listener.SerializeToString(),))
        publisher.manifest(MANIFEST, manifest)

    with Ports() as ports:
        port = ports.take("127.0.0.1")
        publisher.head(sidecar_plan(), content())
        listen(1)
        authority = CertificateAuthority(tmp_path / "ca", "example.internal")
        with Fetching(Way(Tongue.DELTA), store, tmp_path, ports, authority) as fetching:
            sight = Sight("host-7 (grpc)")
            adapter = fetching._adapter.adapter

            def look() -> Seen:
                return sight.look([(fetching.follower, adapter.fetchers)], adapter.rejections())

            telling = Seeing(store, {"grpc": "xds.sock"}, look, clock=clock)

            def told(code: int) -> str:
                clock.now += TOLD_EVERY_SECONDS
                telling.turn()
                return shown("s1", code=code)

            wait_until(lambda: adapter.fetchers() and not adapter.fetchers()[0].waiting, "all to be taken")
            assert told(0).startswith("1 current\ncurrent  dc1/sidecar/default/s1, s1-1 over gRPC from host-7 (grpc)")
            listen(2, name="nope")
            wait_until(adapter.rejections, "the rejection")
            lines = told(3)
            assert lines.startswith("1 rejecting\nrejecting")
            assert "    rejects listeners s2, since 20" in lines
            assert NO_FILTER in lines
            assert shown.states(3) == {("s1", "ads"): "rejecting", ("s9", ""): "unseen", ("s7", ""): "unseen"}
            listen(3)
            wait_until(lambda: not adapter.rejections(), "the rejection to be over")
            assert told(0).startswith("1 current")
            # It stands still: what is sent to it is not answered.
            os.kill(fetching.envoy.pid, signal.SIGSTOP)
            try:
                publisher.head(sidecar_plan(), content(["dc2"]))
                wait_until(lambda: adapter.fetchers()[0].waiting, "what it does not answer")
                assert "current" in told(0), "an answer may be on its way"
                lines = told(3)
                assert lines.startswith("1 behind\nbehind")
                assert "was sent, and has neither taken nor rejected: endpoints" in lines
            finally:
                os.kill(fetching.envoy.pid, signal.SIGCONT)
            wait_until(lambda: not adapter.fetchers()[0].waiting, "the answer")
            assert told(0).startswith("1 current")


def test_files_http_and_grpc_are_told_of_by_the_process_that_serves_them(
    store: Remote, tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeing, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(seeing, "TOLD_EVERY_SECONDS", 0.2)
    with three_ways(store, Publisher(store), tmp_path) as (_, s1, _):
        every = {(service, way) for service in ("s1", "s9") for way in ("ads", "rest", "files")}
        wait_until(lambda: every <= shown.states().keys(), "all to be told")
        assert shown.states() == dict.fromkeys(every | {("s7", "files")}, "current"), "files are there for all"
        # An Envoy that does not answer is behind, and nobody else is.
        Publisher(store).head(sidecar_plan(), content(["dc2"]))
        s1._grpc.hear()
        found = wait_until(lambda: (got := _states(shown)).get(("s1", "ads")) == "behind" and got, "who is behind")
        assert {found[service, "files"] for service in ("s1", "s9")} == {"current"}


def _states(shown: Shown) -> dict[tuple[str, str], str]:
    """As `states`, whatever the exit code."""
    try:
        return shown.states(3)
    except AssertionError:
        return {}


class ReadOnly(Remote):
    """A store whose credentials may not write."""

    refused = 0

    def put(self, write: Write) -> Written:
        """Refuse."""
        self.refused += 1
        raise StoreError("access denied")


def test_an_adapter_that_may_not_write_says_so_once_and_goes_on(
    store: Remote, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    envoys = (SeenEnvoy("s1-1", "ads", "2026-01-01T00:00:00Z"),)
    one = Seen("host-7", "2026-01-01T00:00:00Z", (SeenProxy(S1.key, "m", "c", "", (), envoys),))
    with contextlib.closing(ReadOnly(tmp_path / "store.db")) as mine:
        telling = Seeing(mine, {}, lambda: one, clock=clock)
        for _ in range(3):
            telling.turn()
            telling.turn()
            clock.now += TOLD_EVERY_SECONDS
    assert mine.refused == 3
    (said,) = (each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING)
    assert said.endswith("`pointsman proxies` lacks it: access denied")


def test_it_is_written_on_change_once_a_minute_at_most_and_vanishes_with_its_adapter(store: Remote) -> None:
    clock, now = Clock(), [Seen("host-7", "2026-01-01T00:00:00Z", ())]
    telling = Seeing(store, {}, lambda: now[0], clock=clock)

    def written() -> list[Any]:
        telling.turn()
        return [(key.etag, key.key) for key in store.list(keys.SEEN)]

    assert written() == [], "no Envoy has come yet"
    now[0] = Seen("host-7", "2026-01-01T00:00:00Z", (SeenProxy(S1.key, "m", "c", ""),))
    first = written()
    now[0] = Seen("host-7", "2026-01-01T00:00:10Z", (SeenProxy(S1.key, "m", "d", ""),))
    clock.now += TOLD_EVERY_SECONDS - 1
    assert written() == first
    clock.now += 1
    second = written()
    assert second != first
    clock.now += TOLD_AGAIN_SECONDS - 1
    assert written() == second, "nothing changed"
    clock.now += 1
    third = written()
    assert third != second
    # Another process of the same name wrote in between.
    store.put(Write(third[0][1], b"{}", third[0][0]))
    clock.now += TOLD_AGAIN_SECONDS
    (fourth,) = written()
    moment = next(store.list(keys.SEEN)).written
    assert [each.seen.adapter for each in told_by_adapters(store, moment + GONE_SECONDS)] == ["host-7"]
    assert list(told_by_adapters(store, moment + GONE_SECONDS + 1)) == []
    engine = engine_on(store)
    retention = Retention(engine, clock=lambda: moment + GONE_SECONDS + 1, pause=lambda _: False)
    assert retention.run().adapters == 1
    assert list(store.list(keys.SEEN)) == []
    clock.now += TOLD_AGAIN_SECONDS
    assert written()[0][1] == fourth[1], "who was thought gone is there again"
