"""Config entries, instances and registrations at random: small worlds in which things meet."""

from typing import Any

from hypothesis import strategies as st
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Overrides
from pointsman.chain.validate import validate
from pointsman.model.entries import Entry, key_of, parse_entry
from pointsman.model.errors import InvalidInput
from pointsman.model.names import ServiceName

JSON = dict[str, Any]
SERVICES = ["web", "api", "db"]
NAMESPACES = ["default", "team"]
DATACENTERS = ["dc1", "dc2", "dc3"]
SUBSETS = ["v1", "v2"]
NAMES = [ServiceName(namespace, service) for namespace in NAMESPACES for service in SERVICES]

services = st.sampled_from(SERVICES)
subsets = st.sampled_from(SUBSETS)
datacenters = st.sampled_from(DATACENTERS)
# What is rare here makes most states unacceptable where it is frequent.
protocols = st.sampled_from(["http", "http", "HTTP", "http2", "tcp"])
namespaces = st.sampled_from(["", "", "", "default", "team"])
modes = st.fixed_dictionaries({"Mode": st.sampled_from(["", "none", "local", "remote"])})


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[JSON]:
    """A mapping with any of `fields`."""
    return st.fixed_dictionaries({}, optional=fields)


elsewhere = some(Service=services, ServiceSubset=subsets, Namespace=namespaces) | some(Service=services)
balancers = st.sampled_from(
    [
        {"Policy": "round_robin"},
        {"Policy": "least_request", "LeastRequestConfig": {"ChoiceCount": 3}},
        {"Policy": "ring_hash", "RingHashConfig": {"MinimumRingSize": 100}, "HashPolicies": [{"SourceIP": True}]},
        {"Policy": "maglev", "HashPolicies": [{"Field": "header", "FieldValue": "x-user"}]},
    ]
)


@st.composite
def failovers(draw: st.DrawFn, own: list[str]) -> JSON:
    """One section of a resolver with the subsets `own`."""
    away = draw(elsewhere | some(ServiceSubset=st.sampled_from(own)) if own else elsewhere)
    if draw(st.booleans()):
        return away | {"Datacenters": draw(st.lists(datacenters, min_size=1, max_size=3, unique=True))}
    target = elsewhere | st.builds(lambda each: {"Datacenter": each}, datacenters)
    return {"Targets": draw(st.lists(target.filter(bool), min_size=1, max_size=3))}


@st.composite
def resolvers(draw: st.DrawFn, of: JSON) -> JSON:
    """A resolver, most with subsets and failover, some with a redirect."""
    own = draw(st.sampled_from([[], ["v1"], SUBSETS, SUBSETS]))
    fields = some(
        ConnectTimeout=st.sampled_from(["0s", "250ms", "5s", "7s"]),
        RequestTimeout=st.sampled_from(["0s", "250ms", "5s"]),
        LoadBalancer=balancers,
        Meta=st.dictionaries(st.sampled_from(["team", "rack"]), st.text(max_size=3), max_size=2),
    )
    raw = of | {"Kind": "service-resolver"} | draw(fields)
    raw["Subsets"] = {
        name: draw(
            some(
                Filter=st.sampled_from(["", "Service.Meta.version == v1", '"canary" in Service.Tags']),
                OnlyPassing=st.booleans(),
            )
        )
        for name in own
    }
    if own and draw(st.booleans()):
        raw["DefaultSubset"] = draw(st.sampled_from(own))
    if draw(st.integers(0, 3)) == 0:
        return raw | {"Redirect": draw(elsewhere) | draw(some(Datacenter=datacenters))}
    keys = draw(st.lists(st.sampled_from(["*", "*", *own]), max_size=2, unique=True))
    return raw | {"Failover": {key: draw(failovers(own)) for key in keys}}


@st.composite
def splitters(draw: st.DrawFn, of: JSON) -> JSON:
    """A splitter, whose weights add up to 100."""
    to = draw(st.lists(elsewhere, min_size=1, max_size=3, unique_by=lambda each: frozenset(each.items())))
    weights = [100 - 10.01 * (len(to) - 1), *[10.01] * (len(to) - 1)]
    splits = [{"Weight": weight} | each for weight, each in zip(weights, to, strict=True)]
    return of | {"Kind": "service-splitter", "Splits": splits}


@st.composite
def routers(draw: st.DrawFn, of: JSON) -> JSON:
    """A router of up to three routes."""
    more = some(NumRetries=st.just(2), RequestTimeout=st.sampled_from(["1s", "250ms"]))
    match = some(HTTP=some(PathPrefix=st.sampled_from(["/", "/a"]), Methods=st.just(["get"])))
    routes = [
        draw(some(Match=match)) | {"Destination": draw(elsewhere) | draw(more)} for _ in range(draw(st.integers(0, 3)))
    ]
    return of | {"Kind": "service-router", "Routes": routes}


policies: st.SearchStrategy[JSON] = some(
    HealthyThreshold=st.sampled_from([1, 2, "50%", "100%"]),
    FailbackAfter=st.sampled_from(["0s", "10s"]),
    Gateways=st.sampled_from(["avoid", "require", "ignore"]),
    OnSwitch=st.sampled_from(["keep", "drain"]),
).map(lambda fields: fields | {"Kind": "failover-policy"})
proxy_defaults = st.fixed_dictionaries(
    {"Kind": st.just("proxy-defaults"), "Name": st.just("global")},
    optional={"Config": some(protocol=protocols), "MeshGateway": modes},
)
TEAM = {"Kind": "namespace", "Name": "team"}
HTTP = {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}, "MeshGateway": {"Mode": "local"}}


def parsed(raws: list[JSON]) -> list[Entry]:
    """Those of `raws` that are valid by themselves."""
    out = []
    for raw in raws:
        try:
            out.append(parse_entry(raw))
        except InvalidInput:
            continue
    return out


@st.composite
def worlds(draw: st.DrawFn) -> list[Entry]:
    """Up to four entries for each service, in any order."""
    raws = [draw(proxy_defaults)] if draw(st.booleans()) else []
    if draw(st.integers(0, 3)) == 0:
        raws.append(draw(policies) | {"Name": "global"})
    for name in NAMES:
        of = {"Namespace": name.namespace, "Name": name.name}
        defaults = st.fixed_dictionaries({"Kind": st.just("service-defaults")}, optional={"MeshGateway": modes})
        for often, strategy in (
            (3, resolvers(of)),
            (1, splitters(of)),
            (1, routers(of)),
            (1, policies.map(lambda each, of=of: each | of)),
            (1, st.builds(lambda each, of=of, **more: of | each | more, defaults, Protocol=protocols)),
        ):
            if draw(st.integers(0, 3)) < often:
                raws.append(draw(strategy))
    return parsed([TEAM, *draw(st.permutations(raws))] if raws else [])


entries: st.SearchStrategy[list[Entry]] = worlds()
"""Entries that are valid by themselves, fit together or not."""


def accepted(writes: list[Entry]) -> EntrySet:
    """The state after `writes`, one after another, those left out that are refused."""
    state = EntrySet.of([])
    for entry in writes:
        after = state.with_changes([entry])
        if not validate(after, [key_of(entry)]):
            state = after
    return state


# A mesh that speaks HTTP from the start has more routers and splitters to accept.
accepted_sets: st.SearchStrategy[EntrySet] = st.tuples(st.sampled_from([[], [HTTP]]).map(parsed), entries).map(
    lambda pair: accepted([*pair[0], *pair[1]])
)
"""States that writing, entry by entry, leads to."""

overrides = st.builds(
    Overrides,
    mode=st.sampled_from(["", "none", "local", "remote"]),
    mode_source=st.just("proxy override"),
    protocol=st.sampled_from(["", "", "tcp", "http", "GRPC"]),
    connect_timeout_ms=st.sampled_from([0, 0, 250, 5000]),
)


def instance(namespace: str, service: str, number: int, datacenter: str, version: str, status: str) -> JSON:
    """An instance in the shape of Consul's catalog registrations; equal arguments give equal addresses."""
    address = f"10.{DATACENTERS.index(datacenter)}.{NAMES.index(ServiceName(namespace, service))}.{number + 1}"
    identity = f"{service}-{number}"
    return {
        "Node": f"node-{datacenter}-{namespace}-{identity}",
        "Address": address,
        "Service": {
            "ID": identity,
            "Service": f"{service}-sidecar-proxy",
            "Namespace": namespace,
            "Kind": "connect-proxy",
            "Port": 20000 + number,
            "Meta": {"version": version},
            "Tags": ["canary"] if version == "v2" else [],
            "Proxy": {"DestinationServiceName": service},
        },
        "Checks": [{"CheckID": "c", "Status": status, "ServiceID": identity}],
    }


def gateway(number: int, datacenter: str, status: str = "") -> JSON:
    """A mesh gateway in the shape of Consul's catalog registrations; "" for one without checks."""
    address = f"10.{DATACENTERS.index(datacenter)}.100.{number + 1}"
    checks = [{"CheckID": "c", "Status": status, "ServiceID": f"gateway-{number}"}] if status else []
    service = {"ID": f"gateway-{number}", "Kind": "mesh-gateway", "Service": "mesh-gateway", "Port": 8443}
    return {"Node": f"gateways-{datacenter}-{number}", "Address": address, "Service": service, "Checks": checks}


statuses = st.sampled_from(["passing", "passing", "warning", "critical"])
catalogs: st.SearchStrategy[dict[str, list[JSON]]] = st.fixed_dictionaries(
    {
        datacenter: st.tuples(
            st.lists(
                st.builds(
                    instance,
                    st.sampled_from(NAMESPACES),
                    services,
                    st.integers(0, 3),
                    st.just(datacenter),
                    st.sampled_from(SUBSETS),
                    statuses,
                ),
                max_size=8,
                unique_by=lambda raw: raw["Node"],
            ),
            st.lists(
                st.builds(
                    gateway, st.integers(0, 2), st.just(datacenter), st.sampled_from(["", "passing", "critical"])
                ),
                max_size=2,
                unique_by=lambda raw: raw["Node"],
            ),
        ).map(lambda pair: [*pair[0], *pair[1]])
        for datacenter in DATACENTERS
    }
)
"""By datacenter, what a catalog holds: instances of the services and mesh gateways, healthy and not."""
