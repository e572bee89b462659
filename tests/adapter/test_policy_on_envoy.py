"""A policy asks for more than one healthy instance: tiers change places under load, and no request fails."""

import contextlib
from pathlib import Path

import pytest

from tests.adapter.control import Control, instance, policy, proxy_defaults, resolver, s1
from tests.adapter.doubles import Remote
from tests.adapter.fetching import Fetching
from tests.adapter.published import TRUST_DOMAIN
from tests.adapter.switching import wait_for_switch
from tests.adapter.targets import instances
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import Client, patient
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import TONGUES, Way

pytestmark = pytest.mark.envoy

IN = {"one": "dc1", "two": "dc1", "three": "dc2", "four": "dc2"}


@pytest.mark.parametrize("way", TONGUES, ids=str)
def test_a_tier_with_too_few_healthy_instances_is_left_though_one_is_well(way: Way, tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    with contextlib.ExitStack() as held:
        store = held.enter_context(contextlib.closing(Remote(tmp_path / "store.db")))
        control, ports = Control(store), held.enter_context(Ports())
        upstream = ports.take("127.0.0.1")
        places = {name: ("127.0.0.1", ports.take("127.0.0.1")) for name in IN}
        held.enter_context(instances(authority, "s2", places))

        def report(**ill: bool) -> None:
            for dc in ("dc1", "dc2"):
                there = [
                    instance("s2", places[name], "critical" if ill.get(name) else "passing")
                    for name, where in IN.items()
                    if where == dc
                ]
                control.report("s2", *there, dc=dc)

        control.apply(
            proxy_defaults("none"),
            resolver("s2", Failover={"*": {"Datacenters": ["dc2"]}}),
            policy(HealthyThreshold=2),
            s1(s2=upstream),
        )
        report()
        fetching = held.enter_context(Fetching(way, store, tmp_path, ports, authority))
        client = held.enter_context(patient("127.0.0.1", upstream, interval=0.01))
        begin = client.wait_for_answer("one", after=0.0).done
        wait_for_switch(client, "two")
        report(two=True)
        wait_until(lambda: _last(client) == {"three", "four"}, "dc2 to serve, where two are well")
        report(two=True, four=True)
        wait_until(lambda: _last(client) == {"one"}, "the first with a healthy instance to serve: none has two")
        report(four=True)
        wait_until(lambda: _last(client) == {"one", "two"}, "dc1 to serve")
        assert [each for each in client.attempts(begin) if each.failure] == []
        assert (fetching.rejected(), fetching.rejections()) == ({}, [])


def _last(client: Client) -> set[str | None]:
    """Who gave the last twenty answers."""
    return {each.datacenter for each in client.attempts(0.0)[-20:]}
