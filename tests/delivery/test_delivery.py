"""What one Envoy gets of the canonical form: no SNI of one target ever beside the endpoints of another."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from pointsman.chain.plan import Plan
from pointsman.delivery.deliver import (
    Delivery,
    EnvoyVersion,
    Form,
    deliver_cluster,
    deliver_gateway,
    deliver_sidecar,
)
from pointsman.delivery.deliverable import check_manifest, check_snapshot
from pointsman.delivery.endpoint_source import EndpointFiles, file_name
from pointsman.delivery.limits import set_limits
from pointsman.delivery.secret_source import read_sds, with_sds
from pointsman.model.errors import InvalidInput
from pointsman.xds.content import Content, InconsistentContent, compute
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest, SidecarManifest
from pointsman.xds.snapshot import Snapshot

from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, content, gateway_plans, instances, sidecar_plan, snapshot

NEW: EnvoyVersion = (1, 40, 0)
OLD: EnvoyVersion = (1, 39, 3)
FILES = EndpointFiles("/var/lib/envoys/eds")
NAME = f"s2.default.dc1.internal.{TRUST_DOMAIN}"
# Every selection that the resolver can come to: the target that serves, and who is healthy then.
SELECTIONS = {"dc1": ["dc1", "dc2"], "dc2": ["dc2", "dc3"], "dc3": ["dc3"], "dc1 for want of any": []}


def delivered(of: Content, envoy: EnvoyVersion | None, version: int = 1) -> tuple[Cluster, ClusterLoadAssignment, str]:
    manifest = SidecarManifest(1, ("s2.default.dc1",), ())
    (each,) = deliver_sidecar(manifest, {"s2.default.dc1": snapshot(of, version)}, envoy, FILES).clusters
    return Cluster.FromString(each.cluster), ClusterLoadAssignment.FromString(each.assignment), each.place


def tls(cluster: Cluster) -> UpstreamTlsContext:
    return UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)


def hostnames(assignment: ClusterLoadAssignment) -> set[str]:
    return {each.endpoint.hostname for group in assignment.endpoints for each in group.lb_endpoints}


def addresses(assignment: ClusterLoadAssignment) -> list[str]:
    return [
        each.endpoint.address.socket_address.address for group in assignment.endpoints for each in group.lb_endpoints
    ]


@pytest.mark.parametrize("envoy", [NEW, (1, 40, 2), (2, 0, 0)])
def test_where_the_sni_goes_with_the_endpoints_the_cluster_is_the_same_for_every_selection(envoy: EnvoyVersion) -> None:
    clusters, places = set(), set()
    for serving, healthy in SELECTIONS.items():
        cluster, assignment, place = delivered(content(healthy), envoy)
        datacenter = serving[:3]
        assert hostnames(assignment) == {f"s2.default.{datacenter}.internal.{TRUST_DOMAIN}"}
        assert addresses(assignment) == [DATACENTERS[datacenter]]
        assert tls(cluster).auto_host_sni
        clusters.add(cluster.SerializeToString(deterministic=True))
        places.add(place)
    assert (len(clusters), len(places)) == (1, 1)


@pytest.mark.parametrize("envoy", [OLD, (1, 9, 0), None])
def test_where_the_cluster_carries_the_sni_its_endpoints_have_a_place_of_their_own(envoy: EnvoyVersion | None) -> None:
    place_of: dict[str, set[str]] = {}
    for serving, healthy in SELECTIONS.items():
        cluster, assignment, place = delivered(content(healthy), envoy)
        datacenter = serving[:3]
        assert tls(cluster).sni == f"s2.default.{datacenter}.internal.{TRUST_DOMAIN}"
        assert not tls(cluster).auto_host_sni
        assert hostnames(assignment) == {""}
        assert addresses(assignment) == [DATACENTERS[datacenter]]
        place_of.setdefault(tls(cluster).sni, set()).add(place)
    assert [len(places) for places in place_of.values()] == [1, 1, 1]
    assert len(set.union(*place_of.values())) == 3


@pytest.mark.parametrize("envoy", [NEW, OLD, None])
def test_every_cluster_asks_for_the_endpoints_that_come_with_it(envoy: EnvoyVersion | None) -> None:
    for mode in ("remote", "local", ""):
        for healthy in SELECTIONS.values():
            cluster, assignment, place = delivered(content(healthy, mode), envoy)
            asked = cluster.eds_cluster_config
            assert assignment.cluster_name == (asked.service_name or cluster.name) == NAME
            assert asked.eds_config.path_config_source.path == f"{FILES.directory}/{place}"
            assert not asked.eds_config.path_config_source.HasField("watched_directory")
            assert PurePosixPath(place).suffix == ".pb"


@pytest.mark.parametrize("envoy", [NEW, OLD, None])
def test_what_envoy_fails_over_itself_is_delivered_as_it_is_stored(envoy: EnvoyVersion | None) -> None:
    for healthy in SELECTIONS.values():
        of = content(healthy, mode="")
        cluster, assignment, place = delivered(of, envoy)
        assert place == f"{NAME}.pb"
        assert assignment == ClusterLoadAssignment.FromString(of.assignment)
        cluster.eds_cluster_config.CopyFrom(Cluster.FromString(of.cluster).eds_cluster_config)
        for limit in ("circuit_breakers", "upstream_connection_options"):
            cluster.ClearField(limit)
        cluster.outlier_detection.Clear()
        cluster.common_lb_config.ClearField("update_merge_window")
        assert cluster == Cluster.FromString(of.cluster)


def test_a_failover_is_not_turned_away_by_defaults_and_silent_connections_end() -> None:
    cluster, _, _ = delivered(content(), NEW)
    (thresholds,) = cluster.circuit_breakers.thresholds
    limits = (thresholds.max_connections, thresholds.max_pending_requests, thresholds.max_requests)
    assert {each.value for each in limits} == {2**32 - 1}
    assert not thresholds.HasField("max_retries")
    keepalive = cluster.upstream_connection_options.tcp_keepalive
    assert keepalive.keepalive_time.value + 3 * keepalive.keepalive_interval.value == 90
    # What a cluster says of itself stays.
    thresholds.max_connections.value = 7
    before = cluster.SerializeToString()
    set_limits(cluster)
    assert cluster.SerializeToString() == before


@pytest.mark.parametrize("plan", [*map(sidecar_plan, ("", "local", "remote")), *gateway_plans()], ids=str)
def test_who_is_not_reached_is_ejected_from_two_on_and_nobody_for_what_is_answered(plan: Plan) -> None:
    for healthy in SELECTIONS.values():
        of = snapshot(compute(plan, instances(healthy), TRUST_DOMAIN))
        for hostnames in (True, False):
            each = deliver_cluster(of, Form(hostnames, FILES))
            outliers = Cluster.FromString(each.cluster).outlier_detection
            assert outliers.split_external_local_origin_errors
            # One of two is half of them. One of one is more, so it stays.
            assert not outliers.always_eject_one_host.value
            assert outliers.max_ejection_percent.value == 50
            for answers in ("enforcing_consecutive_5xx", "enforcing_success_rate"):
                assert outliers.HasField(answers)
                assert getattr(outliers, answers).value == 0
            assert not outliers.HasField("enforcing_consecutive_gateway_failure")  # off by default
            # What is stored stays Consul's: Envoy's defaults.
            assert Cluster.FromString(of.content.cluster).outlier_detection == OutlierDetection()
    # What a cluster says of itself stays.
    cluster = Cluster.FromString(of.content.cluster)
    cluster.outlier_detection.consecutive_5xx.value = 7
    before = OutlierDetection.FromString(cluster.outlier_detection.SerializeToString())
    set_limits(cluster)
    assert cluster.outlier_detection == before


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("certs", '"certs" is neither spire nor an absolute path'),
        ("/run/../certs", '"/run/../certs" is neither spire nor an absolute path'),
        ("spire:", "has to name both: spire:IDENTITY,TRUST"),
        ("spire:web", "has to name both: spire:IDENTITY,TRUST"),
    ],
)
def test_what_is_no_source_of_secrets_is_refused_with_the_way_out(told: str, said: str) -> None:
    with pytest.raises(InvalidInput, match="--sds") as refused:
        read_sds(told)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("told", "names", "source"),
    [
        ("/run/certs", ("identity", "trust"), "path_config_source"),
        ("spire", ("default", "ROOTCA"), "api_config_source"),
        ("spire:spiffe://mesh.example/web, ALL", ("spiffe://mesh.example/web", "ALL"), "api_config_source"),
    ],
)
def test_secrets_that_come_over_sds_are_asked_for_where_they_are(
    told: str, names: tuple[str, str], source: str
) -> None:
    manifest, heads = SidecarManifest(1, ("s2.default.dc1",), ()), {"s2.default.dc1": snapshot(content())}
    (plain,) = deliver_sidecar(manifest, heads, NEW, FILES).clusters
    (with_secrets,) = deliver_sidecar(manifest, heads, NEW, with_sds(FILES, read_sds(told))).clusters
    assert (plain.place, plain.assignment) == (with_secrets.place, with_secrets.assignment)
    common = tls(Cluster.FromString(with_secrets.cluster)).common_tls_context
    found = [
        *common.tls_certificate_sds_secret_configs,
        common.combined_validation_context.validation_context_sds_secret_config,
    ]
    assert tuple(each.name for each in found) == names
    assert {each.sds_config.WhichOneof("config_source_specifier") for each in found} == {source}
    # Who may answer is the cluster's own matter.
    before = tls(Cluster.FromString(plain.cluster)).common_tls_context.combined_validation_context
    assert common.combined_validation_context.default_validation_context == before.default_validation_context


@pytest.mark.parametrize("envoy", [NEW, OLD])
def test_a_new_target_in_the_config_is_never_paired_with_a_cluster_that_does_not_know_it(envoy: EnvoyVersion) -> None:
    # Both resolvers have the same name and the same primary target; the certificates they accept differ.
    before, after = (
        compute(sidecar_plan(failover=[each]), instances(["dc2", "dc3"]), TRUST_DOMAIN) for each in ("dc2", "dc3")
    )
    assert delivered(before, envoy)[0].name == delivered(after, envoy)[0].name
    assert delivered(before, envoy)[2] != delivered(after, envoy)[2]


def test_a_gateway_gets_its_own_timeout_and_its_listener() -> None:
    plans = {plan.cluster_id: plan for plan in gateway_plans()}
    heads = {name: snapshot(compute(plan, instances(DATACENTERS), TRUST_DOMAIN)) for name, plan in plans.items()}
    shared = GatewaysManifest(1, TRUST_DOMAIN, tuple(sorted(plans)), ("default/s2",), ("dc2",))
    own = GatewayManifest(1, "127.0.0.1", 9000, 1500, "/var/log/gateway")
    delivery = deliver_gateway(own, shared, heads, NEW, source=FILES)
    clusters = [Cluster.FromString(each.cluster) for each in delivery.clusters]
    assert [each.name for each in clusters] == [f"dc2.internal.{TRUST_DOMAIN}", NAME]
    assert {each.connect_timeout.ToMilliseconds() for each in clusters} == {1500}
    (listener,) = (Listener.FromString(each) for each in delivery.listeners)
    assert listener.address.socket_address.port_value == 9000
    assert [list(each.filter_chain_match.server_names) for each in listener.filter_chains] == [
        [f"*.dc2.internal.{TRUST_DOMAIN}"],
        [],
    ]
    default = deliver_gateway(replace(own, connect_timeout_ms=0), shared, heads, NEW, source=FILES)
    assert {Cluster.FromString(each.cluster).connect_timeout.ToMilliseconds() for each in default.clusters} == {5000}


def test_a_delivery_is_a_function_of_what_it_is_made_from_and_makes_nothing_twice() -> None:
    names = [f"s{number}" for number in (3, 1, 2)]
    heads = {f"{name}.default.dc1": snapshot(content(service=name)) for name in names}
    listeners = tuple(Listener(name=name).SerializeToString() for name in names)

    def deliver(of: dict[str, Snapshot], previous: Delivery | None = None) -> Delivery:
        manifest = SidecarManifest(1, tuple(of), listeners)
        return deliver_sidecar(manifest, of, NEW, FILES, previous=previous)

    first = deliver(heads)
    assert first == deliver(dict(reversed(heads.items())))
    assert [each.name.partition(".")[0] for each in first.clusters] == ["s1", "s2", "s3"]
    assert [Listener.FromString(each).name for each in first.listeners] == ["s1", "s2", "s3"]
    moved = {**heads, "s2.default.dc1": snapshot(content(["dc3"], service="s2"), 2)}
    second = deliver(moved, first)
    assert second == deliver(moved)
    same = [old is new for old, new in zip(first.clusters, second.clusters, strict=True)]
    assert same == [True, False, True]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a1b2c3d4:v1.s2.default.dc1.internal.td", "a1b2c3d4:v1.s2.default.dc1.internal.td.pb"),
        ("x" * 200, "x" * 200 + ".pb"),
        ("x" * 400, None),
        ("../../etc/passwd", None),
        (".hidden", None),
        ("a/b", None),
        ("a b", None),
        ("", None),
    ],
)
def test_a_file_name_is_short_and_means_nothing_to_the_file_system(name: str, file: str | None) -> None:
    found = file_name(name)
    assert file is None or found == file
    assert PurePosixPath(found).parts == (found,)
    assert found.endswith(".pb")
    assert not found.startswith(".")
    assert len(f"{found}.new".encode()) <= 255
    others = (name + "x", name.replace("/", "_") + "y", name.upper() + "z")
    assert found not in {file_name(each) for each in others}


def _cluster(change: Callable[[Cluster], object]) -> Callable[[Content], Content]:
    def spoil(of: Content) -> Content:
        cluster = Cluster.FromString(of.cluster)
        change(cluster)
        return replace(of, cluster=cluster.SerializeToString())

    return spoil


def _assignment(change: Callable[[ClusterLoadAssignment], object]) -> Callable[[Content], Content]:
    def spoil(of: Content) -> Content:
        assignment = ClusterLoadAssignment.FromString(of.assignment)
        change(assignment)
        return replace(of, assignment=assignment.SerializeToString())

    return spoil


def _place(assignment: ClusterLoadAssignment) -> object:
    return assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address


HARMFUL: dict[str, tuple[str, Callable[[Content], Content], str]] = {
    "bytes that are no cluster": ("remote", lambda of: replace(of, cluster=b"\xff\xff"), "not a serialized"),
    "no cluster": ("remote", lambda of: replace(of, cluster=b""), "not an EDS cluster"),
    "no assignment": ("remote", lambda of: replace(of, assignment=b""), "is not that of cluster"),
    "an assignment without a group": (
        "remote",
        _assignment(lambda assignment: assignment.ClearField("endpoints")),
        "has no group",
    ),
    "a misnamed assignment": (
        "remote",
        _assignment(lambda assignment: setattr(assignment, "cluster_name", "s9")),
        'the load assignment "s9" is not that of',
    ),
    "a tier that lacks": ("", _assignment(lambda assignment: assignment.endpoints.pop()), "2 priority tiers instead"),
    "a tier in between that lacks": (
        "",
        _assignment(lambda assignment: assignment.endpoints.pop(1)),
        "lacks a priority tier",
    ),
    "a tier too many": (
        "remote",
        _assignment(lambda assignment: assignment.endpoints.add(priority=1)),
        "2 priority tiers instead of 1",
    ),
    "what is no address": (
        "remote",
        _assignment(lambda assignment: setattr(_place(assignment), "address", "10.0.0.300")),
        '"10.0.0.300", which is neither an IP address nor a host name',
    ),
    "no port": (
        "remote",
        _assignment(lambda assignment: setattr(_place(assignment), "port_value", 0)),
        "the port 0",
    ),
    "a weight of nothing": (
        "remote",
        _assignment(
            lambda assignment: setattr(assignment.endpoints[0].lb_endpoints[0].load_balancing_weight, "value", 0)
        ),
        "the weight 0",
    ),
    "the SNI of another target": ("remote", lambda of: replace(of, active="s2.default.dc3"), "its target is"),
    "a cluster without TLS": (
        "remote",
        _cluster(lambda cluster: cluster.ClearField("transport_socket")),
        'has SNI ""',
    ),
    "another cluster": ("remote", lambda of: content(service="s3"), "which is another one's"),
}


@pytest.mark.parametrize("situation", HARMFUL)
def test_what_would_hurt_an_envoy_is_found_before_it_is_delivered(situation: str) -> None:
    mode, spoil, reason = HARMFUL[situation]
    good = content(["dc2"], mode)  # type: ignore[arg-type]
    check_snapshot("s2.default.dc1", snapshot(good))
    with pytest.raises(InconsistentContent, match=re.escape(reason)):
        check_snapshot("s2.default.dc1", snapshot(spoil(good)))


def test_a_tier_without_endpoints_is_as_good_as_any() -> None:
    empty = dict.fromkeys(instances([]), ())
    check_snapshot("s2.default.dc1", snapshot(compute(sidecar_plan(""), empty, TRUST_DOMAIN)))
    check_snapshot("s2.default.dc1", snapshot(compute(sidecar_plan("remote"), empty, TRUST_DOMAIN)))


def test_a_listener_that_envoy_would_reject_is_found_before_it_is_delivered() -> None:
    def sidecar(*listeners: Listener) -> SidecarManifest:
        return SidecarManifest(1, (), tuple(each.SerializeToString() for each in listeners))

    good = Listener(name="web")
    good.address.socket_address.address, good.address.socket_address.port_value = "127.0.0.1", 9191
    nameless, named = Listener(), Listener()
    nameless.CopyFrom(good)
    nameless.name = ""
    named.CopyFrom(good)
    named.address.socket_address.address = "localhost"
    gateway = GatewayManifest(1, "10.0.0.1", 443, 0, "")
    check_manifest(sidecar(good))
    check_manifest(gateway)
    for harmful, reason in (
        (SidecarManifest(1, (), (b"\xff",)), "not a serialized listener"),
        (sidecar(nameless), "without a name"),
        (sidecar(good, good), "same name"),
        (sidecar(named), '"localhost", which is not an IP address'),
        (replace(gateway, address="gateway.example"), "not an IP address"),
        (replace(gateway, port=0), "the port 0"),
    ):
        with pytest.raises(InconsistentContent, match=re.escape(reason)):
            check_manifest(harmful)
