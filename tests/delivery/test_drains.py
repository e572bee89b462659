"""`OnSwitch: drain` in a listener: its bytes change when another target serves behind it, and never otherwise."""

import itertools
import re
from dataclasses import replace
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.plan import sidecar_plans
from pointsman.delivery.deliver import deliver_sidecar
from pointsman.delivery.deliverable import check_manifest
from pointsman.delivery.drains import drained_clusters
from pointsman.delivery.endpoint_source import over_ads
from pointsman.model.entries import parse_entry
from pointsman.model.names import ServiceName
from pointsman.model.registration import Upstream
from pointsman.xds.content import InconsistentContent, compute
from pointsman.xds.drain_metadata import DRAIN_METADATA
from pointsman.xds.manifest import SidecarManifest
from pointsman.xds.sidecar_listeners import upstream_listener
from pointsman.xds.snapshot import Snapshot

from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, instances, snapshot

Document = dict[str, Any]

ELSEWHERE = {"*": {"Datacenters": ["dc2", "dc3"]}}
GATEWAYS: Document = {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "local"}}
DRAIN: Document = {"Kind": "failover-policy", "Name": "s2", "OnSwitch": "drain"}
RESOLVERS: list[Document] = [
    {"Kind": "service-resolver", "Name": name, "Failover": ELSEWHERE} for name in ("s2", "s3", "s4")
]
HTTP: list[Document] = [{"Kind": "service-defaults", "Name": f"s{n}", "Protocol": "http"} for n in (2, 3, 4, 5)]
SPLIT: Document = {
    "Kind": "service-splitter",
    "Name": "s2",
    "Splits": [{"Weight": 50, "Service": "s2"}, {"Weight": 50, "Service": "s3"}],
}
ROUTES: Document = {
    "Kind": "service-router",
    "Name": "s2",
    "Routes": [
        {"Match": {"HTTP": {"PathPrefix": f"/{name}"}}, "Destination": {"Service": name}} for name in ("s4", "s5")
    ],
}

# The entries, and whose switches end connections of the listener of s2.
SITUATIONS: dict[str, tuple[list[Document], set[str]]] = {
    "no policy": ([*RESOLVERS, GATEWAYS], set()),
    "keep": ([*RESOLVERS, GATEWAYS, {**DRAIN, "OnSwitch": "keep"}], set()),
    "another service's policy": ([*RESOLVERS, GATEWAYS, {**DRAIN, "Name": "s3"}], set()),
    "nothing to switch to": ([GATEWAYS, DRAIN], set()),
    "drain, through gateways": ([*RESOLVERS, GATEWAYS, DRAIN], {"s2"}),
    "drain, in tiers": ([*RESOLVERS, DRAIN], {"s2"}),
    "drain, for all": ([*RESOLVERS, GATEWAYS, {**DRAIN, "Name": "global"}], {"s2"}),
    "a splitter": ([*RESOLVERS, *HTTP, SPLIT, GATEWAYS, DRAIN], {"s2"}),
    "a splitter, for all": ([*RESOLVERS, *HTTP, SPLIT, GATEWAYS, {**DRAIN, "Name": "global"}], {"s2", "s3"}),
    # s5 has no other target.
    "a router, for all": ([*RESOLVERS, *HTTP, ROUTES, GATEWAYS, {**DRAIN, "Name": "global"}], {"s2", "s4"}),
}


def compiled(entries: list[Document]) -> tuple[Listener, SidecarManifest, dict[str, Any]]:
    """The stored listener of the upstream s2, the manifest with it, and the plans by cluster id."""
    chain = compile_chain(EntrySet.of(map(parse_entry, entries)), ServiceName("default", "s2"), "dc1", "dc1")
    listener = upstream_listener(chain, Upstream(destination_name="s2", local_bind_port=9191), TRUST_DOMAIN)
    plans = {plan.cluster_id: plan for plan in sidecar_plans(chain)}
    manifest = SidecarManifest(1, tuple(plans), (listener.SerializeToString(deterministic=True),))
    return listener, manifest, plans


def heads(plans: dict[str, Any], serving: dict[str, str], version: int = 1) -> dict[str, Snapshot]:
    """What is published when these datacenters serve, by service; dc1 where none is named."""
    return {
        name: snapshot(
            compute(
                plan, instances([serving.get(name.split(".")[0], "dc1")], service=name.split(".")[0]), TRUST_DOMAIN
            ),
            version,
        )
        for name, plan in plans.items()
    }


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_listener_changes_with_the_active_targets_of_what_drains_and_with_nothing_else(situation: str) -> None:
    entries, drains = SITUATIONS[situation]
    stored, manifest, plans = compiled(entries)
    check_manifest(manifest)
    assert drained_clusters(manifest.listeners) == {f"{each}.default.dc1" for each in drains}
    services = sorted({name.split(".")[0] for name in plans})
    delivered: dict[tuple[str, ...], set[bytes]] = {}
    versions = itertools.count(1)
    for datacenters in itertools.product(DATACENTERS, repeat=len(services)):
        serving = dict(zip(services, datacenters, strict=True))
        delivery = deliver_sidecar(manifest, heads(plans, serving, next(versions)), (1, 40, 0), over_ads())
        active = tuple(serving[each] for each in services if each in drains)
        delivered.setdefault(active, set()).update(delivery.listeners)
        assert delivery.serving == {f"{each}.default.dc1": f"{each}.default.{serving[each]}" for each in drains}
        (made,) = map(Listener.FromString, delivery.listeners)
        if not drains:
            # Without it, it is delivered as it is stored, and stored as it always was.
            assert delivery.listeners == manifest.listeners
            assert not made.filter_chains[0].HasField("metadata")
        for each in (made, stored):
            each.filter_chains[0].ClearField("metadata")
        assert made == stored
    assert {len(each) for each in delivered.values()} == {1}
    assert len(set.union(*delivered.values())) == len(delivered) == 3 ** len(drains)


def test_the_stored_form_names_clusters_alone_so_that_health_changes_no_manifest() -> None:
    entries, _ = SITUATIONS["drain, through gateways"]
    stored, *_ = compiled(entries)
    (chain,) = stored.filter_chains
    assert dict(chain.metadata.filter_metadata[DRAIN_METADATA]) == {"s2.default.dc1": ""}


def test_a_listener_that_drains_with_a_cluster_that_is_not_there_is_not_delivered() -> None:
    _, manifest, _ = compiled(SITUATIONS["drain, through gateways"][0])
    with pytest.raises(InconsistentContent, match=re.escape("ends connections with s2.default.dc1, which is none of")):
        check_manifest(replace(manifest, clusters=()))
