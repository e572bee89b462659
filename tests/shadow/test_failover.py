"""What takes over, and when: by aggregate clusters, by priorities, and by Envoy's arithmetic of both."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from pointsman.discovery.proxy import SidecarId
from pointsman.discovery.view import View
from pointsman.discovery.whole import read_view
from pointsman.shadow.balance import Host, Tier, by_place, shares
from pointsman.shadow.compare import compare
from pointsman.shadow.difference import Findings, Kind
from pointsman.shadow.dump import dump_of
from pointsman.shadow.served import served
from pointsman.store.open import open_store

from tests.adapter.control import Control, instance, proxy_defaults, resolver, s1
from tests.adapter.published import TRUST_DOMAIN
from tests.shadow.consul_envoy import aggregate, assignment, eds, listener, of_targets, sni, tcp, whole

JSON = dict[str, Any]


def tier(well: int, ill: int, of: str, factor: int = 140) -> Tier:
    hosts = [Host(f"{of}{number}", number < well, 1, "") for number in range(well + ill)]
    return Tier(tuple(hosts), factor)


@pytest.mark.parametrize(
    ("tiers", "parts"),
    [
        ([tier(100, 0, "a"), tier(100, 0, "b")], {"a": 100}),
        ([tier(72, 28, "a"), tier(100, 0, "b")], {"a": 100}),
        ([tier(50, 50, "a"), tier(100, 0, "b")], {"a": 70, "b": 30}),
        ([tier(50, 50, "a", 100_000), tier(100, 0, "b", 100_000)], {"a": 100}),
        ([tier(0, 100, "a"), tier(100, 0, "b")], {"b": 100}),
        ([tier(0, 0, "a"), tier(100, 0, "b")], {"b": 100}),
        ([tier(25, 75, "a"), tier(25, 75, "b"), tier(100, 0, "c")], {"a": 35, "b": 35, "c": 30}),
        ([tier(0, 1, "a"), tier(0, 1, "b")], {}),
    ],
)
def test_traffic_is_divided_as_envoys_documentation_says(tiers: list[Tier], parts: dict[str, int]) -> None:
    found: dict[str, Fraction] = {}
    for place, share in by_place(shares(tiers, Fraction(0))).items():
        found[place[0]] = found.get(place[0], Fraction(0)) + share * 100
    assert found == parts


def test_in_panic_the_ill_get_traffic_too() -> None:
    few = [tier(1, 3, "a"), tier(1, 3, "b")]
    assert set(by_place(shares(few, Fraction(0)))) == {"a0", "b0"}
    assert len(by_place(shares(few, Fraction(50)))) == 8
    assert len(by_place(shares([tier(0, 4, "a")], Fraction(50)))) == 4
    # As long as the tiers can take all of it together, there is no panic.
    assert set(by_place(shares([tier(1, 3, "a"), tier(4, 0, "b")], Fraction(50)))) == {"a0", "b0", "b1", "b2", "b3"}


def test_of_several_weights_each_gets_its_part() -> None:
    hosts = (Host("a", True, 3, ""), Host("b", True, 1, ""), Host("c", False, 9, ""))
    assert by_place(shares([Tier(hosts)], Fraction(0))) == {"a": Fraction(3, 4), "b": Fraction(1, 4)}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    """s1 calls s3, which fails over to dc2 and dc3 without gateways."""
    store = open_store(str(tmp_path_factory.mktemp("shadow") / "store.db"), create=True)
    control = Control(store)
    for number, ip in enumerate(("10.1.0.1", "10.2.0.1", "10.3.0.1"), 1):
        control.report("s3", instance("s3", (ip, 20000)), dc=f"dc{number}")
    control.apply(resolver("s3", Failover={"*": {"Datacenters": ["dc2", "dc3"]}}), s1(s3=9191))
    yield read_view(store, SidecarId("dc1", "default", "s1"))
    store.close()


PLACES = [("10.1.0.1", "HEALTHY"), ("10.2.0.1", "HEALTHY"), ("10.3.0.1", "HEALTHY")]


def found_in(view: View, places: list[tuple[str, str]], targets: list[str] | None = None) -> Findings:
    clusters = of_targets("s3.default.dc1", targets or [f"s3.default.dc{each}" for each in (1, 2, 3)], "s3")
    assignments = [
        assignment(cluster["name"], [(ip, 20000, health)])
        for cluster, (ip, health) in zip(clusters, places, strict=True)
    ]
    name, ends = aggregate("s3.default.dc1", clusters)
    made = whole(
        [name, *clusters], assignments, [listener("s3", "127.0.0.1", 9191, "OUTBOUND", {"filters": [tcp(ends)]})]
    )
    return compare(dump_of(made, "s1.json", TRUST_DOMAIN).held, served(view, None))


def told(found: Findings) -> list[tuple[Kind, str, str]]:
    return [(each.kind, each.today, each.pointsman) for each in sorted(found.differences)]


def test_an_aggregate_cluster_and_priorities_are_the_same(view: View) -> None:
    found = found_in(view, PLACES)
    assert told(found) == []
    # Consul asks each target for its own name, and leaves overprovisioning to Envoy.
    names, spilling = sorted(each.partition(": ")[2] for each in found.notes)
    assert names == "the endpoints that stand by are asked for another server name, which sidecars ignore"
    assert spilling.startswith("today those that stand by get a part of the traffic when fewer than 71.43 %")


def test_what_takes_over_is_compared_tier_by_tier(view: View) -> None:
    places = [PLACES[0], PLACES[2], PLACES[1]]
    assert told(found_in(view, places)) == [
        (Kind.FAILOVER, "10.3.0.1:20000, then 10.2.0.1:20000", "10.2.0.1:20000, then 10.3.0.1:20000")
    ]


def test_what_has_failed_over_on_one_side_goes_elsewhere_now(view: View) -> None:
    places = [("10.1.0.1", "UNHEALTHY"), *PLACES[1:]]
    found = found_in(view, places)
    assert told(found)[0] == (Kind.ENDPOINTS, "10.2.0.1:20000", "10.1.0.1:20000")


def test_a_target_without_healthy_endpoints_stands_by_for_nobody(view: View) -> None:
    places = [PLACES[0], ("10.9.9.9", "UNHEALTHY"), PLACES[2]]
    assert told(found_in(view, places)) == [(Kind.FAILOVER, "10.3.0.1:20000", "10.2.0.1:20000, then 10.3.0.1:20000")]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    """s1 calls db in dc2, through a gateway with a host name."""
    store = open_store(str(tmp_path_factory.mktemp("shadow") / "named.db"), create=True)
    control = Control(store)
    control.report_gateways({"gw": ("gw.dc2.example", 443)}, dc="dc2")
    control.report("db", instance("db", ("10.2.0.4", 20000)), dc="dc2")
    control.apply(proxy_defaults("remote"), resolver("db", Redirect={"Datacenter": "dc2"}), s1(db=9191))
    yield read_view(store, SidecarId("dc1", "default", "s1"))
    store.close()


def by_name(view: View, host: str) -> Findings:
    """Consul's cluster for such a gateway."""
    cluster = eds(sni("db.default.dc2"), "db.default.dc2", "db")
    name = cluster["name"]
    del cluster["eds_cluster_config"]
    place = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": 443}}}}
    load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [place]}]}
    cluster |= {
        "type": "LOGICAL_DNS",
        "dns_refresh_rate": "10s",
        "dns_lookup_family": "V4_ONLY",
        "load_assignment": load,
    }
    to = listener("db", "127.0.0.1", 9191, "OUTBOUND", {"filters": [tcp(name)]})
    resolved = assignment(name, [("10.9.9.9", 443, "HEALTHY")])
    return compare(dump_of(whole([cluster], [resolved], [to]), "s1.json", TRUST_DOMAIN).held, served(view, None))


def test_host_names_are_compared_as_they_are_written(named: View) -> None:
    same = by_name(named, "gw.dc2.example")
    assert told(same) == []
    assert "dns_lookup_family: V4_ONLY today, V4_PREFERRED with Pointsman" in same.own
    assert told(by_name(named, "other.dc2.example")) == [
        (Kind.ENDPOINTS, "other.dc2.example:443", "gw.dc2.example:443")
    ]


def test_a_name_on_one_side_alone_is_compared_by_what_it_stands_for(view: View) -> None:
    cluster = eds("s3", "s3.default.dc1", "s3")
    del cluster["eds_cluster_config"]
    place = {"endpoint": {"address": {"socket_address": {"address": "s3.dc1.example", "port_value": 20000}}}}
    load = {"cluster_name": "s3", "endpoints": [{"lb_endpoints": [place]}]}
    cluster |= {"type": "STRICT_DNS", "load_assignment": load}
    to = listener("s3", "127.0.0.1", 9191, "OUTBOUND", {"filters": [tcp("s3")]})
    resolved = assignment("s3", [("10.1.0.1", 20000, "HEALTHY")])
    held = dump_of(whole([cluster], [resolved], [to]), "s1.json", TRUST_DOMAIN).held
    found = compare(held, served(view, None))
    assert [each.kind for each in sorted(found.differences)] == [Kind.SERVER_NAME, Kind.FAILOVER]
