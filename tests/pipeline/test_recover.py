"""`pointsman recover`: a store that was restored from a copy."""

import shutil
from pathlib import Path

import orjson
import pytest
from pointsman.cli.main import run
from pointsman.model.era import Era
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.reconcile import reconcile
from pointsman.store import keys
from pointsman.store.sqlite import SQLiteStore
from pointsman.xds.manifest import read_manifest
from pointsman.xds.snapshot import read_snapshot

from tests.pipeline.meshes import event, gateway, gateway_instance, instance, proxy_defaults, resolver, sidecar


def _flip(path: Path, first: int, last: int) -> None:
    store = SQLiteStore(path)
    engine = Engine(store)
    for index in range(first, last + 1):
        ingest(engine, event("api", index, [instance("api", 1, "critical" if index % 2 else "passing")]))
    store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """api of dc1 fails over to dc2 and back again and again; a copy is made, and put back five flips later."""
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    store = SQLiteStore(path, create=True)
    engine = Engine(store)
    failover = {"*": {"Datacenters": ["dc2"]}}
    documents = [proxy_defaults(mode="local"), resolver("api", Failover=failover), sidecar("web", "api")]
    configure(engine, parse_documents([*documents, gateway("dc1")]))
    ingest(engine, event(None, 1, [gateway_instance()]))
    ingest(engine, event("api", 1, [instance("api")], dc="dc2"))
    store.close()
    _flip(path, 1, 4)
    shutil.copy(path, copy)
    _flip(path, 5, 9)
    store = SQLiteStore(path)
    configure(Engine(store), parse_documents([sidecar("late", "api")]))
    store.close()
    for each in path.parent.glob("store.db*"):
        each.unlink()
    shutil.copy(copy, path)
    return path


def test_a_restored_store_begins_a_new_life(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = SQLiteStore(path)
    before = Engine(store).refresh().era
    store.close()
    assert run(["recover", "--store", str(path)]) == 0
    out = capsys.readouterr()
    assert out.err == ""

    store = SQLiteStore(path)
    engine = Engine(store)
    after = engine.refresh().era
    assert after.identity != before.identity
    assert after.epoch > before.epoch
    assert f"epoch {after.epoch} (was {before.epoch}), identity {after.identity} (was {before.identity})" in out.out
    published: set[Era] = set()
    for prefix in (keys.SNAPSHOTS, keys.MANIFESTS):
        for stored in store.get_many([listed.key for listed in store.list(prefix)]).values():
            body = orjson.loads(stored.data)
            read = read_snapshot(body) if prefix == keys.SNAPSHOTS else read_manifest(body)
            published.add(read.era)
    assert published == {after}, "all of it is published anew, also what is the same"
    done = ingest(engine, event("api", 10, [instance("api", 1, "critical")]))
    assert done.warnings == ()
    assert {each.plan_key for each in done.moved} == {"dc1/sidecar/api.default.dc1", "dc1/gateway/api.default.dc1"}
    assert reconcile(engine).repaired == 0
    store.close()


def test_it_can_be_done_again_and_each_time_is_another_life(path: Path) -> None:
    eras = set()
    for _ in range(3):
        assert run(["recover", "--store", str(path)]) == 0
        store = SQLiteStore(path)
        eras.add(Engine(store).refresh().era)
        store.close()
    assert len({era.identity for era in eras}) == len({era.epoch for era in eras}) == 3


def test_a_store_without_config_has_nothing_to_recover(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SQLiteStore(tmp_path / "empty.db", create=True).close()
    assert run(["recover", "--store", str(tmp_path / "empty.db")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "the store has no config: there is nothing to recover; `pointsman apply` writes one" in line
