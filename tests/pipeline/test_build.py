"""A change of config compiles what it touches, and comes to what compiling everything comes to."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.model.entries import key_of
from pointsman.model.errors import InvalidInput
from pointsman.pipeline import objects
from pointsman.pipeline.config import Config
from pointsman.pipeline.configure import Batch, configure, parse_documents
from pointsman.xds.manifest import SidecarManifest

from tests.pipeline.fresh import config_in
from tests.pipeline.meshes import (
    Document,
    defaults,
    gateway,
    intentions,
    namespace,
    policy,
    proxy_defaults,
    resolver,
    sidecar,
    splitter,
)
from tests.pipeline.place import Place
from tests.share import share_of

NAMES = ("a", "b", "c", "d")
_names = st.sampled_from(NAMES)
_datacenters = st.sampled_from(("dc1", "dc2"))

_resolvers = st.one_of(
    st.builds(resolver, _names),
    st.builds(lambda name, to: resolver(name, Redirect={"Service": to}), _names, _names),
    st.builds(lambda name, to: resolver(name, Failover={"*": {"Service": to}}), _names, _names),
    st.builds(lambda name, dc: resolver(name, Failover={"*": {"Datacenters": [dc]}}), _names, _datacenters),
    st.builds(
        lambda name, subset: resolver(name, Subsets={subset: {}}, DefaultSubset=subset),
        _names,
        st.sampled_from(("v1", "v2")),
    ),
)
_modes = st.sampled_from(("", "local", "remote"))
_needed = st.sampled_from((1, 2, "50%"))
_others = st.one_of(
    st.builds(lambda name, mode: defaults(name, Protocol="http", MeshGateway={"Mode": mode}), _names, _modes),
    st.builds(lambda name, to: splitter(name, {"Weight": 50}, {"Weight": 50, "Service": to}), _names, _names),
    st.builds(proxy_defaults, st.sampled_from(("http", "tcp")), _modes),
    st.just(namespace("team")),
    st.builds(lambda name, needed: policy(name, HealthyThreshold=needed), st.sampled_from(("global", *NAMES)), _needed),
    st.builds(gateway, _datacenters),
    st.builds(
        lambda name, caller, action: intentions(name, (caller, action)),
        st.sampled_from(("*", "x", "y")),
        st.sampled_from(("*", *NAMES)),
        st.sampled_from(("allow", "deny")),
    ),
    st.builds(
        lambda name, to, ms: defaults(
            name,
            UpstreamConfig={
                "Defaults": {"Limits": {"MaxConnections": ms}},
                "Overrides": [{"Name": to, "ConnectTimeoutMs": ms}],
            },
        ),
        st.sampled_from(("x", "y")),
        _names,
        st.sampled_from((0, 700)),
    ),
)
_upstreams = st.one_of(
    _names,
    st.builds(lambda name, dc: {"DestinationName": name, "Datacenter": dc}, _names, _datacenters),
    st.builds(lambda name: {"DestinationName": name, "Config": {"connect_timeout_ms": 700}}, _names),
)
_sidecars = st.builds(
    lambda name, upstreams, dc: sidecar(name, *upstreams, dc=dc),
    st.sampled_from(("x", "y")),
    st.lists(_upstreams, max_size=3),
    _datacenters,
)
_documents = st.one_of(_resolvers, _resolvers, _others, _sidecars)
_deletions = st.integers(0, 30)
_batches = st.lists(st.one_of(st.lists(_documents, min_size=1, max_size=4), _deletions), max_size=8)


def compiled(config: Config) -> dict[str, Any]:
    """All that is compiled, without the generations in which it changed last."""
    return {
        "plans": {key: each.plan for key, each in config.plans.items()},
        "manifests": {key: replace(each, generation=0) for key, each in config.manifests.items()},
        "index": {key: set(each) for key, each in config.index.items()},
        "referring": dict(config.maps["referring"]),
        "users": dict(config.users),
        "namespaces": set(config.root.namespaces),
        "gateways": set(config.root.gateways),
    }


def _change(place: Place, config: Config, batch: list[Document] | int) -> None:
    if isinstance(batch, list):
        # Of two documents with one key the last counts; a batch must not hold both.
        by_key = {(each.get("Kind"), each.get("Name"), each.get("Datacenter"), _id(each)): each for each in batch}
        wanted = parse_documents(list(by_key.values()))
    else:
        there = [*map(key_of, config.entries), *config.registrations]
        if not there:
            return
        chosen = there[batch % len(there)]
        wanted = Batch(delete_registrations=[chosen]) if isinstance(chosen, str) else Batch(delete_entries=[chosen])
    configure(place.engine, wanted)


def _id(document: Document) -> str:
    return str(document.get("Service", {}).get("ID", ""))


@settings(deadline=None, max_examples=share_of(150))
@given(_batches, st.booleans())
def test_a_change_comes_to_what_compiling_everything_comes_to(
    batches: list[list[Document] | int], forgetful: bool
) -> None:
    place = Place()
    for batch in batches:
        try:
            _change(place, config_in(place.objects), batch)
        except InvalidInput:
            continue
        if forgetful:
            place.engine = place.another().engine
    config, whole = config_in(place.objects), Place()
    place.engine.refresh()
    if not config.root.digest:
        return
    configure(whole.engine, Batch(list(config.entries), list(config.registrations.values())))
    assert compiled(config) == compiled(config_in(whole.objects))
    assert compiled(place.engine.config(place.engine.root)) == compiled(config), "what is in memory is what is stored"


def test_a_change_of_one_entry_reads_only_what_it_touches() -> None:
    place, count = Place(), 1500
    place.configure(
        proxy_defaults("", "local"),
        *[resolver(f"s{n}", Failover={"*": {"Datacenters": ["dc2"]}}) for n in range(count)],
        *[sidecar(f"app{n}", *[f"s{each}" for each in range(n, n + 20)]) for n in range(0, count, 20)],
    )
    other = place.another()
    other.configure(resolver("s7", Failover={"*": {"Datacenters": ["dc2", "dc3"]}}))
    reads = {step.key for step in other.steps if step.action == "get" and step.key.startswith("config/objects/")}
    # A bucket or two of each map: the other nineteen services that the sidecar uses are not read.
    assert len(reads) <= 19 < len(place.objects.under("config/objects/")) / 4, len(reads)


def test_a_cluster_stays_that_an_upstream_has_whose_chain_did_not_change() -> None:
    place = Place()
    place.configure(resolver("b", Redirect={"Service": "a"}), sidecar("x", "a", "b"), sidecar("y", "b", "a"))
    before = config_in(place.objects).manifests
    place.configure(resolver("b"))
    after = config_in(place.objects).manifests
    for key, of_a, of_b in (("dc1/sidecar/default/x", 0, 1), ("dc1/sidecar/default/y", 1, 0)):
        was, now = before[key], after[key]
        assert isinstance(was, SidecarManifest)
        assert isinstance(now, SidecarManifest)
        assert was.clusters == ("a.default.dc1",)
        assert now.clusters == ("a.default.dc1", "b.default.dc1")
        assert now.listeners[of_a] == was.listeners[of_a]
        assert now.listeners[of_b] != was.listeners[of_b]


def test_an_upstream_that_does_not_compile_leaves_the_listeners_of_the_others_where_they_belong() -> None:
    place, whole = Place(), Place()
    entries = [
        defaults("c", Protocol="http"),
        defaults("d", Protocol="http"),
        splitter("c", {"Weight": 100, "Service": "d"}),
        # Only callers that speak TCP come to it, because the others are split.
        resolver("c", Redirect={"Service": "d", "ServiceSubset": "gone"}),
    ]
    caller = sidecar("x", {"DestinationName": "c", "Config": {"protocol": "tcp"}}, "a", "b")
    changed = resolver("b", Redirect={"Service": "a"})
    place.configure(*entries, caller)
    manifest = config_in(place.objects).manifests["dc1/sidecar/default/x"]
    assert isinstance(manifest, SidecarManifest)
    assert len(manifest.listeners) == 2
    place.configure(changed)
    whole.configure(*entries, caller, changed)
    assert compiled(config_in(place.objects)) == compiled(config_in(whole.objects))


def test_a_plan_stays_as_long_as_the_chain_of_any_registration_ends_at_it() -> None:
    place, plan = Place(), "dc1/sidecar/a.default.dc1"
    place.configure(resolver("b", Redirect={"Service": "a"}), sidecar("x", "a"), sidecar("y", "b"))
    place.configure(sidecar("x", "c"))
    assert plan in config_in(place.objects).plans, "y still comes to it, through b"
    place.configure(resolver("b"))
    assert plan not in config_in(place.objects).plans
    place.configure(sidecar("x", "a"), sidecar("y", "a"))
    place.delete(registrations=("dc1/sidecar/default/x",))
    assert plan in config_in(place.objects).plans, "y still has it as an upstream"
    place.delete(registrations=("dc1/sidecar/default/y",))
    assert plan not in config_in(place.objects).plans


def test_a_large_config_is_written_in_parts_between_which_others_get_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "WRITTEN_AT_ONCE_BYTES", 20_000)
    place = Place()
    place.configure(*[resolver(f"s{n}") for n in range(300)], sidecar("web", *[f"s{n}" for n in range(300)]))
    written = place.objects.under("config/objects/")
    parts = [
        [len(written[key].data) for key in keys if key in written]
        for name, keys in place.connection.calls
        if name == "put_many"
    ]
    parts = [sizes for sizes in parts if sizes]
    assert sum(map(len, parts)) == len(written)
    assert all(sum(sizes[:-1]) < 20_000 for sizes in parts), parts
    assert len(parts) > 3, parts
    place.forget_the_past()
    place.configure(*[sidecar(f"w{n}", *[f"s{n}" for n in range(20)]) for n in range(20)])
    manifests = place.objects.under("manifests/")
    sizes = [
        [len(manifests[key].data) for key in keys if key in manifests]
        for name, keys in place.connection.calls
        if name == "put_many"
    ]
    assert sum(map(len, sizes)) == 20
    assert all(sum(each[:-1]) < 20_000 for each in sizes), sizes
