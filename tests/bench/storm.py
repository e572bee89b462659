"""A storm: whole services fail within a second, and a real Envoy follows."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
from pointsman.bootstrap.document import (
    Address,
    FetchGrpc,
    Host,
    IpPort,
    Node,
    SecretFiles,
    UnixSocket,
    sidecar_bootstrap,
)
from pointsman.model.keys import service_key
from pointsman.model.names import ServiceName
from pointsman.store import keys
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.published import TRUST_DOMAIN
from tests.bench import mesh
from tests.bench.floors import durable_pairs
from tests.bench.switches import AdminConnection
from tests.bench.table import Beside, Measured
from tests.bench.up import configured, request, send, up
from tests.fleet.ca import CertificateAuthority
from tests.fleet.envoy import Envoy
from tests.fleet.process import Ports, wait_until

SERVICES, INSTANCES = 50, 100
AHEAD = 8
"""Events sent at once on each connection: so all are sent within a second, however long the answers take."""

GOAL_SECONDS = 3.0


def _versions(store: SQLiteStore, services: int) -> tuple[int, int, list[str]]:
    """The versions of all clusters and the writes of all catalogs in dc1, added up, and which targets serve."""
    heads = _bodies(store, [keys.snapshot(f"dc1/sidecar/{each}.default.dc1") for each in mesh.names(services)])
    catalogs = _bodies(
        store, [keys.catalog(service_key("dc1", ServiceName("default", each))) for each in mesh.names(services)]
    )
    versions, writes = sum(each["version"] for each in heads), sum(each["serial"] for each in catalogs)
    return versions, writes, [each["active"] for each in heads]


def _bodies(store: SQLiteStore, names: list[str]) -> list[dict[str, Any]]:
    found = store.get_many(names)
    return [orjson.loads(found[each].data) for each in names]


def measure(directory: Path, services: int, instances: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """One storm."""
    where = directory / "store.db"
    with Ports() as ports:
        local = ports.take_row(["127.0.0.1"], services)
        documents = [mesh.defaults("remote"), *map(mesh.resolver, mesh.names(services))]
        configured(where, [*documents, *mesh.sidecars(services, ["dc1"], local)])
        socket = directory / "ads.sock"
        identity = CertificateAuthority(directory / "ca", TRUST_DOMAIN).issue("web0", "dc1")
        admin = ports.take("127.0.0.1")
        bootstrap = sidecar_bootstrap(
            Node("web0-1", "web0", "dc1"),
            Address("127.0.0.1", admin),
            FetchGrpc(UnixSocket(str(socket))),
            secrets=SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca)),
            host=Host(IpPort("127.0.0.1", ports.take("127.0.0.1")), IpPort("127.0.0.1", 9)),
        )
        pairs = durable_pairs(directory, 0.5)
        with up(directory, "--grpc", f"unix:{socket}") as (_, port):
            lists = map(request, mesh.lists(services, instances))
            send(port, lists, connections=8)
            with Envoy("web0", bootstrap, directory) as envoy:
                envoy.wait_ready(60)
                eye = AdminConnection("127.0.0.1", admin)

                def served() -> int:
                    text = eye.get("/clusters?filter=^s[0-9]*[.]default")
                    return len(set(re.findall(r"^(s\d+)\.[^:]*::10\.1\.200\.1:\d+::hostname::", text, re.MULTILINE)))

                assert served() == 0
                store = SQLiteStore(where)
                before = _versions(store, services)
                number = itertools.count(2)
                storm = [
                    request(mesh.event(service, next(number), instance, "critical"))
                    for instance in range(instances)
                    for service in mesh.names(services)
                ]
                began = time.perf_counter()
                _, waits = send(port, storm, connections=-(-len(storm) // AHEAD), ahead=AHEAD)
                wait_until(lambda: served() == services, "the Envoy to follow", children=[envoy], timeout=60)
                live = time.perf_counter() - began
                after = _versions(store, services)
                store.close()
                eye.close()
    took, versions, writes = max(waits), after[0] - before[0], after[1] - before[1]
    lost = sum(not active.endswith(".dc2") for active in after[2])
    events = services * instances
    progress(f"{events:,} events in {took:.2f} s, {versions} versions, {writes} writes of catalogs")
    what = f"storm: {events:,} instances of {services} services"
    floor = Beside("two fdatasync for each event", events / pairs)
    yield Measured(f"{what}, last head published after", took, "s", GOAL_SECONDS, beside=floor)
    yield Measured("  all of it live at a real Envoy after", live, "s")
    yield Measured("  services that did not fail over", lost, "", 0)
    yield Measured("  versions of a cluster for each batch", versions / writes, "", 1)
