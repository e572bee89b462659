"""Clusters and endpoints are made once: what is kept changes no byte, and is bounded."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from pointsman.chain.plan import GatewayServicePlan, PlanTarget, SidecarPlan
from pointsman.model.instance import Instance, read_instance
from pointsman.model.keys import gateways_key, service_key
from pointsman.model.names import Target
from pointsman.model.resolver import HashPolicy, LoadBalancer
from pointsman.xds.assignment import MOST_ENDPOINTS, _endpoint, gateway_assignment
from pointsman.xds.content import (
    LARGEST_CLUSTER_BYTES,
    MOST_CLUSTER_TARGETS,
    MOST_CLUSTERS,
    Content,
    InconsistentContent,
    _make_small,
    _read_small,
    compute,
)

HERE, THERE = (Target("web", "", "default", each) for each in ("dc1", "dc2"))
PLAN = SidecarPlan("dc1", "http2", "", 5000, (PlanTarget(HERE), PlanTarget(THERE, mode="remote")))
WEB, ELSEWHERE, GATEWAYS = service_key("dc1", HERE.name), service_key("dc2", THERE.name), gateways_key("dc2")


def instances(*statuses: str, first: int = 1) -> list[Instance]:
    return [
        read_instance(
            {
                "Node": {"Node": f"n{number}", "Address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"},
                "Service": {"Kind": "connect-proxy", "Port": 1, "Proxy": {"DestinationServiceName": "web"}},
                "Checks": [{"Status": status}],
            },
            "web",
        )
        for number, status in enumerate(statuses, first)
    ]


def computed(plan: SidecarPlan, here: Sequence[str], trust_domain: str = "td") -> Content:
    gateway = read_instance({"Node": {"Address": "10.0.0.9"}, "Service": {"Kind": "mesh-gateway", "Port": 443}}, "")
    found = {WEB: instances(*here), ELSEWHERE: instances("passing"), GATEWAYS: [gateway]}
    return compute(plan, found, trust_domain)


def forget() -> None:
    _make_small.cache_clear()
    _read_small.cache_clear()
    _endpoint.cache_clear()


def test_what_was_made_before_changes_no_byte() -> None:
    slower = replace(PLAN, connect_timeout_ms=6000)
    hashed = replace(PLAN, load_balancer=LoadBalancer(policy="maglev", hash_policies=[HashPolicy(source_ip=True)]))
    cases = [
        (plan, here, trust_domain)
        for plan in (PLAN, slower, hashed, replace(PLAN, targets=PLAN.targets[:1]))
        for here in (["passing"], ["critical"], ["passing", "critical"], [])
        for trust_domain in ("td", "other")
    ]
    alone = []
    for case in cases:
        forget()
        alone.append(computed(*case))
        alone[-1].check()
    assert [computed(*case) for case in (*cases, *cases)] == [*alone, *alone]
    assert len({each.cluster for each in alone}) == 14, "each plan, trust domain and SNI has a cluster of its own"


def test_what_was_checked_before_is_checked_against_what_stands_beside_it() -> None:
    well, ill = computed(PLAN, ["passing"]), computed(PLAN, ["critical"])
    well.check()
    ill.check()
    for mixed in (replace(well, cluster=ill.cluster), replace(ill, active=well.active)):
        with pytest.raises(InconsistentContent, match="its target is"):
            mixed.check()
    for _ in range(2):
        with pytest.raises(InconsistentContent, match="not a serialized cluster"):
            replace(well, cluster=b"\xff").check()


def test_so_many_clusters_stay_in_memory_and_none_that_is_large() -> None:
    forget()
    for milliseconds in range(MOST_CLUSTERS + 10):
        computed(replace(PLAN, connect_timeout_ms=milliseconds), ["passing"]).check()
    assert _make_small.cache_info().currsize == _read_small.cache_info().currsize == MOST_CLUSTERS
    forget()
    elsewhere = [THERE._replace(datacenter=f"dc{number}") for number in range(2, MOST_CLUSTER_TARGETS + 2)]
    many = replace(PLAN, targets=(PlanTarget(HERE), *(PlanTarget(each, mode="remote") for each in elsewhere)))
    large = computed(many, ["passing"], "td" * 300)
    assert len(large.cluster) > LARGEST_CLUSTER_BYTES
    large.check()
    assert _make_small.cache_info().currsize == _read_small.cache_info().currsize == 0


def test_so_many_endpoints_stay_in_memory() -> None:
    plan = GatewayServicePlan(PlanTarget(HERE))
    many = instances(*["passing"] * (MOST_ENDPOINTS + 10))
    (group,) = gateway_assignment(plan, {WEB: many}, "td").endpoints
    assert len(group.lb_endpoints) == len(many)
    assert _endpoint.cache_info().currsize == MOST_ENDPOINTS
    forget()
