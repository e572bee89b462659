"""A mesh gateway: which server names lead where, by name of cluster as Consul's do."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pointsman.discovery.proxy import GatewayId
from pointsman.discovery.view import View
from pointsman.discovery.whole import read_view
from pointsman.model.errors import PointsmanError
from pointsman.shadow.compare import compare
from pointsman.shadow.difference import Kind
from pointsman.shadow.dump import dump_of
from pointsman.shadow.served import served
from pointsman.store.open import open_store

from tests.adapter.control import Control, instance, resolver
from tests.adapter.published import TRUST_DOMAIN
from tests.pipeline.meshes import gateway
from tests.shadow.consul_envoy import TYPES

JSON = dict[str, Any]

_NETWORK = f"{TYPES}.extensions.filters.network"


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    store = open_store(str(tmp_path_factory.mktemp("shadow") / "store.db"), create=True)
    control = Control(store)
    control.report_gateways({"gw": ("10.2.0.9", 8443), "gw-2": ("10.2.0.8", 8443)}, dc="dc2")
    control.apply(gateway("dc1"), resolver("api"))
    control.report("api", instance("api", ("10.0.0.1", 20000)), instance("api", ("10.0.0.2", 20000)))
    control.report("db", instance("db", ("10.0.0.4", 20000)))
    with pytest.raises(PointsmanError, match=r"the mesh gateway none in dc1 is not registered"):
        read_view(store, GatewayId("dc1", "none"))
    yield read_view(store, GatewayId("dc1", "gw"))
    store.close()


def name(of: str) -> str:
    return f"{of}.internal.{TRUST_DOMAIN}"


def dump(view: View) -> JSON:
    """What Consul's gateway at the same place would answer."""
    (listener,) = served(view, None).listeners
    at = listener.address.socket_address
    address = {"socket_address": {"address": at.address, "port_value": at.port_value}}
    places = {
        name("api.default.dc1"): [("10.0.0.1", 20000), ("10.0.0.2", 20000)],
        name("db.default.dc1"): [("10.0.0.4", 20000)],
        name("dc2"): [("10.2.0.9", 8443), ("10.2.0.8", 8443)],
    }
    remote = {
        "filter_chain_match": {"server_names": [f"*.{name('dc2')}"]},
        "filters": [
            {"name": "tcp", "typed_config": {"@type": f"{_NETWORK}.tcp_proxy.v3.TcpProxy", "cluster": name("dc2")}}
        ],
    }
    local = {
        "filters": [
            {"name": "sni", "typed_config": {"@type": f"{_NETWORK}.sni_cluster.v3.SniCluster"}},
            {"name": "tcp", "typed_config": {"@type": f"{_NETWORK}.tcp_proxy.v3.TcpProxy", "cluster": ""}},
        ]
    }
    made = {
        "@type": f"{TYPES}.config.listener.v3.Listener",
        "name": "default:all",
        "address": address,
        "filter_chains": [remote, local],
        "listener_filters": [{"name": "envoy.filters.listener.tls_inspector"}],
    }
    clusters = [
        {
            "@type": f"{TYPES}.config.cluster.v3.Cluster",
            "name": each,
            "type": "EDS",
            "eds_cluster_config": {"eds_config": {"ads": {}}},
            "connect_timeout": "5s",
            "outlier_detection": {},
        }
        for each in places
    ]
    assignments = [
        {
            "@type": f"{TYPES}.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": each,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}}}
                        for ip, port in listed
                    ]
                }
            ],
        }
        for each, listed in places.items()
    ]
    return {
        "configs": [
            {
                "@type": f"{TYPES}.admin.v3.ClustersConfigDump",
                "dynamic_active_clusters": [{"cluster": each} for each in clusters],
            },
            {
                "@type": f"{TYPES}.admin.v3.EndpointsConfigDump",
                "dynamic_endpoint_configs": [{"endpoint_config": each} for each in assignments],
            },
            {
                "@type": f"{TYPES}.admin.v3.ListenersConfigDump",
                "dynamic_listeners": [{"name": "default", "active_state": {"listener": made}}],
            },
        ]
    }


def _listener(answer: JSON) -> JSON:
    found: JSON = answer["configs"][2]["dynamic_listeners"][0]["active_state"]["listener"]
    return found


def _endpoints(answer: JSON, number: int) -> list[JSON]:
    config = answer["configs"][1]["dynamic_endpoint_configs"][number]["endpoint_config"]
    found: list[JSON] = config["endpoints"][0]["lb_endpoints"]
    return found


def kinds(view: View, change: Callable[[JSON], object]) -> list[tuple[Kind, str]]:
    answer = dump(view)
    change(answer)
    found = compare(dump_of(answer, "gateway.json", TRUST_DOMAIN).held, served(view, (1, 33, 0)))
    return [(each.kind, each.where.partition(", ")[2]) for each in sorted(found.differences)]


def test_a_gateway_that_forwards_alike_differs_in_nothing(view: View) -> None:
    assert kinds(view, lambda answer: None) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: _endpoints(d, 0).pop(), [(Kind.ENDPOINTS, f"server name {name('api.default.dc1')}")]),
        (
            lambda d: d["configs"][0]["dynamic_active_clusters"].pop(1),
            [(Kind.UPSTREAM, f"server name {name('db.default.dc1')}")],
        ),
        (lambda d: _listener(d)["filter_chains"].pop(0), [(Kind.ROUTE, f"server name *.{name('dc2')}")]),
        (
            lambda d: _listener(d)["address"]["socket_address"].update(address="0.0.0.0"),
            [(Kind.SETTING, "")],
        ),
    ],
    ids=["an endpoint is gone", "a service is gone", "a datacenter is gone", "it listens everywhere"],
)
def test_what_a_gateway_does_otherwise_is_told(
    view: View, change: Callable[[JSON], object], told: list[tuple[Kind, str]]
) -> None:
    assert kinds(view, change) == told


def test_a_datacenters_endpoints_are_compared_once(view: View) -> None:
    ((kind, where),) = kinds(view, lambda answer: _endpoints(answer, 2).pop())
    assert kind is Kind.ENDPOINTS
    assert name("dc2") in where
