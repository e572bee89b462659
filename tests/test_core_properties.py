"""The pure rooms, whatever comes: compiling ends, order plays no part, what is written is read back."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import orjson
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Chain, ChainError, Overrides
from pointsman.chain.plan import GatewayRemotePlan, Plan, SidecarPlan, plan_json, read_plan, sidecar_plans
from pointsman.failover.selection import select
from pointsman.model.canonical import canonical
from pointsman.model.entries import Entry, entry_json, key_of, parse_entry
from pointsman.model.instance import Instance
from pointsman.model.policy import NO_POLICY, Policy
from pointsman.xds.content import Content, TargetHealth, compute
from pointsman.xds.manifest import (
    GatewayManifest,
    GatewaysManifest,
    Manifest,
    SidecarManifest,
    manifest_json,
    read_manifest,
)
from pointsman.xds.rendered import gateway_plans, instances_of
from pointsman.xds.snapshot import Provenance, Snapshot, read_snapshot, snapshot_json

from tests.entry_strategies import DATACENTERS, JSON, NAMES, accepted_sets, catalogs, entries, overrides
from tests.share import share_of

TRUST_DOMAIN = "td"
T = TypeVar("T")
# A world takes a while to draw; how long is not what is promised here.
often = settings(max_examples=share_of(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
less_often = settings(often, max_examples=share_of(40))


def chains(state: EntrySet, changed: Overrides, datacenter: str = "dc1") -> list[Chain]:
    """The chains of every service that compile, as proxies of `datacenter` with these overrides see them."""
    out = []
    for name in NAMES:
        try:
            out.append(compile_chain(state, name, datacenter, "dc1", overrides=changed))
        except ChainError:
            continue
    return out


def plans(state: EntrySet, changed: Overrides, datacenter: str = "dc1") -> dict[str, Plan]:
    """All plans of dc1, by their keys: those of its sidecars and those of its gateways."""
    found: dict[str, Plan] = {
        plan.key: plan for chain in chains(state, changed, datacenter) for plan in sidecar_plans(chain)
    }
    found |= gateway_plans(state, "dc1", NAMES)
    return found | {"remote": GatewayRemotePlan("dc1", "dc2")}


@often
@given(entries, overrides)
def test_compiling_ends_whatever_the_entries(written: list[Entry], changed: Overrides) -> None:
    state = EntrySet.of(written)
    for name in NAMES:
        try:
            chain = compile_chain(state, name, "dc2", "dc1", overrides=changed)
        except ChainError as error:
            assert str(error)  # noqa: PT017
        else:
            assert chain.start in chain.nodes


@often
@given(accepted_sets)
def test_what_was_accepted_compiles_for_every_service_from_everywhere(state: EntrySet) -> None:
    for name in NAMES:
        for datacenter in DATACENTERS:
            for used_from in DATACENTERS:
                chain = compile_chain(state, name, datacenter, used_from)
                assert sidecar_plans(chain)


@less_often
@given(accepted_sets, accepted_sets, st.randoms(use_true_random=False))
def test_a_state_does_not_tell_how_it_was_reached(state: EntrySet, other: EntrySet, random: Any) -> None:
    for name in NAMES:
        state.referring(name)
    ended = random.sample(list(state), len(state) // 2)

    after = state.with_changes(other, map(key_of, ended))

    anew = EntrySet.of(after)
    assert list(after) == list(anew)
    for name in NAMES:
        assert after.referring(name) == anew.referring(name)


def turned_round(value: Any) -> Any:
    """`value` with the keys of all its mappings in the opposite order."""
    if isinstance(value, Mapping):
        return {key: turned_round(inner) for key, inner in reversed(value.items())}
    return [turned_round(inner) for inner in value] if isinstance(value, list) else value


@less_often
@given(entries, overrides, catalogs, st.randoms(use_true_random=False))
def test_order_plays_no_part(
    written: list[Entry], changed: Overrides, catalog: dict[str, list[JSON]], random: Any
) -> None:
    state = EntrySet.of(written)
    again = [parse_entry(turned_round(entry_json(entry))) for entry in state]
    random.shuffle(again)
    shuffled = {name: random.sample(catalog[name], len(catalog[name])) for name in reversed(catalog)}

    assert as_bytes(EntrySet.of(again), changed, shuffled) == as_bytes(state, changed, catalog)


def as_bytes(state: EntrySet, changed: Overrides, catalog: dict[str, list[JSON]]) -> dict[str, tuple[bytes, Content]]:
    instances = instances_of(catalog)
    return {
        key: (canonical(plan_json(plan)), compute(plan, instances, TRUST_DOMAIN))
        for key, plan in plans(state, changed).items()
    }


@less_often
@given(accepted_sets, overrides, catalogs)
def test_the_active_target_is_the_first_that_is_healthy_and_can_be_reached_and_is_healthy_enough(
    state: EntrySet, changed: Overrides, catalog: dict[str, list[JSON]]
) -> None:
    instances = instances_of(catalog)
    for plan in plans(state, changed).values():
        if isinstance(plan, SidecarPlan):
            active = select(plan, instances).active
            counted = [healthy_of(plan, i, instances) for i in range(len(plan.targets))]
            # Of all targets those that are healthy, of these those that can be reached, and so on; where none is, all.
            left = list(range(len(counted)))
            for is_so in (
                [healthy > 0 for healthy, _ in counted],
                [is_reached(plan, i, instances) for i in left],
                [healthy >= plan.policy.needed(total) for healthy, total in counted],
            ):
                left = [i for i in left if is_so[i]] or left
            if plan.measured or counted[left[0]][0]:
                assert active == left[0]
            content = compute(plan, instances, TRUST_DOMAIN)
            assert content.active == plan.targets[active].target.id
            assert len(ClusterLoadAssignment.FromString(content.assignment).endpoints) == (
                1 if plan.measured else len(plan.targets)
            )


@less_often
@given(accepted_sets, overrides, catalogs)
def test_which_gateways_are_avoided_changes_nothing_that_is_stored_in_consuls_form(
    state: EntrySet, changed: Overrides, catalog: dict[str, list[JSON]]
) -> None:
    instances = instances_of(catalog)
    for plan in plans(state, changed).values():
        if isinstance(plan, SidecarPlan):
            without = replace(plan, policy=NO_POLICY)
            ignoring = replace(plan, policy=Policy(gateways="ignore"))
            avoids, ignores = (compute(each, instances, TRUST_DOMAIN) for each in (without, ignoring))
            assert replace(avoids, avoided=()) == ignores
            assert "policy" not in plan_json(without)
            left = [len(group.lb_endpoints) for group in ClusterLoadAssignment.FromString(avoids.assignment).endpoints]
            gone = Counter(tier for tier, _, _ in avoids.avoided)
            assert all(0 < number < left[tier] for tier, number in gone.items())


def is_reached(plan: SidecarPlan, number: int, instances: Mapping[str, Sequence[Instance]]) -> bool:
    """Whether there is a gateway that no check speaks against wherever the policy requires one."""
    target = plan.targets[number]
    if plan.policy.gateways != "require" or target.mode not in ("local", "remote"):
        return True
    ends = {target.target.datacenter, *([plan.datacenter] if target.mode == "local" else [])}
    return all(
        any(check["Status"] != "critical" for each in instances.get(f"{end}/gateways", ()) for check in checks(each))
        for end in ends
    )


def checks(gateway: Instance) -> list[JSON]:
    """Its checks; one that passes where it has none."""
    return list(gateway.raw["Checks"]) or [{"Status": "passing"}]


def healthy_of(plan: SidecarPlan, number: int, instances: Mapping[str, Sequence[Instance]]) -> tuple[int, int]:
    """How many instances of its version the target has against which no check speaks, and how many at all."""
    target = plan.targets[number]
    versions = {"": ("v1", "v2"), "Service.Meta.version == v1": ("v1",), '"canary" in Service.Tags': ("v2",)}
    enough = ("passing",) if target.only_passing else ("passing", "warning")
    found = [
        all(check["Status"] in enough for check in each.raw["Checks"])
        for each in instances.get(target.instances, ())
        if each.raw["Service"]["Meta"]["version"] in versions[target.filter]
    ]
    return sum(found), len(found)


@less_often
@given(accepted_sets, overrides, catalogs, catalogs)
def test_a_clusters_name_does_not_depend_on_health(
    state: EntrySet, changed: Overrides, before: dict[str, list[JSON]], after: dict[str, list[JSON]]
) -> None:
    for plan in plans(state, changed).values():
        names = {plan.cluster_name(TRUST_DOMAIN)}
        for catalog in (before, after, {}):
            content = compute(plan, instances_of(catalog), TRUST_DOMAIN)
            content.check()
            cluster = Cluster.FromString(content.cluster)
            names |= {cluster.name, ClusterLoadAssignment.FromString(content.assignment).cluster_name}
            names |= {cluster.alt_stat_name} if isinstance(plan, SidecarPlan) else set()
        assert len(names) == 1


@less_often
@given(accepted_sets, overrides)
def test_plans_do_not_share_a_cluster_unless_they_are_equal(state: EntrySet, changed: Overrides) -> None:
    found: dict[str, Plan] = {}
    for used in (Overrides(), changed):
        for datacenter in DATACENTERS:
            for chain in chains(state, used, datacenter):
                for plan in sidecar_plans(chain):
                    assert found.setdefault(plan.key, plan) == plan


def stored(body: dict[str, Any]) -> dict[str, Any]:
    """`body` as it comes back from where it is kept."""
    found: dict[str, Any] = orjson.loads(canonical(body))
    return found


@less_often
@given(accepted_sets, overrides)
def test_plans_and_entries_are_read_back(state: EntrySet, changed: Overrides) -> None:
    for plan in plans(state, changed).values():
        assert read_plan(stored(plan_json(plan))) == plan
    for entry in state:
        assert parse_entry(stored(entry_json(entry))) == entry


texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.integers(0, 2**53 - 1)
names = st.lists(texts, max_size=3).map(tuple)
labels = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
datacenters = st.lists(labels, max_size=3).map(tuple)
services = st.lists(st.builds("{}/{}".format, labels, labels), max_size=3).map(tuple)
snapshots = st.builds(
    Snapshot,
    version=numbers,
    content=st.builds(
        Content,
        cluster=st.binary(max_size=30),
        assignment=st.binary(max_size=30),
        active=texts,
        targets=st.lists(st.builds(TargetHealth, texts, texts, numbers, numbers), max_size=3).map(tuple),
        sentence=texts,
    ),
    provenance=st.builds(Provenance, st.integers(0, 10**10 - 1), numbers, st.dictionaries(texts, numbers, max_size=3)),
    since=texts,
    published=texts,
    retired=st.booleans(),
)
manifests: st.SearchStrategy[Manifest] = st.one_of(
    st.builds(SidecarManifest, numbers, names, st.lists(st.binary(max_size=30), max_size=2).map(tuple), st.booleans()),
    st.builds(GatewaysManifest, numbers, texts, names, services, datacenters, st.booleans()),
    st.builds(GatewayManifest, numbers, texts, numbers, numbers, texts, st.booleans()),
)


@often
@given(snapshots)
def test_snapshots_are_read_back(snapshot: Snapshot) -> None:
    assert read_snapshot(stored(snapshot_json(snapshot))) == snapshot


@often
@given(manifests)
def test_manifests_are_read_back(manifest: Manifest) -> None:
    assert read_manifest(stored(manifest_json(manifest))) == manifest
