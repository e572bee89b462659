"""UpstreamConfig of a service's defaults, for all its upstreams and by name: a real Envoy does what it says."""

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.adapter.control import Control, defaults, instance, resolver, s1
from tests.adapter.doubles import Remote
from tests.adapter.fetching import Fetching
from tests.adapter.published import TRUST_DOMAIN
from tests.adapter.targets import gateways, instances
from tests.fleet.ca import CertificateAuthority
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import Tongue, Way

pytestmark = pytest.mark.envoy

UPSTREAM_CONFIG = {
    "Defaults": {"Protocol": "http", "ConnectTimeoutMs": 200, "MeshGateway": {"Mode": "remote"}},
    "Overrides": [
        {"Name": "full", "Limits": {"MaxConcurrentRequests": 0}},
        {
            "Name": "failing",
            "PassiveHealthCheck": {
                "Interval": "100ms",
                "MaxFailures": 2,
                "EnforcingConsecutive5xx": 100,
                "MaxEjectionPercent": 100,
                "BaseEjectionTime": "10m",
            },
        },
        {"Name": "plain", "Protocol": "tcp", "Limits": {"MaxConnections": 1}},
        {"Name": "near", "MeshGateway": {"Mode": "local"}},
    ],
}
IN_DC1 = ("usual", "full", "failing", "plain", "deaf")
IN_DC2 = ("near", "far")


@dataclass(frozen=True)
class Answer:
    status: int
    body: str
    headers: dict[str, str]


def ask(port: int) -> Answer:
    """One request on a connection of its own."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), {k.lower(): v for k, v in response.getheaders()})


@contextlib.contextmanager
def deaf() -> Iterator[tuple[str, int]]:
    """A place where connections are never accepted, and none more fits into the queue."""
    with contextlib.ExitStack() as held:
        server = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        place: tuple[str, int] = server.getsockname()[:2]
        for _ in range(3):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(place)
        yield place


def test_an_envoy_does_what_upstream_config_says(store: Remote, tmp_path: Path) -> None:
    authority, control = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN), Control(store)
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        upstream = {name: ports.take("127.0.0.1") for name in (*IN_DC1, *IN_DC2)}
        places = {name: ("127.0.0.1", ports.take("127.0.0.1")) for name in (*IN_DC1, "gateway-1", "gateway-2")}
        places["deaf"] = held.enter_context(deaf())
        for name in ("usual", "full", "failing", "plain"):
            status = 500 if name == "failing" else 200
            held.enter_context(instances(authority, name, {name: places[name]}, status))
        ways = {name: places[name] for name in ("gateway-1", "gateway-2")}
        passed = held.enter_context(gateways(authority, "far", ways))
        control.apply(
            defaults("s1", UpstreamConfig=UPSTREAM_CONFIG),
            *(resolver(name, Redirect={"Datacenter": "dc2"}) for name in IN_DC2),
            s1(**upstream),
        )
        for name in IN_DC1:
            control.report(name, instance(name, places[name]))
        for name in IN_DC2:
            control.report(name, instance(name, ("127.0.0.2", 8000)), dc="dc2")
        control.report_gateways({"1": places["gateway-1"]}, dc="dc1")
        control.report_gateways({"2": places["gateway-2"]}, dc="dc2")
        fetching = held.enter_context(Fetching(Way(Tongue.DELTA), store, tmp_path, ports, authority))
        envoy = fetching.envoy

        # Protocol, for all and by name: an Envoy that speaks HTTP says how long the answer took. And Limits: of
        # requests, and of connections.
        usual, full = ask(upstream["usual"]), ask(upstream["full"])
        assert (usual.body, "x-envoy-upstream-service-time" in usual.headers) == ("usual", True)
        assert (full.status, full.headers["x-envoy-overloaded"]) == (503, "true")
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", upstream["plain"], timeout=30)) as only:
            only.request("GET", "/")
            plain = only.getresponse()
            assert (plain.read(), plain.getheader("x-envoy-upstream-service-time")) == (b"plain", None)
            with pytest.raises((ConnectionError, http.client.BadStatusLine)):
                ask(upstream["plain"])
        wait_until(lambda: _answers(upstream["plain"]), "the place of the connection that ended")

        # PassiveHealthCheck: after two failures nobody asks the instance.
        assert [ask(upstream["failing"]).body for _ in range(2)] == ["failing", "failing"]
        wait_until(lambda: ask(upstream["failing"]).body == "no healthy upstream", "the instance to be left out")

        # ConnectTimeoutMs: Envoy's own is 5 seconds.
        took = []
        for _ in range(3):
            began = time.perf_counter()
            assert ask(upstream["deaf"]).status == 503
            took.append(time.perf_counter() - began)
        assert min(took) < 4
        assert sum(envoy.counters(r"cluster\..*deaf\..*\.upstream_cx_connect_timeout$").values()) >= 3

        # MeshGateway: by name through the gateway of its own datacenter, for all through that of the other one.
        assert [ask(upstream[name]).body for name in IN_DC2] == ["dc2", "dc2"]
        assert passed.seen == {("gateway-1", "dc2"), ("gateway-2", "dc2")}
        assert (fetching.rejected(), fetching.rejections()) == ({}, [])


def _answers(port: int) -> bool:
    try:
        return ask(port).body == "plain"
    except (ConnectionError, http.client.BadStatusLine):
        return False
