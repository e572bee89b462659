"""Who may use a store: the oldest writer and the oldest adapter that it bears, and what an older layout gets."""

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from pointsman.cli.main import run
from pointsman.delivery.endpoint_source import over_rest
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.request import read_request
from pointsman.discovery.stateless import Discovery, NotReady
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.reconcile import reconcile
from pointsman.store import bears, keys
from pointsman.store.bears import TooOld, check_adapter
from pointsman.store.late import LateStore
from pointsman.store.protocol import Write
from pointsman.store.sqlite import SQLiteStore

from tests.pipeline.meshes import event, instance, sidecar


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a config."""
    path = tmp_path / "store.db"
    store = SQLiteStore(path)
    configure(Engine(store), parse_documents([sidecar("shop", "web")]))
    store.close()
    return path


def _change(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    store = SQLiteStore(path)
    stored = store.get(keys.CONFIG_HEAD)
    assert stored is not None
    body = orjson.loads(stored.data)
    change(body)
    assert store.put(Write(keys.CONFIG_HEAD, orjson.dumps(body), stored.etag)).etag
    store.close()


def _head(path: Path) -> dict[str, Any]:
    store = SQLiteStore(path)
    stored = store.get(keys.CONFIG_HEAD)
    store.close()
    assert stored is not None
    body: dict[str, Any] = orjson.loads(stored.data)
    return body


def _only_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


COMMANDS = (
    ["status"],
    ["list"],
    ["get", "--dc", "dc1", "registration", "shop"],
    ["explain", "--dc", "dc1", "web"],
    ["rollback", "1"],
    ["up", "--listen", "127.0.0.1:0"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_older_writer_refuses_to_start(path: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    _change(path, lambda body: body.update(oldest_writer=bears.WRITER + 1))
    before = _head(path)
    assert run([*command[:1], "--store", str(path), *command[1:]]) == 1
    line = _only_line(capsys)
    assert f"from {bears.WRITER + 1} on" in line
    assert f"this is writer {bears.WRITER}" in line
    assert "upgrade" in line
    assert _head(path) == before


def test_every_verb_of_an_older_writer_refuses(path: Path) -> None:
    _change(path, lambda body: body.update(oldest_writer=bears.WRITER + 1))
    store = SQLiteStore(path)
    for verb in (
        lambda engine: ingest(engine, event("web", 1, [instance("web")])),
        lambda engine: configure(engine, parse_documents([sidecar("shop")])),
        reconcile,
    ):
        with pytest.raises(TooOld):
            verb(Engine(store))  # type: ignore[no-untyped-call]
    assert [each.key for each in store.list(keys.CATALOG)] == []
    store.close()


def test_an_older_adapter_refuses_to_start_and_reads_nothing(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _change(path, lambda body: body.update(oldest_adapter=bears.ADAPTER + 1))
    assert run(["adapter", "files", "--store", str(path), "--files", str(tmp_path / "envoys")]) == 1
    line = _only_line(capsys)
    assert f"from {bears.ADAPTER + 1} on" in line
    assert f"this is adapter {bears.ADAPTER}" in line
    assert "upgrade" in line
    # One that found the store only later.
    late = LateStore(str(path))
    for ask in (lambda: late.get("manifests/x"), lambda: list(late.list("")), lambda: late.changes({"x": None})):
        with pytest.raises(TooOld):
            ask()  # type: ignore[no-untyped-call]
    late.close()
    # The function that answers Envoys without an adapter.
    store = SQLiteStore(path)
    discovery = Discovery(store, over_rest("xds", 1000, 1000), settle=1)
    node = {"id": "shop-sidecar", "cluster": "shop", "metadata": {"datacenter": "dc1"}}
    with pytest.raises(NotReady, match="upgrade Pointsman"):
        discovery.answer(read_request(ResourceKind.CLUSTERS, orjson.dumps({"node": node})))
    store.close()


def test_a_newer_pointsman_says_what_it_raises_and_raises_it_with_the_next_config(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = _head(path)
    monkeypatch.setattr(bears, "WRITER", bears.WRITER + 1)
    monkeypatch.setattr(bears, "ADAPTER", bears.ADAPTER + 1)
    store = SQLiteStore(path)
    engine = Engine(store)
    with caplog.at_level(logging.WARNING):
        engine.refresh()
        engine.refresh()
    (line,) = caplog.messages
    writer, adapter = f"{bears.WRITER - 1} to {bears.WRITER}", f"{bears.ADAPTER - 1} to {bears.ADAPTER}"
    assert f"the oldest writer from {writer} and the oldest adapter from {adapter}" in line
    assert _head(path) == before, "saying is not yet doing"
    configure(engine, parse_documents([sidecar("shop", "db")]))
    store.close()
    after = _head(path)
    assert (after["oldest_writer"], after["oldest_adapter"]) == (bears.WRITER, bears.ADAPTER)
    assert (after["store"], after["epoch"]) == (before["store"], before["epoch"])


def test_a_store_of_the_older_layout_is_refused_in_one_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def older(body: dict[str, Any]) -> None:
        for field in ("kind", "schema", "store", "epoch", "oldest_writer", "oldest_adapter"):
            del body[field]

    _change(path, older)
    assert run(["status", "--store", str(path)]) == 1
    assert "of an older layout" in _only_line(capsys)
    store = SQLiteStore(path)
    with pytest.raises(TooOld, match="of an older layout"):
        check_adapter(store.get(keys.CONFIG_HEAD))
    store.close()

    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=1")
    connection.commit()
    connection.close()
    assert run(["status", "--store", str(path)]) == 1
    line = _only_line(capsys)
    assert "written by an older Pointsman (schema 1" in line
    assert "apply the config there" in line


def test_what_a_newer_pointsman_wrote_is_neither_read_nor_replaced(path: Path) -> None:
    store = SQLiteStore(path)
    engine = Engine(store)
    key = "snapshots/dc1/sidecar/web.default.dc1"
    stored = store.get(key)
    assert stored is not None
    newer = orjson.dumps(orjson.loads(stored.data) | {"schema": 2})
    assert store.put(Write(key, newer, stored.etag)).etag
    done = reconcile(engine)
    (line,) = done.failed
    assert "dc1/sidecar/web.default.dc1" in line
    assert "upgrade Pointsman" in line
    after = store.get(key)
    assert after is not None
    assert after.data == newer
    store.close()
