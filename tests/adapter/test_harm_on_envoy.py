"""What would harm an Envoy does not reach it; what it still rejects changes nothing. Both are reported."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.duration_pb2 import Duration
from pointsman.adapter.files.inotify import Inotify, Usage, count_usage
from pointsman.adapter.report.rejection import Rejection
from pointsman.store import keys
from pointsman.xds.content import Content, compute
from pointsman.xds.manifest import SidecarManifest
from pointsman.xds.snapshot import snapshot_json

from tests.adapter.doubles import Remote
from tests.adapter.fetching import Fetching
from tests.adapter.node import MANIFEST, S1
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, Publisher, instances, sidecar_plan, snapshot
from tests.adapter.switching import failures, wait_for_switch
from tests.adapter.targets import gateways, places
from tests.delivery.test_delivery import HARMFUL
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import patient
from tests.fleet.envoy import Envoy
from tests.fleet.handmade import upstream_listener
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import FILES, TONGUES, Tongue, Way

pytestmark = pytest.mark.envoy

PLANS = {"remote": sidecar_plan("remote", "s2"), "": sidecar_plan("", "s3")}
"""A cluster that is measured, and one with priority tiers."""


@pytest.mark.parametrize("way", TONGUES, ids=str)
def test_a_planted_head_never_reaches_an_envoy_and_the_last_good_one_stays(
    way: Way, store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        upstream, where = ports.take("127.0.0.1"), places(ports, DATACENTERS)
        held.enter_context(gateways(authority, "s2", where))
        gateway_ports = {datacenter: port for datacenter, (_, port) in where.items()}

        def good(mode: str, serving: str) -> Content:
            plan = PLANS[mode]
            service = plan.targets[0].target.service
            return compute(plan, instances([serving], gateway_ports, service), TRUST_DOMAIN)

        for mode, plan in PLANS.items():
            publisher.head(plan, good(mode, "dc2"))
        listener = upstream_listener("s2", "127.0.0.1", upstream, PLANS["remote"].cluster_name(TRUST_DOMAIN))
        clusters = tuple(plan.cluster_id for plan in PLANS.values())
        publisher.manifest(MANIFEST, SidecarManifest(1, clusters, (listener.SerializeToString(),)))
        fetching = held.enter_context(Fetching(way, store, tmp_path, ports, authority))
        client = held.enter_context(patient("127.0.0.1", upstream))
        begin = client.wait_for_answer("dc2", after=0.0).done
        before = _received(fetching.envoy)
        for mode, spoil, reason in HARMFUL.values():
            key = keys.snapshot(PLANS[mode].key)
            publisher.head(PLANS[mode], spoil(good(mode, "dc2")))
            (problem,) = wait_until(lambda key=key: _about(fetching, key), "the problem to be told")
            assert reason in problem
            assert "what was there before stays (1)" in problem
            if way.tongue is not Tongue.FILES:
                assert "pointsman_withheld 1.0" in fetching.metrics
            publisher.put(key, snapshot_json(snapshot(good(mode, "dc2"))))
            wait_until(lambda key=key: not _about(fetching, key), "the problem to be over")
        now = time.perf_counter()
        client.wait_past(now)
        assert {each.datacenter for each in client.attempts(begin, now)} == {"dc2"}
        assert _received(fetching.envoy) == before
        # It was none of the Envoy's business; what is good is.
        publisher.head(PLANS["remote"], good("remote", "dc3"))
        wait_for_switch(client, "dc3")
        assert (failures([client], begin), fetching.rejected()) == ([], {})


@pytest.mark.parametrize("way", TONGUES, ids=str)
def test_what_an_envoy_rejects_is_told_and_the_old_one_stays(
    way: Way, store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    services = [f"s{number}" for number in range(2, 12)]
    plans = {service: sidecar_plan(service=service) for service in services}

    def publish(seconds: Mapping[str, int]) -> None:
        for service, timeout in seconds.items():
            content = compute(plans[service], instances(DATACENTERS, service=service), TRUST_DOMAIN)
            cluster = Cluster.FromString(content.cluster)
            cluster.connect_timeout.CopyFrom(Duration(seconds=timeout))
            publisher.head(plans[service], replace(content, cluster=cluster.SerializeToString(deterministic=True)))

    publish(dict.fromkeys(services, 5))
    publisher.manifest(MANIFEST, SidecarManifest(1, tuple(f"{each}.default.dc1" for each in services), ()))
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
        fetching = held.enter_context(Fetching(way, store, tmp_path, ports, authority))
        envoy = fetching.envoy
        assert _timeouts(envoy) == dict.fromkeys(services, "5s")
        # All of them in one response, which Envoy rejects as a whole.
        fetching.stop_adapter()
        publish({service: 0 if service == "s5" else 7 for service in services})
        fetching.start_adapter()
        wait_until(fetching.rejected, "the Envoy to reject it")
        if way.tongue is Tongue.DELTA:
            # Told which one it was, the adapter keeps back no other.
            wait_until(lambda: list(_timeouts(envoy).values()).count("7s") == 9, "the others to be taken")
        assert _timeouts(envoy)["s5"] == "5s"
        if way.tongue is not Tongue.FILES:
            (rejection,) = wait_until(fetching.rejections, "the rejection to be told")
            told = fetching.config_dump()["rejections"]
            assert told == [rejection.json()]
            assert (rejection.proxy, told[0]["kind"]) == (S1, "clusters")
            assert "pointsman_rejected_total" in fetching.metrics
        if way.tongue is Tongue.DELTA:
            assert isinstance(rejection, Rejection)
            assert rejection.name == f"s5.default.dc1.internal.{TRUST_DOMAIN}"
            assert "ConnectTimeout: value must be greater than 0s" in rejection.reason
        publish({"s5": 7})
        wait_until(lambda: _timeouts(envoy) == dict.fromkeys(services, "7s"), "the good one to be taken")
        wait_until(lambda: fetching.rejections() == [], "the rejection to be over")


def usual_limit() -> Usage:
    """The inotify instances of this machine, with the usual limit per user."""
    found = count_usage()
    assert found is not None
    return replace(found, limit=min(found.limit, 128))


def test_130_endpoint_files_are_refused_with_the_reason_and_the_envoy_serves_on(
    store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    services = [f"s{number}" for number in range(3, 132)]
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        upstream, where = ports.take("127.0.0.1"), places(ports, DATACENTERS)
        held.enter_context(gateways(authority, "s2", where))
        gateway_ports = {datacenter: port for datacenter, (_, port) in where.items()}
        plan = PLANS["remote"]

        def serve(datacenter: str) -> None:
            publisher.head(plan, compute(plan, instances([datacenter], gateway_ports), TRUST_DOMAIN))

        def list_clusters(generation: int, *others: str) -> None:
            clusters = (plan.cluster_id, *(f"{each}.default.dc1" for each in others))
            publisher.manifest(MANIFEST, SidecarManifest(generation, clusters, (listener.SerializeToString(),)))

        listener = upstream_listener("s2", "127.0.0.1", upstream, plan.cluster_name(TRUST_DOMAIN))
        serve("dc2")
        list_clusters(1)
        fetching = Fetching(FILES, store, tmp_path, ports, authority, inotify=Inotify(usual_limit))
        held.enter_context(fetching)
        client = held.enter_context(patient("127.0.0.1", upstream))
        begin = client.wait_for_answer("dc2", after=0.0).done
        for service in services:
            other = sidecar_plan(service=service)
            publisher.head(other, compute(other, instances(DATACENTERS, service=service), TRUST_DOMAIN))
        list_clusters(2, *services)

        def refusal() -> str:
            """While all those heads are read, they are missing for a moment."""
            return next((line for line in fetching.problems().get(S1, ()) if "inotify" in line), "")

        problem = wait_until(refusal, "the refusal to be told")
        assert "inotify instances are needed, and of the 128 that this user may have" in problem
        assert "Raise the sysctl fs.inotify.max_user_instances, or use another delivery than files" in problem
        # What it has goes on being kept up.
        serve("dc3")
        wait_for_switch(client, "dc3")
        assert fetching.envoy.alive
        list_clusters(3, services[0])
        wait_until(lambda: len(fetching.envoy.clusters()) == 2, "what fits to be taken")
        wait_until(lambda: not fetching.problems(), "the refusal to be over")
        assert (failures([client], begin), fetching.rejected()) == ([], {})


def _about(fetching: Fetching, key: str) -> list[str]:
    """The problems with an object."""
    return [line for line in fetching.follower.problems(S1) if line.startswith(key)]


def _received(envoy: Envoy) -> dict[str, int]:
    """What an Envoy was sent and took, or did not take."""
    return envoy.counters(
        r"(cluster\.s|cluster_manager\.cds|listener_manager\.lds).*\.update_(success|rejected|failure)$"
    )


def _timeouts(envoy: Envoy) -> dict[str, str]:
    """By service, the connect timeouts of the clusters that an Envoy has in force."""
    (dump,) = (each for each in envoy.config_dump() if each["@type"].endswith("ClustersConfigDump"))
    found = (each["cluster"] for each in dump["dynamic_active_clusters"])
    return {name: each["connect_timeout"] for each in found if (name := each["name"].partition(".")[0])}
