"""The config of a serving Envoy changes: a cluster comes, changes, goes, and its neighbors notice nothing."""

import contextlib
import re
import time
from pathlib import Path

import pytest

from tests.adapter.control import Control, defaults, instance, proxy_defaults, resolver, s1
from tests.adapter.doubles import Remote
from tests.adapter.fetching import Fetching
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN
from tests.adapter.switching import failures
from tests.adapter.targets import gateways, instances, places
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import patient
from tests.fleet.envoy import Envoy
from tests.fleet.process import Ports, wait_until
from tests.fleet.talk import Talk
from tests.fleet.ways import TONGUES, Way

pytestmark = pytest.mark.envoy


@pytest.mark.parametrize("way", TONGUES, ids=str)
def test_a_cluster_comes_changes_its_protocol_and_goes_and_its_neighbors_lose_no_connection(
    way: Way, store: Remote, tmp_path: Path
) -> None:
    authority, control = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN), Control(store)
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        upstream = {service: ports.take("127.0.0.1") for service in ("s2", "s3", "s4")}
        behind, own = places(ports, DATACENTERS), places(ports, {"s3": "127.0.0.1", "s4": "127.0.0.1"})
        held.enter_context(gateways(authority, "s2", behind))
        for service in ("s3", "s4"):
            held.enter_context(instances(authority, service, {service: own[service]}))
            control.report(service, instance(service, own[service]))
        for datacenter, place in behind.items():
            control.report_gateways({"gateway": place}, dc=datacenter)
        control.report("s2", instance("s2", ("127.0.0.2", 8000)), dc="dc2")
        # The neighbors: s2 speaks HTTP and has failed over through gateways, s4 speaks TCP.
        control.apply(
            proxy_defaults("local"),
            defaults("s2", Protocol="http"),
            resolver("s2", Failover={"*": {"Datacenters": ["dc2"]}}),
            s1(s2=upstream["s2"], s4=upstream["s4"]),
        )
        fetching = held.enter_context(Fetching(way, store, tmp_path, ports, authority))
        envoy = fetching.envoy
        neighbors = [held.enter_context(Talk("127.0.0.1", upstream[service])) for service in ("s2", "s4")]
        for neighbor, who in zip(neighbors, ("dc2", "s4"), strict=True):
            begin = neighbor.wait_for_answer(who, after=0.0).done
        connections = _connections(envoy)
        assert sorted((name.rpartition(".")[2], count) for name, count in connections.items()) == [
            *[("upstream_cx_destroy", 0)] * 2,
            *[("upstream_cx_total", 1)] * 2,
        ]

        control.apply(s1(**upstream))
        wait_until(lambda: _listens(envoy, upstream["s3"]), "the listener of s3")
        with patient("127.0.0.1", upstream["s3"], interval=0.01) as client:
            came = client.wait_for_answer("s3", after=0.0).done
            control.apply(defaults("s3", Protocol="http"))
            wait_until(lambda: "HttpConnectionManager" in _listens(envoy, upstream["s3"]), "s3 to speak HTTP")
            client.wait_for_answer("s3", after=time.perf_counter())
            assert failures([client], came) == []
        control.apply(defaults("s3", Protocol="http2"))
        wait_until(lambda: "http2_protocol_options" in _cluster(envoy, "s3"), "the cluster of s3 to have changed")
        control.apply(s1(s2=upstream["s2"], s4=upstream["s4"]))
        wait_until(lambda: not _cluster(envoy, "s3"), "the cluster of s3 to go")
        assert not _listens(envoy, upstream["s3"])

        assert failures(neighbors, begin) == []
        assert [neighbor.connections for neighbor in neighbors] == [1, 1]
        assert _connections(envoy) == connections
        assert (fetching.rejected(), fetching.rejections()) == ({}, [])


@pytest.mark.soak
@pytest.mark.parametrize("way", TONGUES, ids=str)
def test_a_listener_moves_to_a_new_cluster_and_the_old_one_goes_and_nothing_fails(
    way: Way, store: Remote, tmp_path: Path
) -> None:
    authority, control = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN), Control(store)
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        upstream, own = ports.take("127.0.0.1"), places(ports, {"s2": "127.0.0.1", "s3": "127.0.0.1"})
        for service, place in own.items():
            held.enter_context(instances(authority, service, {service: place}))
            control.report(service, instance(service, place))
        control.apply(s1(s2=upstream))
        fetching = held.enter_context(Fetching(way, store, tmp_path, ports, authority))
        client = held.enter_context(patient("127.0.0.1", upstream))
        begin = client.wait_for_answer("s2", after=0.0).done
        for old, new in (("s2", "s3"), ("s3", "s2")):
            control.apply(resolver("s2", Redirect={"Service": new}) if new == "s3" else resolver("s2"))
            client.wait_for_answer(new, after=time.perf_counter())
            wait_until(lambda old=old: not _cluster(fetching.envoy, old), "the cluster that nobody uses to go")
        assert failures([client], begin) == []
        assert (fetching.rejected(), fetching.rejections()) == ({}, [])


def _connections(envoy: Envoy) -> dict[str, int]:
    """How many connections the clusters of the neighbors opened, and how many of these are gone."""
    return envoy.counters(r"cluster\.s[24]\..*\.upstream_cx_(total|destroy)$")


def _cluster(envoy: Envoy, service: str) -> str:
    """The cluster of a service that an Envoy uses, as text; "" if it has none."""
    return _found(envoy, "ClustersConfigDump", re.compile(rf"'name': '{service}\."))


def _listens(envoy: Envoy, port: int) -> str:
    """The listener that an Envoy has on a port, likewise."""
    return _found(envoy, "ListenersConfigDump", re.compile(rf"'port_value': {port}\b"))


def _found(envoy: Envoy, kind: str, which: re.Pattern[str]) -> str:
    (dump,) = (each for each in envoy.config_dump() if each["@type"].endswith(kind))
    listeners = (each.get("active_state", {}) for each in dump.get("dynamic_listeners", ()))
    active = [*dump.get("dynamic_active_clusters", ()), *listeners]
    return "".join(text for each in active if which.search(text := str(each)))
