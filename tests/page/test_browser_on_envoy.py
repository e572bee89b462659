"""A failover of a real Envoy, seen in a real browser."""

import json
import time
from pathlib import Path

import pytest
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

from tests.fleet.ca import CertificateAuthority
from tests.fleet.control_plane import Pointsman
from tests.fleet.documents import RESOLVER, Caller, Site, gateway_health, proxy_defaults, s1_sidecar, s2_health
from tests.fleet.envoy import Envoy
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import Tongue, Way
from tests.page.browser import Watched, chromium, needs_chromium

pytestmark = [needs_chromium, pytest.mark.envoy, pytest.mark.soak]

IPS = {"dc1": "127.0.0.1", "dc2": "127.0.0.2", "dc3": "127.0.0.3"}
CLUSTER = "s2.default.dc1.internal.mesh.example"


def serving(envoy: Envoy) -> str:
    """The datacenter whose gateway the Envoy sends to."""
    ips = {host["address"]["socket_address"]["address"] for host in envoy.clusters().get(CLUSTER, [])}
    return next((dc for dc, ip in IPS.items() if ips == {ip}), "")


def test_a_failover_of_a_real_envoy_is_seen_on_the_page_within_a_second(tmp_path: Path) -> None:
    with Ports() as ports:
        sites = {dc: Site(dc, ip, *(ports.take(ip) for _ in range(5))) for dc, ip in IPS.items()}
        caller = Caller(sites["dc1"], *(ports.take("127.0.0.1") for _ in range(3)))
        config = {"defaults.json": json.dumps(proxy_defaults("remote")), "s1.json": json.dumps(s1_sidecar(caller))}
        for name, text in {**config, "s2.hcl": RESOLVER}.items():
            (tmp_path / name).write_text(text)
        up = Pointsman(tmp_path, "mesh.example", Way(Tongue.DELTA))
        up.apply(tmp_path / name for name in (*config, "s2.hcl"))
        identity = CertificateAuthority(tmp_path / "ca", "mesh.example").issue("s1", "dc1")
        bootstrap = sidecar_bootstrap(
            Node("s1-1", "s1", "dc1"),
            Address("127.0.0.1", caller.admin),
            FetchGrpc(UnixSocket(str(up.socket))),
            secrets=SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca)),
            host=Host(IpPort("127.0.0.1", caller.public), IpPort("127.0.0.1", 9)),
        )
        with up, Envoy("s1", bootstrap, tmp_path) as envoy, chromium() as browser:
            for index, site in enumerate(sites.values(), 1):
                up.send(gateway_health(site, index))
            for index, (datacenter, status) in enumerate(
                [("dc1", "critical"), ("dc2", "passing"), ("dc3", "passing")], 10
            ):
                up.send(s2_health(sites[datacenter], status, index))
            envoy.wait_ready()
            wait_until(lambda: serving(envoy) == "dc2", "dc2 to serve")
            tab = Watched(browser, up.url)
            tab.page.goto(up.url)
            cell = tab.page.locator("#cell-dc1-default-s2 .active")
            tab.page.wait_for_selector(".live.on")
            took = []
            for switch in range(6):
                began = time.monotonic()
                up.send(s2_health(sites["dc2"], "passing" if switch % 2 else "critical", 20 + switch))
                wanted = "dc2" if switch % 2 else "dc3"
                cell.filter(has_text=wanted).wait_for(timeout=60_000)
                took.append(time.monotonic() - began)
                wait_until(lambda wanted=wanted: serving(envoy) == wanted, f"{wanted} to serve")
            assert sorted(took)[len(took) // 2] < 1.0, took
            print("seen after", [round(each, 3) for each in took])
            assert tab.amiss == []
