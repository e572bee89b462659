"""Clusters through mesh gateways with host names: Envoy gets them with everything inside, and resolves them."""

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.health_check_pb2 import HEALTHY, UNHEALTHY, UNKNOWN
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from pointsman.chain.plan import GatewayRemotePlan, Plan
from pointsman.delivery.deliver import DeliveredCluster, Form, deliver_cluster
from pointsman.delivery.endpoint_source import EndpointFiles, over_ads, over_rest
from pointsman.delivery.secret_source import SdsFiles, with_sds
from pointsman.failover.measured import Instances
from pointsman.model.instance import Instance
from pointsman.model.keys import gateways_key
from pointsman.xds.assignment import place_of
from pointsman.xds.content import compute

from tests.adapter.published import TRUST_DOMAIN, instances, sidecar_plan, snapshot

FILES = EndpointFiles("/var/lib/envoys/eds")
SOURCES = [FILES, over_ads(), over_rest("pointsman", 1000, 60_000)]
Host = tuple[str, int]


def delivered(plan: Plan, found: Instances, form: Form | None = None) -> DeliveredCluster:
    """What an Envoy gets of `plan`."""
    return deliver_cluster(snapshot(compute(plan, found, TRUST_DOMAIN)), form or Form(True, FILES))


def towards_dc2(*gateways: tuple[Host, bool]) -> Cluster:
    """The cluster of dc1's gateways towards dc2, whose gateways are at these places, and well or not."""
    there = [Instance({}, True, not well, False, well, None, place, place) for place, well in gateways]
    found = delivered(GatewayRemotePlan("dc1", "dc2"), {gateways_key("dc2"): there})
    assert (found.place, found.assignment) == ("", b"")
    return Cluster.FromString(found.cluster)


def hosts(cluster: Cluster) -> list[Host]:
    """Where it sends to."""
    return [place_of(each) for group in cluster.load_assignment.endpoints for each in group.lb_endpoints]


NLB, OTHER, IP = ("nlb.example", 443), ("other.example", 443), ("203.0.113.2", 443)


def test_a_gateway_s_cluster_has_its_hosts_inside_each_once_and_the_ill_ones_only_if_all_are() -> None:
    both = towards_dc2((NLB, True), (OTHER, True), (IP, True))
    assert (both.type, both.load_assignment.cluster_name) == (Cluster.DiscoveryType.STRICT_DNS, both.name)
    assert not both.HasField("eds_cluster_config")
    assert hosts(both) == [IP, NLB, OTHER]
    assert hosts(towards_dc2((NLB, False), (OTHER, True), (IP, True))) == [IP, OTHER]
    assert hosts(towards_dc2((NLB, True), (("NLB.example", 443), True), (("nlb.example", 444), True))) == [
        ("NLB.example", 443),
        ("nlb.example", 444),
    ]
    # Gateways behind one name: it stays, and nothing changes that would have Envoy resolve it anew.
    one = towards_dc2((NLB, True), (NLB, True))
    assert hosts(one) == [NLB]
    assert [towards_dc2((NLB, a), (NLB, b)) for a, b in ((True, False), (False, True), (False, False))] == [one] * 3
    assert [each.health_status for each in one.load_assignment.endpoints[0].lb_endpoints] == [UNKNOWN]


@pytest.mark.parametrize("source", SOURCES, ids=["files", "gRPC", "REST"])
@pytest.mark.parametrize("hostnames", [True, False], ids=["1.40", "older"])
def test_a_sidecar_s_cluster_has_the_sni_and_the_endpoints_of_one_target_and_its_secrets(
    hostnames: bool, source: EndpointFiles
) -> None:
    form = Form(hostnames, with_sds(source, SdsFiles("/run/identity")))
    for healthy, serving in ((["dc3"], "dc3"), (["dc2", "dc3"], "dc2")):
        found = delivered(sidecar_plan(), instances(healthy, named=["dc2", "dc3"]), form)
        assert (found.place, found.assignment) == ("", b"")
        cluster = Cluster.FromString(found.cluster)
        tls = UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
        assert (tls.sni, tls.auto_host_sni) == (f"s2.default.{serving}.internal.{TRUST_DOMAIN}", False)
        assert tls.common_tls_context.tls_certificate_sds_secret_configs[0].sds_config.path_config_source.path
        assert hosts(cluster) == [(f"gateways.{serving}.test", 9000)]
        (endpoint,) = cluster.load_assignment.endpoints[0].lb_endpoints
        assert (endpoint.health_status, endpoint.endpoint.hostname) == (HEALTHY, "")
    # The same for every Envoy, wherever it fetches.
    assert found.cluster == delivered(sidecar_plan(), instances(["dc2"], named=["dc2"]), form).cluster
    # Where the way leads to IP addresses, they come as endpoints as ever.
    assert delivered(sidecar_plan(), instances(["dc2"], named=["dc3"]), form).place


def test_with_nobody_left_the_hosts_are_unhealthy_and_get_nothing() -> None:
    plan = sidecar_plan(failover=["dc2"])
    found = delivered(plan, instances([], named=["dc1", "dc2"]))
    assert found.place, "what serves is the primary, which needs no gateway"
    remote = sidecar_plan()
    only = type(remote)("dc1", "tcp", "", 5000, remote.targets[1:])
    cluster = Cluster.FromString(delivered(only, instances([], named=["dc2"])).cluster)
    assert hosts(cluster) == [("gateways.dc2.test", 9000)]
    assert cluster.load_assignment.endpoints[0].lb_endpoints[0].health_status == UNHEALTHY
    assert cluster.common_lb_config.healthy_panic_threshold.value == 0
