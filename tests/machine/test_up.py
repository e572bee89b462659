"""`pointsman up` as a process: what it acknowledged outlives it, and Envoys do not need it to serve."""

import json
import random
import shutil
import threading
import time
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import run
from pointsman.store import keys
from pointsman.store.protocol import Write
from pointsman.store.sqlite import SQLiteStore

from tests.fleet.control_plane import POINTSMAN, Pointsman
from tests.fleet.mesh import Mesh
from tests.fleet.process import Child, FleetError, wait_until

SERVICES = ("web", "api", "db")


def event(service: str, index: int) -> dict[str, Any]:
    """A full list whose one instance says by its port which event it was."""
    body = {
        "ID": "proxy",
        "Kind": "connect-proxy",
        "Address": "127.0.0.1",
        "Port": index,
        "Proxy": {"DestinationServiceName": service},
    }
    return {
        "detail-type": "Service Health Changed",
        "detail": {
            "Source": "test",
            "Index": index,
            "Datacenter": "dc1",
            "Service": service,
            "Instances": [{"Node": {"Node": "n"}, "Service": body, "Checks": [{"Status": "passing"}]}],
        },
    }


def sidecar(directory: Path) -> Path:
    upstreams = [{"DestinationName": name, "LocalBindPort": 5000 + i} for i, name in enumerate(SERVICES)]
    service = {
        "Kind": "connect-proxy",
        "ID": "s1",
        "Proxy": {"DestinationServiceName": "s1", "Upstreams": upstreams},
    }
    path = directory / "s1.json"
    path.write_text(json.dumps({"Datacenter": "dc1", "Service": service}))
    return path


def endpoint_port(pointsman: Pointsman, service: str) -> int:
    """The port in the endpoint file of `service`; 0 without one."""
    from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
    from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse

    for path in (pointsman.files / "dc1" / "sidecar" / "default" / "s1" / "eds").glob(f"{service}.*.pb"):
        response = DiscoveryResponse.FromString(path.read_bytes())
        assignment = ClusterLoadAssignment.FromString(response.resources[0].value)
        for group in assignment.endpoints:
            for endpoint in group.lb_endpoints:
                return int(endpoint.endpoint.address.socket_address.port_value)
    return 0


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    pointsman = Pointsman(tmp_path, "td")
    chance = random.Random(seed)
    pointsman.apply([sidecar(tmp_path)])
    acknowledged = dict.fromkeys(SERVICES, 0)
    with pointsman:
        for _ in range(3):
            stop = threading.Event()

            def produce(service: str, stop: threading.Event = stop) -> None:
                for index in range(acknowledged[service] + 1, 65535):
                    if stop.is_set():
                        return
                    try:
                        pointsman.send(event(service, index))
                    except (OSError, HTTPException):
                        return
                    acknowledged[service] = index

            producers = [threading.Thread(target=produce, args=(service,)) for service in SERVICES]
            before = dict(acknowledged)
            for producer in producers:
                producer.start()
            more = chance.randrange(5, 40)
            wait_until(
                lambda before=before, more=more: all(acknowledged[name] > before[name] + more for name in SERVICES),
                "events to be acknowledged",
            )
            pointsman.kill()
            stop.set()
            for producer in producers:
                producer.join()
            pointsman.start()
            for service in SERVICES:
                # What was under way at the kill may have made it or not; what was acknowledged has.
                wait_until(
                    lambda service=service: endpoint_port(pointsman, service) >= acknowledged[service],
                    f"the files to have the last event acknowledged of {service}",
                )


def test_what_was_acknowledged_outlives_a_log_that_was_deleted_under_a_running_up(tmp_path: Path) -> None:
    pointsman = Pointsman(tmp_path, "td")
    pointsman.apply([sidecar(tmp_path)])
    with pointsman:
        for index in range(1, 6):
            pointsman.send(event("web", index))
        (tmp_path / "store.db-wal").unlink()
        with pytest.raises(FleetError, match=r"answered 500: .*-wal was deleted while it was open.*restart"):
            pointsman.send(event("web", 6))
        pointsman.kill()
        pointsman.start()
        wait_until(lambda: endpoint_port(pointsman, "web") >= 5, "the files to have the last event acknowledged")
        pointsman.send(event("web", 7))


def test_a_running_up_forgets_old_versions_a_little_at_a_time(tmp_path: Path) -> None:
    pointsman = Pointsman(tmp_path, "td")
    pointsman.apply([sidecar(tmp_path)])
    with closing(SQLiteStore(pointsman.store)) as store:
        key = next(listed.key for listed in store.list(keys.SNAPSHOTS))
        past = keys.history_of(keys.plan_of(key))
        store.put_many([Write(f"{past}{number:010d}", bytes(9000), None) for number in range(1000)])
        size = pointsman.store.stat().st_size
        up = [POINTSMAN, "up", "--store", pointsman.store, "--listen", "127.0.0.1:0", "--reconcile-every", "1"]
        with Child("retaining", up, tmp_path):
            wait_until(
                lambda: [listed.key for listed in store.list(past)] == [f"{past}{n:010d}" for n in range(800, 1000)],
                "the last 200 to be left",
            )
            wait_until(lambda: pointsman.store.stat().st_size < size / 2, "their space to be given back")


def test_a_backup_under_load_is_put_back_with_all_that_was_acknowledged_before_it(tmp_path: Path) -> None:
    pointsman, copy = Pointsman(tmp_path, "td"), tmp_path / "copy.db"
    pointsman.apply([sidecar(tmp_path)])
    acknowledged = 0

    def produce() -> None:
        nonlocal acknowledged
        for index in range(1, 65535):
            try:
                pointsman.send(event("web", index))
            except (OSError, HTTPException):
                return
            acknowledged = index

    with pointsman:
        producer = threading.Thread(target=produce)
        producer.start()
        wait_until(lambda: acknowledged > 20, "events to be acknowledged")
        before = acknowledged
        assert run(["backup", "--store", str(pointsman.store), str(copy)]) == 0
        wait_until(lambda: acknowledged > before + 20, "more events to be acknowledged")
        pointsman.kill()
        producer.join()
        log, index = (tmp_path / f"store.db-{each}" for each in ("wal", "shm"))
        assert log.stat().st_size, "what the copy must not be mixed with"
        shutil.copy(copy, pointsman.store)
        with pytest.raises(FleetError, match=r"the log of the file before it is there still: remove .*-wal and .*-shm"):
            pointsman.start()
        log.unlink()
        index.unlink()
        shutil.rmtree(pointsman.files)
        pointsman.start()
        wait_until(lambda: endpoint_port(pointsman, "web") >= before, "the files to have what the copy has")
        pointsman.send(event("web", acknowledged + 1))
        wait_until(lambda: endpoint_port(pointsman, "web") == acknowledged + 1, "the next event to take effect")


@pytest.mark.envoy
def test_envoys_serve_on_while_pointsman_is_dead_and_fail_over_when_it_is_back(tmp_path: Path) -> None:
    with Mesh("local", tmp_path, patient=True) as mesh:
        started = time.perf_counter()
        mesh.pointsman.kill()
        wait_until(lambda: len(mesh.client.attempts(started)) > 100, "requests to be answered meanwhile")
        mesh.pointsman.start()
        back = time.perf_counter()
        mesh.client.wait_past(back + 0.5)
        attempts = mesh.client.attempts(started, back)
        assert len(attempts) > 100
        assert [attempt for attempt in attempts if attempt.datacenter != "dc1"] == []
        reported = mesh.report("dc1", "critical")
        switched = mesh.client.wait_for_answer("dc2", after=reported)
        assert mesh.pointsman.active("s2", "dc1").datacenter == "dc2"
        assert switched.done > reported
