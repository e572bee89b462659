"""A mesh leaves Consul: from its API to requests of a real Envoy that go where they went, a failover, and the way back.

Consul's API and the instances are doubles; the Envoy that Consul has configured is a real one, with what Consul would
have sent it.
"""

import contextlib
import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pointsman.cli.main import run

from tests.adapter.doubles import Remote
from tests.adapter.fetching import Fetching
from tests.adapter.targets import gateways, instances
from tests.fleet.ca import CertificateAuthority
from tests.fleet.envoy import Envoy
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import Tongue, Way
from tests.importers.consul import Told, consul, health

pytestmark = pytest.mark.envoy

JSON = dict[str, Any]
TRUST_DOMAIN = "11111111.consul"
Place = tuple[str, int]


def proxy(service: str, place: Place, dc: str, *upstreams: JSON) -> JSON:
    """A sidecar as it is registered with Consul."""
    about = {"DestinationServiceName": service, "LocalServicePort": 9, "Upstreams": list(upstreams)}
    ip, port = place
    named = {"Service": f"{service}-sidecar-proxy", "ID": f"{service}-{port}", "Kind": "connect-proxy"}
    return {
        "Datacenter": dc,
        "Node": f"node-{dc}",
        "Address": ip,
        "Service": {**named, "Address": ip, "Port": port, "Proxy": about},
    }


def gateway(place: Place, dc: str) -> JSON:
    """A mesh gateway as it is registered with Consul."""
    ip, port = place
    service = {"Service": "mesh-gateway", "ID": "gw", "Kind": "mesh-gateway", "Address": ip, "Port": port}
    return {"Datacenter": dc, "Node": f"node-{dc}", "Address": ip, "Service": service}


def before(authority: CertificateAuthority, listen: Place, admin: Place, to: Place) -> JSON:
    """The Envoy of s1 as Consul has configured it: to s2 in dc1, with mutual TLS."""
    identity = authority.issue("s1", "dc1")

    def address(place: Place) -> JSON:
        return {"socket_address": {"address": place[0], "port_value": place[1]}}

    kinds = "type.googleapis.com/envoy.extensions"
    sni = f"s2.default.dc1.internal.{TRUST_DOMAIN}"
    ids = [f"spiffe://{TRUST_DOMAIN}/ns/default/dc/{dc}/svc/s2" for dc in ("dc1", "dc2")]
    own = {"certificate_chain": {"filename": str(identity.certificate)}}
    tls = {
        "@type": f"{kinds}.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": sni,
        "common_tls_context": {
            "tls_certificates": [own | {"private_key": {"filename": str(identity.private_key)}}],
            "validation_context": {
                "trusted_ca": {"filename": str(identity.ca)},
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": each}} for each in ids],
            },
        },
    }
    forward = {"@type": f"{kinds}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "s2", "cluster": sni}
    filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": forward}]
    listener = {"name": "s2", "address": address(listen), "filter_chains": [{"filters": filters}]}
    cluster = {
        "name": sni,
        "type": "STATIC",
        "connect_timeout": "5s",
        "outlier_detection": {},
        "common_lb_config": {"healthy_panic_threshold": {}},
        "load_assignment": {
            "cluster_name": sni,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(to)}}]}],
        },
        "transport_socket": {"name": "tls", "typed_config": tls},
    }
    return {
        "node": {"id": "s1-sidecar-proxy", "cluster": "s1"},
        "admin": {"address": address(admin)},
        "static_resources": {"clusters": [cluster], "listeners": [listener]},
    }


def ask(port: int) -> str:
    """Who answers the application s1, which asks s2; "nobody" if the request fails."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        with contextlib.closing(connection):
            connection.request("GET", "/", headers={"connection": "close"})
            return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return "nobody"


def test_a_sidecar_changes_over_fails_over_and_goes_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    authority, store = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN), str(tmp_path / "store.db")
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        upstream, admin, dc1, own, there = (("127.0.0.1", ports.take("127.0.0.1")) for _ in range(5))
        gate = ("127.0.0.2", ports.take("127.0.0.2"))
        held.enter_context(instances(authority, "s2", {"s2 in dc1": dc1}))
        seen = held.enter_context(gateways(authority, "s2", {"gateway": gate}))
        told = Told(
            entries=[
                {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "remote"}},
                {"Kind": "service-resolver", "Name": "s2", "Failover": {"*": {"Datacenters": ["dc2"]}}},
                {"Kind": "service-intentions", "Name": "s2", "Sources": [{"Name": "s1", "Action": "allow"}]},
            ],
            registered=[
                proxy("s1", own, "dc1", {"DestinationName": "s2", "LocalBindPort": upstream[1]}),
                proxy("s2", dc1, "dc1"),
                proxy("s2", there, "dc2"),
                gateway(gate, "dc2"),
            ],
        )
        url = held.enter_context(consul(told))

        # 1. Import, look, apply; the report names nothing.
        out, watches = str(tmp_path / "config"), tmp_path / "watches"
        assert run(["import", "consul", "--url", url, "--out", out, "--watches", str(watches)]) == 0
        assert f"give it at the first apply: --trust-domain {TRUST_DOMAIN}" in capfd.readouterr().out
        assert run(["apply", "--store", store, "--trust-domain", TRUST_DOMAIN, "--plan", out]) == 4
        assert run(["apply", "--store", store, "--trust-domain", TRUST_DOMAIN, out]) == 0

        # 2. Consul's watches tell of health, as its agents would pass it on.
        def watched(index: int, *ill: str) -> None:
            held.enter_context(pytest.MonkeyPatch.context()).setenv("CONSUL_INDEX", str(index))
            for file in sorted(watches.iterdir()):
                for watch in json.loads(file.read_text())["watches"]:
                    here = [each for each in told.registered if each["Datacenter"] == file.stem]
                    listed = [health(each) for each in here if each["Service"]["Service"] == watch["service"]]
                    for each in listed:
                        each["Checks"][0]["Status"] = "critical" if each["Service"]["ID"] in ill else "passing"
                    said = tmp_path / "list.json"
                    said.write_text(json.dumps(listed))
                    query = urlsplit(watch["http_handler_config"]["path"]).query
                    assert run(["emit", "--store", store, "--watch", query, str(said)]) == 0

        watched(100)

        # 3. The Envoy that Consul has configured, and what would change for it: nothing.
        old = held.enter_context(Envoy("old", before(authority, upstream, admin, dc1), tmp_path))
        old.wait_ready()
        capfd.readouterr()
        shadow = ["shadow", "s1", "--dc", "dc1", "--store", store, "--admin", f"{admin[0]}:{admin[1]}"]
        assert run(shadow) == 0, capfd.readouterr().out

        # 4. The old Envoy ends, and the new one takes its ports.
        assert ask(upstream[1]) == "s2 in dc1"
        old.terminate()
        old.wait()
        remote = held.enter_context(contextlib.closing(Remote(tmp_path / "store.db")))
        with Fetching(Way(Tongue.DELTA), remote, tmp_path, ports, authority):
            wait_until(lambda: ask(upstream[1]) == "s2 in dc1", "an answer through the new Envoy")

            # 5. s2 dies in dc1, and Consul says so.
            watched(200, f"s2-{dc1[1]}")
            wait_until(lambda: ask(upstream[1]) == "dc2", "an answer of dc2")
            assert seen.seen == {("gateway", "dc2")}

        # 6. The way back: Consul's Envoy again.
        watched(300)
        old.start()
        old.wait_ready()
        assert ask(upstream[1]) == "s2 in dc1"
