"""Random lives of a small mesh: batches of config, health events, and who crashes where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from hypothesis import strategies as st
from pointsman.model.entries import EntryKey
from pointsman.model.events import HealthEvent

from tests.pipeline.meshes import (
    Document,
    defaults,
    event,
    gateway,
    gateway_instance,
    instance,
    namespace,
    proxy_defaults,
    resolver,
    sidecar,
    splitter,
)

DATACENTERS = ("dc1", "dc2", "dc3")
SERVICES = ("web", "api", "db")
_TEAM = "team"


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents to write, and keys to delete."""

    documents: Sequence[Document]
    entries: Sequence[EntryKey] = ()
    registrations: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong for a writer: at which of its steps, and whether it is for good or for some steps."""

    at: int
    kind: Literal["crash", "away"]
    lasting: int


@dataclass(frozen=True, slots=True)
class Act:
    """One verb: what it is called with, on which engine, and what goes wrong.

    `again` says whether an event that was not acknowledged is delivered again.
    """

    what: Batch | HealthEvent | Literal["reconcile"]
    engine: int
    trouble: Trouble | None
    again: bool


def _one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


_modes = _one_of("", "none", "local", "remote")
_namespaces = _one_of("default", "default", "default", _TEAM)
_services = _one_of(*SERVICES)
_datacenters = _one_of(*DATACENTERS)


@st.composite
def _resolvers(draw: st.DrawFn) -> Document:
    name = draw(_services)
    fields: dict[str, Any] = {}
    if draw(st.booleans()):
        fields["Subsets"] = {
            "v1": {"Filter": "Service.Meta.version == v1", "OnlyPassing": draw(st.booleans())},
            "v2": {"Filter": "Service.Meta.version == v2"},
        }
        fields["DefaultSubset"] = draw(_one_of("", "v1"))
    kind = draw(_one_of("failover", "failover", "failover", "redirect", "nothing"))
    if kind == "failover":
        key = draw(_one_of("*", "*", "v1")) if "Subsets" in fields else "*"
        section: dict[str, Any] = {"Datacenters": draw(st.lists(_datacenters, min_size=1, max_size=3, unique=True))}
        if draw(_one_of(False, False, True)):
            section["Service"] = draw(_services)
        fields["Failover"] = {key: section}
    elif kind == "redirect":
        fields["Redirect"] = {"Service": draw(_services), "Datacenter": draw(_one_of("", *DATACENTERS))}
        fields.pop("DefaultSubset", None)
    fields["ConnectTimeout"] = draw(_one_of("0s", "0s", "1s"))
    return resolver(name, namespace=draw(_namespaces), **fields)


@st.composite
def _defaults(draw: st.DrawFn) -> Document:
    mode = {"Mode": draw(_modes)}
    return defaults(draw(_services), Protocol=draw(_one_of("", "tcp", "http")), MeshGateway=mode)


@st.composite
def _sidecars(draw: st.DrawFn) -> Document:
    upstreams: list[Mapping[str, Any]] = []
    for name in draw(st.lists(_services, max_size=3, unique=True)):
        upstream: dict[str, Any] = {"DestinationName": name}
        upstream["MeshGateway"] = {"Mode": draw(_one_of("", "", "", "local", "remote"))}
        upstream["Datacenter"] = draw(_one_of("", "", "dc2"))
        upstream["Config"] = draw(_one_of({}, {}, {"connect_timeout_ms": 700}))
        upstreams.append(upstream)
    where = draw(_one_of("dc1", "dc1", "dc2"))
    return sidecar(draw(_services), *upstreams, dc=where, namespace=draw(_namespaces), mode=draw(_one_of("", "local")))


_documents = st.one_of(
    _resolvers(),
    _resolvers(),
    _resolvers(),
    _sidecars(),
    _sidecars(),
    _defaults(),
    st.builds(proxy_defaults, _one_of("", "tcp", "http"), _modes),
    st.builds(gateway, _datacenters, _one_of("gw", "gw2")),
    st.just(namespace(_TEAM)),
    st.builds(
        lambda one, other: splitter(one, {"Weight": 50, "Service": one}, {"Weight": 50, "Service": other}),
        _services,
        _services,
    ),
)
_entry_keys = st.one_of(
    st.tuples(_one_of("service-resolver", "service-defaults", "service-splitter"), _namespaces, _services),
    st.just(("proxy-defaults", "default", "global")),
    st.just(("namespace", "default", _TEAM)),
)
_registration_keys = st.one_of(
    st.builds("{}/{}/{}".format, _one_of("dc1", "dc2"), _namespaces, _services),
    st.builds("{}/gateways/{}".format, _datacenters, _one_of("gw", "gw2")),
)

BEGINNING = Batch(
    [
        proxy_defaults("", "local"),
        resolver("web", Failover={"*": {"Datacenters": ["dc2", "dc3"]}}),
        sidecar("api", "web"),
        sidecar("db", "web", "api", dc="dc2"),
        gateway("dc1"),
        gateway("dc2"),
    ]
)
"""A mesh to start from: most batches by themselves would lead nowhere."""

batches = st.one_of(
    st.builds(Batch, st.lists(_documents, min_size=1, max_size=3)),
    st.builds(Batch, st.lists(_documents, min_size=1, max_size=3)),
    st.builds(Batch, st.just(()), st.lists(_entry_keys, min_size=1, max_size=1)),
    st.builds(Batch, st.just(()), st.just(()), st.lists(_registration_keys, min_size=1, max_size=1)),
    st.just(BEGINNING),
)


@st.composite
def _instances(draw: st.DrawFn, service: str | None, number: int) -> Document:
    status = draw(_one_of("passing", "passing", "warning", "critical"))
    if service is None:
        return gateway_instance(number, status)
    return instance(service, number, status, version=draw(_one_of("v1", "v2")), output=draw(_one_of("", "ok")))


@st.composite
def events(draw: st.DrawFn, services: Sequence[str | None] = (*SERVICES, None)) -> HealthEvent:
    """Events of few instances at few indexes, so that they often contend."""
    service, where = draw(_one_of(*services)), draw(_datacenters)
    numbers = draw(st.lists(st.integers(1, 3), max_size=3, unique=True))
    stamp = {"index": draw(st.integers(1, 6)), "epoch": draw(_one_of(0, 0, 0, 0, 1))}
    place = {"dc": where, "namespace": draw(_namespaces), "source": draw(_one_of("consul", "consul", "ecs"))}
    kind = draw(_one_of("list", "list", "one", "one", "removed", "checks"))
    if kind == "list":
        return event(service, instances=[draw(_instances(service, each)) for each in numbers], **stamp, **place)
    one = draw(_instances(service, draw(st.integers(1, 3))))
    if kind == "removed":
        return event(service, removed=one, **stamp, **place)
    said = event(service, one=one, **stamp, **place)
    checks = tuple(replace(statement, description=None) for statement in said.statements)
    return replace(said, statements=checks, checks_only=True) if kind == "checks" else said


_troubles = st.one_of(
    st.none(),
    st.none(),
    st.builds(Trouble, st.integers(1, 80), _one_of("crash", "away"), st.integers(1, 6)),
)
acts = st.one_of(
    st.builds(Act, batches, st.integers(0, 2), _troubles, st.booleans()),
    st.builds(Act, events(), st.integers(0, 2), _troubles, st.booleans()),
    st.builds(Act, events(), st.integers(0, 2), _troubles, st.booleans()),
    st.builds(Act, st.just("reconcile"), st.integers(0, 2), _troubles, st.just(False)),
)

_BATCHES_THAT_FLIP: Sequence[Batch] = (
    Batch([sidecar("web", "api", "db")]),
    Batch([], registrations=["dc1/default/web"]),
    Batch([gateway("dc1")]),
    Batch([], registrations=["dc1/gateways/gw"]),
    Batch([namespace(_TEAM)]),
    Batch([], entries=[("namespace", "default", _TEAM)]),
    Batch([resolver("api", Subsets={"v1": {"Filter": "Service.Meta.version == v1"}}, DefaultSubset="v1")]),
    Batch([resolver("api", Failover={"*": {"Datacenters": ["dc2"]}})]),
    Batch([], entries=[("service-resolver", "default", "api")]),
    Batch([sidecar("web", "db"), gateway("dc2")]),
)
flips = st.builds(
    Act,
    st.one_of(
        st.sampled_from(_BATCHES_THAT_FLIP),
        st.sampled_from(_BATCHES_THAT_FLIP),
        st.just("reconcile"),
        events(("api", "db", None)),
    ),
    st.integers(0, 2),
    st.one_of(st.none(), st.builds(Trouble, st.integers(1, 60), st.just("crash"), st.just(1))),
    st.booleans(),
)
"""Acts that undo one another: the same few things come and go, with crashes in between."""
