"""Real Envoys: one that Pointsman configures differs in nothing, nor does one that a file configures likewise."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import run
from pointsman.cli.shadow import DIFFERS
from pointsman.store.open import open_store

from tests.adapter.control import Control, Document, defaults, instance, proxy_defaults, resolver, s1
from tests.adapter.fetching import Fetching
from tests.adapter.published import TRUST_DOMAIN
from tests.fleet.ca import CertificateAuthority
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy
from tests.fleet.process import Ports
from tests.fleet.ways import Tongue, Way
from tests.shadow.consul_envoy import TYPES, sni

pytestmark = pytest.mark.envoy

JSON = dict[str, Any]

_FILTERS = f"{TYPES}.extensions.filters"


def configure(control: Control, ports: dict[str, int]) -> None:
    """s2 has failed over to dc2 through gateways, s3 has priority tiers, s4 has routes and a split; s1 itself may be
    called by some."""
    control.report_gateways({"gw": ("127.0.0.1", 7001)}, dc="dc1")
    control.report_gateways({"gw": ("127.0.0.2", 7001)}, dc="dc2")
    control.report("s2", instance("s2", ("127.0.0.1", 8001), "critical"))
    control.report("s2", instance("s2", ("127.0.0.2", 8001)), dc="dc2")
    control.report("s3", instance("s3", ("127.0.0.1", 8003)), instance("s3", ("127.0.0.1", 8013)))
    control.report("s3", instance("s3", ("127.0.0.2", 8003)), dc="dc2")
    versions = [instance("s4", ("127.0.0.1", 8003 + number), version=str(number)) for number in (1, 2)]
    control.report("s4", *versions)
    elsewhere = {"Failover": {"*": {"Datacenters": ["dc2"]}}}
    control.apply(
        proxy_defaults("local"),
        resolver("s2", **elsewhere),
        resolver("s3", **elsewhere),
        defaults("s3", MeshGateway={"Mode": "none"}),
        defaults("s1", Protocol="http"),
        defaults("s4", Protocol="http"),
        _intentions(),
        resolver("s4", Subsets={f"v{each}": {"Filter": f"Service.Meta.version == {each}"} for each in (1, 2)}),
        _split(),
        _routes(),
        s1(**ports),
    )


def _intentions() -> Document:
    """Who may call s1."""
    match = {"PathPrefix": "/admin", "Methods": ["GET"], "Header": [{"Name": "x-team", "Exact": "ops"}]}
    permissions = [{"Action": "deny", "HTTP": {"PathExact": "/admin/x"}}, {"Action": "allow", "HTTP": match}]
    sources = [{"Name": "s9", "Permissions": permissions}, {"Name": "*", "Action": "deny"}]
    return {"Kind": "service-intentions", "Name": "s1", "Sources": sources}


def _split() -> Document:
    splits = [{"Weight": 75, "ServiceSubset": "v1"}, {"Weight": 25, "ServiceSubset": "v2"}]
    return {"Kind": "service-splitter", "Name": "s4", "Splits": splits}


def _routes() -> Document:
    match = {"HTTP": {"PathPrefix": "/admin", "Methods": ["GET"]}}
    destination = {"ServiceSubset": "v2", "RequestTimeout": "3s", "NumRetries": 2, "RetryOnConnectFailure": True}
    return {"Kind": "service-router", "Name": "s4", "Routes": [{"Match": match, "Destination": destination}]}


def by_hand(ports: dict[str, int], authority: CertificateAuthority, admin: int) -> JSON:
    """A bootstrap that does the same with names of its own, and its defaults written out."""
    identity = authority.issue("s1", "dc1")

    def cluster(name: str, target: str, services: list[str], *tiers: list[tuple[str, int]]) -> JSON:
        names = [f"spiffe://{TRUST_DOMAIN}/ns/default/dc/{dc}/svc/{name[:2]}" for dc in services]
        validation = {
            "trusted_ca": {"filename": str(identity.ca)},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": each}} for each in names],
        }
        certificate = {
            "certificate_chain": {"filename": str(identity.certificate)},
            "private_key": {"filename": str(identity.private_key)},
        }
        tls = {
            "@type": f"{TYPES}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": sni(target),
            "common_tls_context": {"tls_certificates": [certificate], "validation_context": validation},
        }
        endpoints = [
            {
                "priority": priority,
                "lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}}}
                    for ip, port in places
                ],
            }
            for priority, places in enumerate(tiers)
        ]
        policy = {"overprovisioning_factor": 100_000}
        return {
            "name": name,
            "type": "STATIC",
            "lb_policy": "ROUND_ROBIN",
            "connect_timeout": "5s",
            "outlier_detection": {"interval": "10s"},
            "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
            "load_assignment": {"cluster_name": name, "policy": policy, "endpoints": endpoints},
            "transport_socket": {"name": "mtls", "typed_config": tls},
        }

    def listener(service: str, config: JSON) -> JSON:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": ports[service]}}
        return {
            "name": f"to-{service}",
            "address": address,
            "filter_chains": [{"filters": [{"name": "f", "typed_config": config}]}],
        }

    def tcp(service: str) -> JSON:
        return listener(
            service,
            {"@type": f"{_FILTERS}.network.tcp_proxy.v3.TcpProxy", "stat_prefix": service, "cluster": f"{service}-any"},
        )

    get = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET"}}}
    retries = {"retry_on": "connect-failure", "num_retries": 2}
    split = [{"name": "s4-one", "weight": 3}, {"name": "s4-two", "weight": 1}]
    routes = [
        {
            "match": {"prefix": "/admin", "headers": [get]},
            "route": {"cluster": "s4-two", "timeout": "3s", "retry_policy": retries},
        },
        {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": split}}},
    ]
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s4",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "r", "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"}}],
    }
    return {
        "node": {"id": "s1-by-hand", "cluster": "s1"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {
            "listeners": [tcp("s2"), tcp("s3"), listener("s4", manager)],
            "clusters": [
                cluster("s2-any", "s2.default.dc2", ["dc1", "dc2"], [("127.0.0.1", 7001)]),
                cluster(
                    "s3-any",
                    "s3.default.dc1",
                    ["dc1", "dc2"],
                    [("127.0.0.1", 8013), ("127.0.0.1", 8003)],
                    [("127.0.0.2", 8003)],
                ),
                cluster("s4-one", "v1.s4.default.dc1", ["dc1"], [("127.0.0.1", 8004)]),
                cluster("s4-two", "v2.s4.default.dc1", ["dc1"], [("127.0.0.1", 8005)]),
            ],
        },
    }


def _address(bootstrap: JSON, cluster: int) -> JSON:
    load = bootstrap["static_resources"]["clusters"][cluster]["load_assignment"]
    found: JSON = load["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    return found


def _routes_of(bootstrap: JSON) -> list[JSON]:
    (chain,) = bootstrap["static_resources"]["listeners"][2]["filter_chains"]
    found: list[JSON] = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    return found


def _tls(bootstrap: JSON, cluster: int) -> JSON:
    found: JSON = bootstrap["static_resources"]["clusters"][cluster]["transport_socket"]["typed_config"]
    return found


def change(bootstrap: JSON) -> None:
    """Another port, another server name, another order of routes, other weights and another timeout."""
    _address(bootstrap, 0)["port_value"] = 7002
    _tls(bootstrap, 1)["sni"] = sni("s3.default.dc3")
    admin, everything = _routes_of(bootstrap)
    admin["route"]["timeout"] = "9s"
    everything["route"]["weighted_clusters"]["clusters"][0]["weight"] = 4
    _routes_of(bootstrap).insert(0, {"match": {"prefix": "/admin/open"}, "route": {"cluster": "s4-one"}})


def test_an_envoy_that_does_the_same_differs_in_nothing_and_one_that_does_not_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "store.db")
    store = open_store(path, create=True)
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)

    def shadow(*words: str) -> tuple[int, JSON]:
        code = run(["shadow", "s1", "--dc", "dc1", "--store", path, "--json", *words])
        (envoy,) = json.loads(capsys.readouterr().out)["envoys"]
        return code, envoy

    with contextlib.ExitStack() as held:
        held.callback(store.close)
        ports = held.enter_context(Ports())
        upstreams = {service: ports.take("127.0.0.1") for service in ("s2", "s3", "s4")}
        configure(Control(store), upstreams)
        for binary in (ENVOY_1_40, ENVOY_1_39):
            directory = tmp_path / binary.parent.parent.parent.name
            directory.mkdir()
            with Fetching(Way(Tongue.DELTA, binary), store, directory, ports, authority) as fetching:
                admin = fetching.envoy.admin
                code, envoy = shadow("--admin", admin)
            assert (code, envoy["differences"], envoy["own"]) == (0, [], [])
            assert envoy["compared"] == {"listeners": 4, "clusters": 5}

        for name, mutated in (("the same", False), ("changed", True)):
            bootstrap = by_hand(upstreams, authority, ports.take("127.0.0.1"))
            if mutated:
                change(bootstrap)
            with Envoy(name.replace(" ", "-"), bootstrap, tmp_path) as static:
                static.wait_ready()
                code, envoy = shadow("--admin", static.admin)
            assert envoy["version"] == "1.40.0"
            assert code == (DIFFERS if mutated else 0), envoy
    assert [(each["kind"], each["today"], each["pointsman"]) for each in envoy["differences"]] == [
        ("endpoints", "127.0.0.1:7002", "127.0.0.1:7001"),
        ("server name", sni("s3.default.dc3"), sni("s3.default.dc1")),
        ("route", "to s4-one", "none: the next that matches"),
        ("route", "80 %", "75 %"),
        ("route", "20 %", "25 %"),
        ("timeout", "9s", "3s"),
    ]
