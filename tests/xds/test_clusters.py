"""A resolver's clusters: load balancing as Consul maps it to Envoy, and what does not reach a cluster."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.json_format import MessageToDict
from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Overrides, ResolverNode
from pointsman.chain.plan import plan_json, read_plan, sidecar_plans
from pointsman.chain.upstream import upstream_chain
from pointsman.model.duration import LONGEST_MS
from pointsman.model.entries import entry_json, parse_entry
from pointsman.model.errors import InvalidInput
from pointsman.model.names import ServiceName
from pointsman.model.registration import parse_registration
from pointsman.xds.cluster import IDENTITY_SECRET, TRUST_SECRET, sidecar_cluster

from tests.fleet.ca import CertificateAuthority
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, validate

JSON = dict[str, Any]
TRUST_DOMAIN = "td"
WEB = ServiceName("default", "web")

BALANCERS: list[tuple[str, JSON | None, JSON]] = [
    # the situation, the resolver's LoadBalancer, and what its cluster has of it
    ("none", None, {}),
    ("no policy", {"Policy": ""}, {}),
    # Envoy's default is round robin, which protobufs do not write.
    ("round robin", {"Policy": "round_robin"}, {}),
    ("random", {"Policy": "random"}, {"lb_policy": "RANDOM"}),
    ("least request", {"Policy": "least_request"}, {"lb_policy": "LEAST_REQUEST"}),
    (
        "least request without options",
        {"Policy": "least_request", "LeastRequestConfig": {}},
        {"lb_policy": "LEAST_REQUEST"},
    ),
    (
        "least request of five",
        {"Policy": "least_request", "LeastRequestConfig": {"ChoiceCount": 5}},
        {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 5}},
    ),
    ("a ring", {"Policy": "ring_hash"}, {"lb_policy": "RING_HASH"}),
    (
        "a ring without options",
        {"Policy": "ring_hash", "RingHashConfig": {}},
        {"lb_policy": "RING_HASH"},
    ),
    (
        "a ring of at least so many",
        {"Policy": "ring_hash", "RingHashConfig": {"MinimumRingSize": 64}},
        {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "64"}},
    ),
    (
        "a ring of at most so many",
        {"Policy": "ring_hash", "RingHashConfig": {"MaximumRingSize": 1024}},
        {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"maximum_ring_size": "1024"}},
    ),
    (
        "the largest ring",
        {"Policy": "ring_hash", "RingHashConfig": {"MinimumRingSize": 8388608, "MaximumRingSize": 8388608}},
        {
            "lb_policy": "RING_HASH",
            "ring_hash_lb_config": {"minimum_ring_size": "8388608", "maximum_ring_size": "8388608"},
        },
    ),
    ("maglev", {"Policy": "maglev"}, {"lb_policy": "MAGLEV"}),
    (
        "a ring whose hashes are the routes' affair",
        {"Policy": "ring_hash", "HashPolicies": [{"Field": "header", "FieldValue": "x-user"}, {"SourceIP": True}]},
        {"lb_policy": "RING_HASH"},
    ),
]


def cluster_of(resolver: JSON) -> Cluster:
    """The cluster of `web` as sidecars of dc1 get it."""
    entry = parse_entry({"Kind": "service-resolver", "Name": "web", **resolver})
    (plan,) = sidecar_plans(compile_chain(EntrySet.of([entry]), WEB, "dc1", "dc1"))
    return sidecar_cluster(plan, 0, TRUST_DOMAIN)


def as_json(cluster: Cluster) -> JSON:
    found: JSON = MessageToDict(cluster, preserving_proto_field_name=True)
    return found


@pytest.mark.parametrize(("balancer", "expected"), [row[1:] for row in BALANCERS], ids=[row[0] for row in BALANCERS])
def test_load_balancing_reaches_the_cluster(balancer: JSON | None, expected: JSON) -> None:
    assert as_json(cluster_of({"LoadBalancer": balancer})) == as_json(cluster_of({})) | expected


LIMITS: JSON = {"MaxConnections": 5, "MaxPendingRequests": 0}
CHECK: JSON = {
    "Interval": "10s",
    "MaxFailures": 3,
    "EnforcingConsecutive5xx": 0,
    "MaxEjectionPercent": 100,
    "BaseEjectionTime": "1500us",
}


def caller(config: JSON, **upstream_config: JSON) -> Cluster:
    """The cluster of `web` as the sidecars of `client` get it, whose registration has `config` for it."""
    entries = [{"Kind": "service-defaults", "Name": "client", "UpstreamConfig": upstream_config}]
    state = EntrySet.of(map(parse_entry, entries))
    proxy = {
        "DestinationServiceName": "client",
        "Upstreams": [{"DestinationName": "web", "LocalBindPort": 1, "Config": config}],
    }
    sidecar = parse_registration({"Datacenter": "dc1", "Service": {"Kind": "connect-proxy", "Proxy": proxy}})
    (plan,) = sidecar_plans(upstream_chain(state, sidecar, sidecar.service.proxy.upstreams[0]))
    assert read_plan(orjson.loads(orjson.dumps(plan_json(plan)))) == plan
    return sidecar_cluster(plan, 0, TRUST_DOMAIN)


def test_what_limits_a_caller_is_on_a_cluster_of_its_own() -> None:
    cluster = as_json(caller({"limits": LIMITS, "passive_health_check": CHECK}))

    assert cluster["circuit_breakers"] == {"thresholds": [{"max_connections": 5, "max_pending_requests": 0}]}
    assert cluster["outlier_detection"] == {
        "interval": "10s",
        "base_ejection_time": "0.002s",
        "consecutive_5xx": 3,
        "enforcing_consecutive_5xx": 0,
        "max_ejection_percent": 100,
    }
    assert re.fullmatch(rf"[0-9a-f]{{8}}:web\.default\.dc1\.internal\.{TRUST_DOMAIN}", cluster["name"])
    assert caller({}).name == caller({"limits": {}, "passive_health_check": {"max_failures": 0}}).name


def test_the_nearest_setting_of_an_upstream_holds() -> None:
    other, named = {"Name": "api", "ConnectTimeoutMs": 1}, {"Name": "web", "ConnectTimeoutMs": 2, "Protocol": "http2"}
    general = {"ConnectTimeoutMs": 3, "Limits": LIMITS}
    found = [
        caller({}, overrides=[other]),
        caller({}, Overrides=[other], Defaults=general),
        caller({}, Overrides=[other, named], Defaults=general),
        caller({"connect_timeout_ms": 4, "protocol": "tcp"}, Overrides=[named], Defaults=general),
    ]

    assert [each.connect_timeout.ToMilliseconds() for each in found] == [5000, 3, 2, 4]
    assert [bool(each.typed_extension_protocol_options) for each in found] == [False, False, True, False]
    assert [len(each.circuit_breakers.thresholds) for each in found] == [0, 1, 1, 1]


def test_every_node_of_a_chain_balances_as_its_own_resolver_says() -> None:
    entries = [
        {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}},
        {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 50}, {"Weight": 50, "Service": "api"}]},
        {"Kind": "service-resolver", "Name": "web", "LoadBalancer": {"Policy": "maglev"}},
        # A failover target is reached through the cluster of its primary: only that one's policy counts.
        {"Kind": "service-resolver", "Name": "api", "Failover": {"*": {"Service": "web", "Datacenters": ["dc2"]}}},
    ]
    chain = compile_chain(EntrySet.of(map(parse_entry, entries)), WEB, "dc1", "dc1")

    seen = {plan.cluster_id: sidecar_cluster(plan, 0, TRUST_DOMAIN).lb_policy for plan in sidecar_plans(chain)}

    assert seen == {"web.default.dc1": Cluster.LbPolicy.MAGLEV, "api.default.dc1": Cluster.LbPolicy.ROUND_ROBIN}


def test_a_resolvers_request_timeout_is_kept_and_is_not_the_clusters() -> None:
    entry = parse_entry({"Kind": "service-resolver", "Name": "web", "RequestTimeout": "250ms", "ConnectTimeout": "2s"})
    chain = compile_chain(EntrySet.of([entry]), WEB, "dc1", "dc1")
    node = chain.nodes[chain.start]

    assert entry_json(entry)["RequestTimeout"] == 250_000_000
    assert isinstance(node, ResolverNode)
    assert node.request_timeout == 250_000_000
    assert cluster_of({"RequestTimeout": "250ms", "ConnectTimeout": "2s"}) == cluster_of({"ConnectTimeout": "2s"})


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [(None, 5000), ("0s", 5000), ("250ms", 250), ("1m30s", 90_000), ("1ns", 1), ("1.5ms", 2), (3_000_000, 3)],
)
def test_a_connect_timeout_is_in_whole_milliseconds_and_never_none_at_all(written: Any, milliseconds: int) -> None:
    assert cluster_of({"ConnectTimeout": written}).connect_timeout.ToMilliseconds() == milliseconds


def test_a_chain_whose_splitter_is_left_out_has_a_cluster_of_its_own() -> None:
    entries = [
        {"Kind": "service-defaults", "Name": "api", "Protocol": "http"},
        {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100, "Service": "api"}]},
    ]
    state = EntrySet.of(map(parse_entry, entries))
    # web itself speaks tcp, which is why the override changes the protocol of nothing that is left.
    chain = compile_chain(state, WEB, "dc1", "dc1", overrides=Overrides(protocol="tcp"))

    assert (chain.start, chain.protocol) == ("resolver:web.default.dc1", "tcp")
    assert chain.customization
    assert not compile_chain(state, WEB, "dc1", "dc1").customization
    assert not compile_chain(EntrySet.of([]), WEB, "dc1", "dc1", overrides=Overrides(protocol="tcp")).customization


@pytest.mark.parametrize("upstream", [{"connect_timeout_ms": LONGEST_MS + 1}, {"connect_timeout_ms": -1}])
def test_a_proxys_own_connect_timeout_is_one_that_envoy_takes(upstream: JSON) -> None:
    body = {"DestinationName": "web", "LocalBindPort": 9191, "Config": upstream}
    proxy = {"DestinationServiceName": "client", "Upstreams": [body]}

    with pytest.raises(InvalidInput, match=r"Upstreams\[0\].Config.ConnectTimeoutMs: must be at"):
        parse_registration({"Datacenter": "dc1", "Service": {"Kind": "connect-proxy", "Proxy": proxy}})


@pytest.mark.envoy
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
def test_envoy_accepts_every_way_of_balancing_and_every_timeout(binary: Path, tmp_path: Path) -> None:
    clusters = []
    for i, (_, balancer, _) in enumerate(BALANCERS):
        cluster = as_json(cluster_of({"LoadBalancer": balancer}))
        clusters.append(cluster | {"name": f"cluster-{i}"})
    for i, settings in enumerate(({"limits": LIMITS}, {"passive_health_check": CHECK})):
        clusters.append(as_json(caller(settings)) | {"name": f"caller-{i}"})
    for timeout in ("1ns", LONGEST_MS * 1_000_000):
        clusters.append(as_json(cluster_of({"ConnectTimeout": timeout})) | {"name": f"timeout-{timeout}"})

    assert validate(bootstrap(clusters, tmp_path), tmp_path, binary) == ""


@pytest.mark.envoy
def test_what_is_refused_or_rounded_envoy_would_refuse(tmp_path: Path) -> None:
    ring = {"lb_policy": "RING_HASH"}
    for options in (
        {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 1}},
        ring | {"ring_hash_lb_config": {"maximum_ring_size": "1023"}},
        ring | {"ring_hash_lb_config": {"minimum_ring_size": "100", "maximum_ring_size": "10"}},
        ring | {"ring_hash_lb_config": {"maximum_ring_size": "8388609"}},
        {"connect_timeout": "0s"},
        {"connect_timeout": f"{LONGEST_MS // 1000 + 1}s"},
    ):
        refused = validate(bootstrap([as_json(cluster_of({})) | options], tmp_path), tmp_path, ENVOY_1_40)
        assert re.search("ring.*larger|ring_size|RingSize|ChoiceCount|ConnectTimeout|out-of-range", refused), (
            options,
            refused,
        )


def bootstrap(clusters: list[JSON], directory: Path) -> JSON:
    """An Envoy with `clusters`, their secrets, and a server that it would ask for their endpoints."""
    identity = CertificateAuthority(directory, TRUST_DOMAIN).issue("client", "dc1")
    chain, key = {"filename": str(identity.certificate)}, {"filename": str(identity.private_key)}
    secrets = [
        {"name": IDENTITY_SECRET, "tls_certificate": {"certificate_chain": chain, "private_key": key}},
        {"name": TRUST_SECRET, "validation_context": {"trusted_ca": {"filename": str(identity.ca)}}},
    ]
    ads = {"envoy_grpc": {"cluster_name": "xds"}}
    return {
        "node": {"id": "client", "cluster": "client"},
        "dynamic_resources": {
            "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [ads]}
        },
        "static_resources": {"secrets": secrets, "clusters": [{"name": "xds", "type": "STATIC"}, *clusters]},
    }
