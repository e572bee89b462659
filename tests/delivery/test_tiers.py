"""A host in two priority tiers exists for Envoy only in the first: it is delivered where it is healthy."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from envoy.config.core.v3.health_check_pb2 import HEALTHY, UNHEALTHY
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from hypothesis import given
from hypothesis import strategies as st
from pointsman.delivery.hosts import keep_each_host_once

from tests.adapter.control import Control, instance, resolver, s1
from tests.adapter.doubles import Remote
from tests.adapter.fetching import Fetching
from tests.adapter.published import TRUST_DOMAIN
from tests.adapter.switching import wait_for_switch
from tests.adapter.targets import Place, instances
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import Client, patient
from tests.fleet.envoy import Envoy
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import TONGUES, Way

Endpoint = tuple[str, bool, int]
"""A host, whether it is healthy, its weight."""
Tiers = Sequence[Sequence[Endpoint]]


def assignment(tiers: Tiers) -> ClusterLoadAssignment:
    made = ClusterLoadAssignment(cluster_name="web")
    for priority, tier in enumerate(tiers):
        group = made.endpoints.add(priority=priority)
        for host, healthy, weight in tier:
            address, _, port = host.rpartition(":")
            endpoint = group.lb_endpoints.add(health_status=HEALTHY if healthy else UNHEALTHY)
            endpoint.endpoint.address.socket_address.address = address
            endpoint.endpoint.address.socket_address.port_value = int(port)
            endpoint.load_balancing_weight.value = weight
    return made


def tiers_of(of: ClusterLoadAssignment) -> list[list[Endpoint]]:
    assert [group.priority for group in of.endpoints] == list(range(len(of.endpoints)))
    return [
        [
            (
                f"{each.endpoint.address.socket_address.address}:{each.endpoint.address.socket_address.port_value}",
                each.health_status == HEALTHY,
                each.load_balancing_weight.value,
            )
            for each in group.lb_endpoints
        ]
        for group in of.endpoints
    ]


def delivered(tiers: Tiers) -> list[list[Endpoint]]:
    made = assignment(tiers)
    keep_each_host_once(made)
    return tiers_of(made)


def serving(tiers: Tiers) -> set[Endpoint]:
    """Whom Envoy sends traffic to, by its rule: of a host that is there several times only the first counts; the first
    tier with a healthy one serves."""
    known: set[str] = set()
    for tier in tiers:
        found = set()
        for host, healthy, weight in tier:
            if host not in known and healthy:
                found.add((host, healthy, weight))
            known.add(host)
        if found:
            return found
    return set()


A, B, C = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"

SITUATIONS: dict[str, tuple[Tiers, Tiers]] = {
    "nothing in common": (
        [[(A, True, 1), (B, False, 1)], [(C, True, 1)]],
        [[(A, True, 1), (B, False, 1)], [(C, True, 1)]],
    ),
    "healthy in both: in the first": ([[(A, True, 1)], [(A, True, 1), (B, True, 1)]], [[(A, True, 1)], [(B, True, 1)]]),
    "ill in a subset with OnlyPassing, well in all of the service: in the second, and the first tier is empty": (
        [[(A, False, 1)], [(A, True, 1)]],
        [[], [(A, True, 1)]],
    ),
    "healthy nowhere: in the first": (
        [[(A, False, 1)], [(A, False, 3), (B, True, 1)]],
        [[(A, False, 1)], [(B, True, 1)]],
    ),
    "healthy first, ill in the second: in the first": ([[(A, True, 1)], [(A, False, 1)]], [[(A, True, 1)], []]),
    "in three tiers, well from the second on: in the second": (
        [[(A, False, 1)], [(A, True, 2), (B, True, 1)], [(A, True, 3), (C, True, 1)]],
        [[], [(A, True, 2), (B, True, 1)], [(C, True, 1)]],
    ),
    "the weight is that of the tier where it stays": ([[(A, False, 1)], [(A, True, 7)]], [[], [(A, True, 7)]]),
    "an empty tier holds its priority": ([[], [(A, True, 1)], []], [[], [(A, True, 1)], []]),
    "two sources tell of one instance, one of them that it is well": (
        [[(A, False, 1), (A, True, 1), (B, False, 1)]],
        [[(A, True, 1), (B, False, 1)]],
    ),
    "another port is another host": (
        [[("10.0.0.1:80", False, 1)], [("10.0.0.1:81", True, 1)]],
        [[("10.0.0.1:80", False, 1)], [("10.0.0.1:81", True, 1)]],
    ),
    "one IPv6 address in two spellings is one host": (
        [[("2001:db8::1:80", False, 1)], [("2001:db8:0:0:0:0:0:1:80", True, 1)]],
        [[], [("2001:db8:0:0:0:0:0:1:80", True, 1)]],
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_host_is_delivered_once_where_it_is_healthy(situation: str) -> None:
    tiers, expected = SITUATIONS[situation]
    assert delivered(tiers) == expected


hosts = st.sampled_from([A, B, C, "10.0.0.4:80", "10.0.0.4:81"])


@given(st.lists(st.lists(st.tuples(hosts, st.booleans(), st.integers(1, 128)), max_size=5), min_size=1, max_size=4))
def test_the_traffic_goes_where_it_would_if_envoy_kept_a_host_in_every_tier(tiers: list[list[Endpoint]]) -> None:
    found = delivered(tiers)
    everywhere = [host for tier in found for host, _, _ in tier]
    assert len(everywhere) == len(set(everywhere))
    assert set(everywhere) == {host for tier in tiers for host, _, _ in tier}
    assert len(found) == len(tiers)
    # By itself, the first tier with a healthy endpoint serves, with all its healthy endpoints.
    healthy = [[each for each in tier if each[1]] for tier in tiers]
    first = next((tier for tier in healthy if tier), [])
    chosen = serving(found)
    assert {host for host, _, _ in chosen} == {host for host, _, _ in first}
    assert chosen <= set(first)
    assert {host for tier in found for host, well, _ in tier if well} == {
        host for tier in healthy for host, _, _ in tier
    }
    assert delivered(found) == found
    if len(everywhere) == sum(map(len, tiers)):
        assert assignment(tiers) == assignment(found)


@pytest.mark.envoy
@pytest.mark.parametrize("way", TONGUES, ids=str)
def test_a_host_in_two_priority_tiers_takes_over_in_the_second(way: Way, tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    with contextlib.ExitStack() as held:
        store = held.enter_context(contextlib.closing(Remote(tmp_path / "store.db")))
        control, ports = Control(store), held.enter_context(Ports())
        upstream = ports.take("127.0.0.1")
        places = {name: ("127.0.0.1", ports.take("127.0.0.1")) for name in ("canary", "stable")}
        held.enter_context(instances(authority, "s2", places))

        def report(**statuses: str) -> None:
            control.report("s2", *(instance("s2", places[name], statuses[name], stage=name) for name in places))

        canary = {"Filter": "Service.Meta.stage == canary", "OnlyPassing": True}
        control.apply(
            resolver(
                "s2",
                DefaultSubset="canary",
                Subsets={"canary": canary, "all": {}},
                Failover={"canary": {"ServiceSubset": "all"}},
            ),
            s1(s2=upstream),
        )
        report(canary="passing", stable="critical")
        fetching = held.enter_context(Fetching(way, store, tmp_path, ports, authority))
        client = held.enter_context(patient("127.0.0.1", upstream, interval=0.01))
        begin = client.wait_for_answer("canary", after=0.0).done
        # With a warning it is no canary any more, and still one of all: the one host that there is left.
        report(canary="warning", stable="critical")
        wait_until(
            lambda: _tiers(fetching.envoy, places) == {"canary": 1, "stable": 1}, "the host to be in the second tier"
        )
        wait_for_switch(client, "canary")
        report(canary="warning", stable="passing")
        wait_for_switch(client, "stable")
        report(canary="passing", stable="passing")
        wait_until(lambda: _last(client, 20) == {"canary"}, "the traffic to be back in the first tier")
        assert _tiers(fetching.envoy, places) == {"canary": 0, "stable": 1}
        assert [each for each in client.attempts(begin) if each.failure] == []
        assert fetching.rejected() == {}


def _tiers(envoy: Envoy, places: Mapping[str, Place]) -> dict[str, int]:
    """The priorities at which an Envoy has its hosts."""
    (hosts,) = (hosts for cluster, hosts in envoy.clusters().items() if ".s2." in cluster)
    priorities = {host["address"]["socket_address"]["port_value"]: host.get("priority", 0) for host in hosts}
    return {name: priorities[port] for name, (_, port) in places.items()}


def _last(client: Client, count: int) -> set[str | None]:
    """Who gave the last answers."""
    return {each.datacenter for each in client.attempts(0.0)[-count:]}
