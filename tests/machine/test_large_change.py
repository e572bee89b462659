"""A change that touches everything, in the real processes: `apply` is killed in the middle of it, `reconcile` finishes
it, and `up` takes health events in meanwhile."""

import json
import statistics
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.store import keys
from pointsman.store.sqlite import SQLiteStore

from tests.fleet.control_plane import POINTSMAN, Pointsman
from tests.fleet.process import Child, wait_until

UPSTREAMS = 50


def _documents(count: int) -> list[dict[str, Any]]:
    failover = {"*": {"Datacenters": ["dc2", "dc3"]}}
    found: list[dict[str, Any]] = [
        {"Kind": "service-resolver", "Name": f"s{number}", "Failover": failover} for number in range(count)
    ]
    for first in range(0, count, UPSTREAMS):
        upstreams = [{"DestinationName": f"s{first + i}", "LocalBindPort": 9000 + i} for i in range(UPSTREAMS)]
        proxy = {"DestinationServiceName": f"app{first}", "Upstreams": upstreams}
        found.append({"Datacenter": "dc1", "Service": {"Kind": "connect-proxy", "ID": f"app{first}", "Proxy": proxy}})
    return found


def _event(index: int) -> dict[str, Any]:
    service = f"s{1 + index % 50}"
    proxy = {"DestinationServiceName": service}
    body = {"ID": "p", "Kind": "connect-proxy", "Address": "10.0.0.1", "Port": 80, "Proxy": proxy}
    instances = [{"Node": {"Node": "n"}, "Service": body, "Checks": [{"Status": "passing"}]}]
    detail = {"Source": "test", "Index": index, "Datacenter": "dc1", "Service": service, "Instances": instances}
    return {"detail-type": "Service Health Changed", "detail": detail}


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.soak)])
def test_a_change_of_everything_whose_apply_was_killed_is_finished_and_up_takes_events_in_meanwhile(
    tmp_path: Path, count: int
) -> None:
    path = tmp_path / "store.db"
    with closing(SQLiteStore(path)) as store:
        configure(Engine(store), parse_documents(_documents(count)), trust_domain="td")
        change = tmp_path / "change.json"
        change.write_text(json.dumps({"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "local"}}))
        with Pointsman(tmp_path, "td") as pointsman:
            stop, waits = threading.Event(), list[tuple[float, float]]()

            def produce() -> None:
                index = 0
                while not stop.wait(0.01):
                    index += 1
                    began = time.perf_counter()
                    pointsman.send(_event(index))
                    waits.append((began, time.perf_counter() - began))

            producer = threading.Thread(target=produce)
            producer.start()
            try:
                wait_until(lambda: len(waits) >= 20, "events to be acknowledged")
                killed = _killed_midway(store, change, tmp_path, count)
                with Child("reconcile", [POINTSMAN, "reconcile", "--store", path], tmp_path):
                    wait_until(lambda: _published(store), "the change to be published", timeout=60 + count / 10)
                done, published = len(waits), time.perf_counter()
                wait_until(lambda: len(waits) > done, "one more event to be acknowledged")
            finally:
                stop.set()
                producer.join()
    before = [wait for began, wait in waits if began < killed]
    during = [wait for began, wait in waits if killed <= began < published]
    assert during, "events are taken in while the change is published"
    print(
        f"{count} resolvers, published {published - killed:.1f} s after the kill; events took "
        f"{statistics.median(before) * 1e3:.0f} ms before it, then {statistics.median(during) * 1e3:.0f} ms, "
        f"{max(during) * 1e3:.0f} ms at most"
    )


def _killed_midway(store: SQLiteStore, change: Path, directory: Path, count: int) -> float:
    """Apply the change of `change`, and kill the process when it has published something and not all: when that was."""
    names = sorted(f"s{number}" for number in range(count))
    first, last = (keys.snapshot(f"dc1/sidecar/{name}.default.dc1") for name in (names[0], names[-1]))
    with Child("apply", [POINTSMAN, "apply", "--store", directory / "store.db", change], directory) as apply:
        wait_until(lambda: _generation(store, first) == 2, "the first snapshots to be published", children=[apply])
        apply.kill()
    assert _generation(store, last) == 1 or _published(store), "it was in the middle of it"
    return time.perf_counter()


def _generation(store: SQLiteStore, key: str) -> int:
    stored = store.get(key)
    assert stored is not None
    return int(orjson.loads(stored.data)["generation"])


def _published(store: SQLiteStore) -> bool:
    stored = store.get(keys.CONFIG_HEAD)
    assert stored is not None
    head = orjson.loads(stored.data)
    return head["propagated"] == head["generation"] == 2
