"""From a health event to a real Envoy that serves from the other target."""

import contextlib
import http.client
import json
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pointsman.bootstrap.document import (
    Address,
    Fetch,
    FetchFiles,
    FetchGrpc,
    FetchHttp,
    Host,
    IpPort,
    Node,
    SecretFiles,
    UnixSocket,
    sidecar_bootstrap,
)

from tests.bench.floors import durable_pairs, empty_application
from tests.bench.table import Beside, Measured, percentile
from tests.bench.up import request, send
from tests.fleet.ca import CertificateAuthority
from tests.fleet.control_plane import Pointsman
from tests.fleet.documents import RESOLVER, Caller, Site, gateway_health, proxy_defaults, s1_sidecar, s2_health
from tests.fleet.envoy import Envoy
from tests.fleet.process import Ports, wait_until

TRUST_DOMAIN = "mesh.example"
IPS = {"dc1": "127.0.0.1", "dc2": "127.0.0.2", "dc3": "127.0.0.3"}
REFRESH_DELAY_MS = 10
"""Over REST, from an answer to the next poll: short, so that one switch can follow the other. The poll that a change
finds is held, whatever this is."""

P50_GOAL_MS, P99_GOAL_MS = 6.0, 15.0

_CLUSTER = f"s2.default.dc1.internal.{TRUST_DOMAIN}"


class _Up(Pointsman):
    """`pointsman up` that serves Envoys as `arguments` say."""

    def __init__(self, directory: Path, *arguments: str | Path) -> None:
        self._arguments = arguments
        super().__init__(directory, TRUST_DOMAIN)

    def _up_arguments(self) -> list[str | Path]:
        where: list[str | Path] = ["up", "--store", self.store, "--listen", "127.0.0.1:0"]
        return [*where, "--trust-domain", TRUST_DOMAIN, *self._arguments]


@dataclass(frozen=True, slots=True)
class Way:
    """A running control plane, how Envoys fetch from it, and what returns when the Envoy is ready for a switch."""

    pointsman: Pointsman
    fetch: Fetch
    ready: Callable[[], None] = lambda: None


@contextlib.contextmanager
def _by_grpc(directory: Path, apply: Callable[[Pointsman], None]) -> Iterator[Way]:
    socket = directory / "ads.sock"
    up = _Up(directory, "--grpc", f"unix:{socket}")
    apply(up)
    with up:
        yield Way(up, FetchGrpc(UnixSocket(str(socket))))


@contextlib.contextmanager
def _by_rest(directory: Path, apply: Callable[[Pointsman], None]) -> Iterator[Way]:
    socket = directory / "xds.sock"
    up = _Up(directory, "--http", f"unix:{socket}", "--refresh-delay", str(REFRESH_DELAY_MS))
    apply(up)

    def held() -> bool:
        return b'pointsman_subscriptions{kind="endpoints",way="rest"} 1.0' in up.page("/metrics")

    with up:
        fetch = FetchHttp(UnixSocket(str(socket)), refresh_delay_ms=REFRESH_DELAY_MS)
        yield Way(up, fetch, lambda: wait_until(held, "the poll to be held") and None)


@contextlib.contextmanager
def _by_files(directory: Path, apply: Callable[[Pointsman], None]) -> Iterator[Way]:
    files = directory / "envoys"
    up = _Up(directory, "--files", files, "--envoy-version", "1.40")
    apply(up)
    with up:
        where = files / "dc1" / "sidecar" / "default" / "s1"
        wait_until((where / "lds.pb").exists, "the files")
        yield Way(up, FetchFiles(str(where)))


WAYS = {"gRPC": _by_grpc, "REST": _by_rest, "files": _by_files}


class AdminConnection:
    """An Envoy's admin, asked over one connection that stays: a fifth of a millisecond for the Envoy."""

    def __init__(self, address: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(address, port, timeout=10)

    def get(self, path: str) -> str:
        """What it answers."""
        self._connection.request("GET", path)
        return self._connection.getresponse().read().decode()

    def serving(self) -> str:
        """The datacenter whose gateway has the cluster's endpoint."""
        text = self.get(f"/clusters?filter={_CLUSTER}")
        found = re.findall(rf"^{re.escape(_CLUSTER)}::(127\.0\.0\.\d):\d+::hostname::", text, re.MULTILINE)
        return next((datacenter for datacenter, ip in IPS.items() if found == [ip]), "")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def switch_times(way: str, directory: Path, switches: int, progress: Callable[[str], None]) -> list[float]:
    """Seconds from before an event's first byte to the moment at which an Envoy was seen to have switched.

    The event goes to `pointsman up`, on a connection of its own, as a health check's report would. s2 has failed in
    dc1; what is switched is whether it serves in dc2 or in dc3.
    """
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        sites = {dc: Site(dc, ip, *(ports.take(ip) for _ in range(5))) for dc, ip in IPS.items()}
        caller = Caller(sites["dc1"], *(ports.take("127.0.0.1") for _ in range(3)))

        def apply(up: Pointsman) -> None:
            documents = {"defaults.json": json.dumps(proxy_defaults("remote")), "s2.hcl": RESOLVER}
            documents["s1.json"] = json.dumps(s1_sidecar(caller))
            for name, text in documents.items():
                (directory / name).write_text(text)
            up.apply(directory / name for name in documents)

        running = held.enter_context(WAYS[way](directory, apply))
        up, index = running.pointsman, 0
        for site in sites.values():
            index += 1
            up.send(gateway_health(site, index))
            up.send(s2_health(site, "critical" if site.datacenter == "dc1" else "passing", index))
        identity = CertificateAuthority(directory / "ca", TRUST_DOMAIN).issue("s1", "dc1")
        bootstrap = sidecar_bootstrap(
            Node("s1-1", "s1", "dc1"),
            Address("127.0.0.1", caller.admin),
            running.fetch,
            secrets=SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca)),
            host=Host(IpPort("127.0.0.1", caller.public), IpPort("127.0.0.1", 9)),
        )
        envoy = held.enter_context(Envoy("s1", bootstrap, directory))
        envoy.wait_ready()
        eye = held.enter_context(contextlib.closing(AdminConnection("127.0.0.1", caller.admin)))
        wait_until(lambda: eye.serving() == "dc2", "dc2 to serve")
        times = []
        for switch in range(switches):
            running.ready()
            # Not in step with whoever looks at the store from time to time.
            time.sleep(random.uniform(0.005, 0.02))
            index += 1
            event = s2_health(sites["dc2"], "passing" if switch % 2 else "critical", index)
            wanted = "dc2" if switch % 2 else "dc3"
            sent, acknowledged = up.post(event)
            deadline = sent + 10
            while eye.serving() != wanted:
                if time.perf_counter() > deadline:
                    raise TimeoutError(f"{way}: {wanted} did not serve within 10 s of switch {switch}")
            times.append(time.perf_counter() - sent)
            acknowledged()
            if switch % 50 == 49:
                progress(f"{way}: {switch + 1} of {switches} switches")
        return times


def _floor_ms(directory: Path) -> float:
    """Milliseconds of what no switch can do without: an HTTP request to an empty application, and two `fdatasync`."""
    with empty_application(directory) as port:
        event = request({"detail": s2_health(Site("dc2", "127.0.0.2", 1, 2, 3, 4, 5), "critical", 1)["detail"]})
        _, times = send(port, [event] * 200, connections=1)
    return statistics.median(times) * 1e3 + 1e3 / durable_pairs(directory, 0.3)


def measure(directory: Path, switches: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """Switches by each way."""
    floor = Beside("an empty request and two fdatasync", _floor_ms(directory))
    for way in WAYS:
        where = directory / way
        where.mkdir()
        times = [each * 1e3 for each in switch_times(way, where, switches, progress)]
        what = f"event to Envoy live, {way}"
        yield Measured(f"{what}, p50 of {switches}", statistics.median(times), "ms", P50_GOAL_MS, beside=floor)
        yield Measured(f"{what}, p99 of {switches}", percentile(times, 0.99), "ms", P99_GOAL_MS)
