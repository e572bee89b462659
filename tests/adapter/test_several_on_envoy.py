"""An Envoy with the addresses of several adapters goes on to the next one, whatever becomes of the first."""

import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from pointsman.bootstrap.document import AdapterTls, Address, Fetch, FetchGrpc, FetchHttp, HostName, SecretFiles
from pointsman.serve.tls import ServerTls, TlsFiles
from pointsman.store.protocol import Store

from tests.adapter import rest, streams
from tests.adapter.doubles import Remote
from tests.adapter.stand import Stand
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, Ports, wait_until

pytestmark = pytest.mark.envoy

_DNS, _IP = 2, 7


class Several(Stand):
    """A stand whose Envoy has three addresses, over TLS: of an adapter for another datacenter, reached by a name; of
    `adapter`, by the same name; and of `second`, by its IP address. Their certificates have that name, or address."""

    def __init__(self, way: Literal["grpc", "http"], store: Store, directory: Path, ports: Ports) -> None:
        self._places = [ports.take("127.0.0.1") for _ in range(3)]
        self._urls = str(directory / "store.db")
        super().__init__(way, store, self._urls, directory)
        named = [(_DNS, b"localhost")]
        own = self.authority.issue_as("elsewhere", named)
        tls = TlsFiles(own.certificate, own.private_key, own.ca)
        listen, elsewhere = f"127.0.0.1:{self._places[0]}", frozenset({"dc2"})
        self.refusing: streams.Adapter | rest.Adapter = (
            streams.Adapter(store, listen, tls=tls, datacenters=elsewhere)
            if way == "grpc"
            else rest.Adapter(store, listen, tls=ServerTls(tls), datacenters=elsewhere)
        )
        self.adapter = self._serving("adapter", self._places[1], named)
        self.second = self._serving("second", self._places[2], [(_IP, bytes([127, 0, 0, 1]))])

    def __enter__(self) -> "Several":
        self._held.enter_context(self.refusing)
        self._held.enter_context(self.second)
        self.wait_started(self.second)
        super().__enter__()
        return self

    def _serving(self, name: str, port: int, names: Sequence[tuple[int, bytes]]) -> Child:
        own = self.authority.issue_as(name, names)
        tls = ["--tls-cert", own.certificate, "--tls-key", own.private_key, "--client-ca", own.ca]
        command = [POINTSMAN, "adapter", self.way, "--store", self._urls, "--listen", f"127.0.0.1:{port}"]
        return Child(name, [*command, *tls], self._directory)

    def _fetch(self) -> Fetch:
        own = self.authority.issue("s1", "dc1")
        tls = AdapterTls(SecretFiles(str(own.certificate), str(own.private_key), str(own.ca)))
        refusing, first, second = self._places
        others = (HostName("localhost", first), Address("127.0.0.1", second))
        if self.way == "grpc":
            return FetchGrpc(HostName("localhost", refusing), tls, others=others)
        return FetchHttp(HostName("localhost", refusing), tls, refresh_delay_ms=50, others=others)


@pytest.mark.parametrize(
    ("way", "frozen"),
    [("grpc", True), *(pytest.param("http", frozen, marks=pytest.mark.soak) for frozen in (False, True))],
)
def test_who_refuses_stands_still_or_dies_is_left_for_the_next_one(
    way: Literal["grpc", "http"], frozen: bool, store: Remote, tmp_path: Path
) -> None:
    took: dict[str, float] = {}
    with Ports() as ports, Several(way, store, tmp_path, ports) as stand:
        refused = re.compile(r'pointsman_refused_total{.*"elsewhere".*} [1-9]')
        wait_until(lambda: refused.search(stand.refusing.metrics.text().decode()), "the refusal")
        begin = time.perf_counter()
        if frozen:
            # Neither dead nor at work: connections to it stay open, and nothing is answered.
            os.kill(stand.adapter.pid, signal.SIGSTOP)
        else:
            stand.adapter.kill()
        stand.publish("dc3")
        _wait(stand, "dc3", stand.second)
        took["the first one"] = time.perf_counter() - begin
        if frozen:
            os.kill(stand.adapter.pid, signal.SIGCONT)
        else:
            before = stand.adapter.out.stat().st_size
            stand.adapter.start()
            stand.wait_started(stand.adapter, before)
        now = time.perf_counter()
        stand.second.kill()
        stand.publish("dc2")
        _wait(stand, "dc2", stand.adapter)
        took["the second one"] = time.perf_counter() - now
        assert stand.failures(begin) == []
    print(f"{way}: left after", {name: round(each, 1) for name, each in took.items()})


def _wait(stand: Several, datacenter: str, adapter: Child) -> None:
    now = time.perf_counter()

    def answered() -> bool:
        lately = stand.client.attempts(max(now, time.perf_counter() - 0.3))
        return any(each.datacenter == datacenter for each in lately)

    wait_until(answered, f"{datacenter} to answer", children=[adapter, stand.envoy], timeout=120)
