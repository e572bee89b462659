"""What an event may be: whatever arrives is refused with the field and the reason, or is good for all that follows."""

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.chain.plan import GatewayRemotePlan, GatewayServicePlan, PlanTarget, SidecarPlan
from pointsman.failover.filters import predicate
from pointsman.model.canonical import canonical
from pointsman.model.catalog import EMPTY, Catalog, catalog_json, merge, read_catalog
from pointsman.model.errors import InvalidInput
from pointsman.model.events import MAX_PROBLEMS, HealthEvent, parse_event
from pointsman.model.filters.schema import INSTANCE, Field, ListOf, MapOf, Scalar, Structure
from pointsman.model.instance import read_instance
from pointsman.model.names import Target
from pointsman.model.sources.text import MOST_BYTES, MOST_VALUES, read_json
from pointsman.xds.content import compute

from tests.share import share_of

Path = tuple[str | int, ...]


def instance(**service: Any) -> dict[str, Any]:
    """One sidecar of web, with every field that Consul 1.6 lists."""
    return {
        "Node": {
            "ID": "40e4a748-2192-161a-0510-9bf59fe950b5",
            "Node": "web-1",
            "Address": "10.1.0.11",
            "Datacenter": "dc1",
            "TaggedAddresses": {"lan": "10.1.0.11", "wan": "192.0.2.11"},
            "Meta": {"rack": "r7"},
        },
        "Service": {
            "Kind": "connect-proxy",
            "ID": "web-1-sidecar-proxy",
            "Service": "web-sidecar-proxy",
            "Tags": ["v1"],
            "Address": "10.1.0.11",
            "TaggedAddresses": {"wan": {"Address": "192.0.2.11", "Port": 443}},
            "Meta": {"version": "v1"},
            "Port": 21000,
            "Weights": {"Passing": 10, "Warning": 1},
            "EnableTagOverride": True,
            "Proxy": {
                "DestinationServiceName": "web",
                "DestinationServiceID": "web-1",
                "LocalServiceAddress": "127.0.0.1",
                "LocalServicePort": 8080,
                "MeshGateway": {"Mode": "local"},
                "Upstreams": [{"DestinationName": "api", "LocalBindPort": 9191, "MeshGateway": {"Mode": "none"}}],
            },
            "Connect": {"Native": False},
            **service,
        },
        "Checks": [
            {"Node": "web-1", "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing"},
            {
                "Node": "web-1",
                "CheckID": "service:web-1",
                "Name": "GET /",
                "Status": "warning",
                "Notes": "n",
                "Output": "429",
                "ServiceID": "web-1-sidecar-proxy",
                "ServiceName": "web-sidecar-proxy",
                "ServiceTags": ["v1"],
            },
        ],
    }


def event(**detail: Any) -> dict[str, Any]:
    """A full list of web in dc1, in its envelope."""
    given = {"Source": "consul-dc1", "Epoch": 1, "Index": 7, "Datacenter": "dc1", "Namespace": "default"}
    body = {**given, "Kind": "service", "Service": "web", "Instances": [instance()], **detail}
    return {
        "id": "e-1",
        "time": "2026-03-02T09:00:00Z",
        "detail": {key: value for key, value in body.items() if value is not ...},
    }


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def at(value: Any, path: Path) -> Any:
    """What stands at a place."""
    for key in path:
        value = value[key]
    return value


def with_value(value: Any, path: Path, new: Any) -> Any:
    """`value` with `new` at a place; ... removes what it has there."""
    if not path:
        return new
    out = copy.copy(value)
    if len(path) == 1 and new is ...:
        del out[path[0]]
    else:
        out[path[0]] = with_value(value[path[0]], path[1:], new)
    return out


def outcome(raw: Any) -> HealthEvent | InvalidInput:
    """The event, or why it is refused."""
    try:
        return parse_event(raw)
    except InvalidInput as error:
        return error


GATEWAY = {"Kind": "mesh-gateway", "ID": "gateway-1", "Service": "mesh-gateway"}
WHOLE = {
    "a list": event(),
    "one": event(Instances=..., Instance=instance(Kind="", Connect={"Native": True}, Service="web")),
    "removed": event(Instances=..., Removed={"Node": "web-1", "ID": "web-1-sidecar-proxy"}),
    "gateways": event(Kind="mesh-gateway", Instances=[instance(**GATEWAY)]),
    "bare": event()["detail"],
}

DC1 = PlanTarget(Target("web", "", "default", "dc1"))
V1 = PlanTarget(Target("web", "v1", "default", "dc1"), filter="Service.Meta.version == v1", only_passing=True)
LOCAL = PlanTarget(Target("web", "", "default", "dc2"), mode="local")
PLANS = [
    SidecarPlan("dc1", "tcp", "", 5000, (DC1,)),
    SidecarPlan("dc2", "http", "", 5000, (V1, DC1)),
    SidecarPlan("dc1", "grpc", "", 5000, (V1, LOCAL)),
    SidecarPlan("dc2", "tcp", "", 5000, (DC1, PlanTarget(Target("web", "", "default", "dc1"), mode="remote"))),
    GatewayServicePlan(DC1),
    GatewayRemotePlan("dc2", "dc1"),
]


def use(health: HealthEvent) -> Catalog:
    """Everything that is done with an event once it is accepted."""
    catalog = merge(EMPTY, health)
    assert merge(catalog, health) is catalog
    stored = read_catalog(orjson.loads(canonical(catalog_json(catalog))))
    assert stored == catalog
    key = f"{health.datacenter}/{health.service}" if health.service else f"{health.datacenter}/gateways"
    instances = {key: stored.instances(health.service.name if health.service else "")}
    for plan in PLANS:
        compute(plan, instances, "mesh.test").check()
    return catalog


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE.keys())
def test_the_whole_shapes_are_good_for_all_that_follows(raw: dict[str, Any]) -> None:
    health = parse_event(raw)
    assert parse_event(read_json(orjson.dumps(raw))) == health
    assert (health.source, health.epoch, health.index, health.datacenter) == ("consul-dc1", 1, 7, "dc1")
    use(health)


REFUSED: dict[str, tuple[Any, str]] = {
    "no mapping": ([], "event: must be a mapping, not a list"),
    "nothing": ({}, "event: is of no known shape"),
    "another shape": ({"detail-type": "ECS Task", "detail": {}}, '"ECS Task" is no known shape; known are "Service He'),
    "no detail": ({"detail-type": "Service Health Changed"}, "event: detail: must be a mapping, not null"),
    "a detail as text": ({"id": "e-1", "detail": "{}"}, 'event "e-1": detail: must be a mapping, not a string'),
    "an id that is no text": ({**event(), "id": 7}, "event: id: must be a string, not a number"),
    "an id with a line feed": ({**event(), "id": "a\nb"}, "event: id: has characters that cannot be shown"),
    "no source": ({**event(Source=...), "detail-type": "Service Health Changed"}, "Source: is required"),
    "an empty source": (event(Source=""), "Source: String should have at least 1 character"),
    "a source with a null byte": (event(Source="a\0"), "Source: has characters that cannot be shown"),
    "an index as text": (event(Index="7"), 'Index: must be a whole number, not "7"'),
    "an index that is half": (event(Index=7.5), "Index: must be a whole number, not 7.5"),
    "an index that is true": (event(Index=True), "Index: must be a whole number, not true"),
    "an index below nothing": (event(Index=-1), "Index: must be at least 0, not -1"),
    "an index beyond 64 bits": (event(Index=2**63), "Index: must be at most 9223372036854775807"),
    "an epoch that is NaN": (event(Epoch=float("nan")), "Epoch: must be a whole number"),
    "a datacenter that is a path": (event(Datacenter="../dc1"), '"../dc1" is not a lower-case DNS label'),
    "a service in capitals": (event(Service="Web"), 'Service: "Web" is not a lower-case DNS label'),
    "no service": (event(Service=...), 'Service: "" is not a lower-case DNS label'),
    "a namespace with a slash": (event(Namespace="a/b"), 'Namespace: "a/b" is not a lower-case DNS label'),
    "a kind of its own": (event(Kind="terminating-gateway"), 'Kind: must be "service" or "mesh-gateway"'),
    "neither list nor instance": (event(Instances=None), "needs exactly one of Instances (the full list, [] if"),
    "list and instance": (event(Instance=instance()), "needs exactly one of Instances"),
    "a list as a single": (
        {**event(), "detail-type": "Instance Health Changed"},
        'detail-type: "Instance Health Changed" goes with Instance or Removed, not with Instances',
    ),
    "the same twice": (
        event(Instances=[instance(), instance()]),
        'Instances[1]: the instance "web-1-sidecar-proxy" on node "web-1" is listed twice',
    ),
    "null for an instance": (event(Instances=[None]), "Instances[0]: must be a mapping, not null"),
    "no id": (event(Instances=[instance(ID="")]), "Instances[0].Service.ID: String should have at least 1"),
    "a port as text": (
        event(Instances=[instance(Port="80")]),
        'Instances[0].Service.Port: must be a whole number, not "8',
    ),
    "a port beyond": (event(Instances=[instance(Port=65536)]), "Service.Port: must be at most 65535, not 65536"),
    "no port": (event(Instances=[instance(Port=0)]), "Instances[0].Service.Port: is required"),
    "a DNS name": (event(Instances=[instance(Address="web.internal")]), '"web.internal" is not an IP address; Envoy'),
    "a zone": (event(Instances=[instance(Address="fe80::1%eth0")]), '"fe80::1%eth0" has a zone'),
    "a switch as text": (
        event(Instances=[instance(Connect={"Native": "yes"})]),
        'Native: must be true or false, not "yes"',
    ),
    "a huge weight": (event(Instances=[instance(Weights={"Passing": 2**64})]), "Weights.Passing: must be at most"),
    "a number among tags": (event(Instances=[instance(Tags=["a", 1])]), "Service.Tags[1]: must be a string, not 1"),
    "null in a map": (event(Instances=[instance(Meta={"a": None})]), 'Service.Meta["a"]: must be a string, not null'),
    "a lone surrogate": (event(Instances=[instance(ID="\ud800")]), "Service.ID: Input should be a valid string"),
    "one among keys": (event(Instances=[instance(Meta={"\ud800": ""})]), "Input should be a valid string"),
    "an unknown status": (
        with_value(event(), ("detail", "Instances", 0, "Checks", 0, "Status"), "Critical"),
        'Instances[0].Checks[0].Status: must be "passing", "warning" or "critical", not "Critical"',
    ),
    "a removal of nobody": (event(Instances=..., Removed={"Node": "web-1"}), "Removed.ID: is required"),
}


NLB = "gateways-1a2b.elb.us-east-1.amazonaws.com"


@pytest.mark.parametrize(("kind", "near"), [("mesh-gateway", True), ("mesh-gateway", False), ("connect-proxy", False)])
def test_a_mesh_gateway_may_have_a_host_name_and_an_instance_of_a_service_one_for_other_datacenters(
    kind: str, near: bool
) -> None:
    wan = {"TaggedAddresses": {"wan": {"Address": NLB}}}
    named = instance(Kind=kind, **({"Address": NLB, "TaggedAddresses": None} if near else wan))
    of = {"Kind": kind, "Service": ...} if kind == "mesh-gateway" else {}
    (statement,) = parse_event(event(Instances=[named], **of)).statements
    assert read_instance(statement.description or {}, "").remote[0] == NLB


def test_an_instance_of_a_service_has_no_host_name_in_its_own_datacenter() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_event(event(Instances=[instance(Address=NLB)]))
    (problem,) = refused.value.problems
    assert problem.field == "Instances[0].Service.Address"
    assert problem.reason == f'"{NLB}" is not an IP address; Envoy\'s EDS takes only those, so resolve it first'


@pytest.mark.parametrize("name", ["10.0.0.300", "a..b", "-a.b", "a b", "a:1", "x" * 64, "a." * 127 + "aa", "x\n", "1"])
def test_what_is_no_host_name_either_is_refused_for_a_gateway_too(name: str) -> None:
    gateway = instance(Kind="mesh-gateway", Address=name)
    with pytest.raises(InvalidInput, match="is not an IP address"):
        parse_event(event(Kind="mesh-gateway", Service=..., Instances=[gateway]))


@pytest.mark.parametrize(("raw", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_told_with_its_field_and_reason(raw: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_event(raw)
    assert said in str(error.value)


NO_JSON: dict[str, tuple[bytes | str, str]] = {
    "empty": (b"", "line 1: is not JSON: "),
    "cut off": (b'{"Source": "a"', "line 1: is not JSON: "),
    "not a number": (b'{"Source": "a", "Index": NaN}', "line 1: is not JSON: "),
    "no UTF-8": (b'{"Source": "\xff"}', "is not UTF-8"),
    "a lone surrogate": (b'{"Source": "\\ud800"}', "line 1: is not JSON: "),
    "a lone surrogate as it is": ('{"Source": "\ud800"}', "is not UTF-8"),
    "too deep": (b"[" * 100_000 + b"]" * 100_000, "is nested too deeply: more than 64 levels"),
    "a number of 5,000 digits": (b'{"Index": ' + b"9" * 5000 + b"}", "is not JSON: "),
    "too many values": (b"[" + b"0," * MOST_VALUES + b"0]", f"{MOST_VALUES} are the most"),
    "too long": (b" " * (MOST_BYTES + 1), f"is longer than {MOST_BYTES} bytes"),
}


@pytest.mark.parametrize(("text", "said"), NO_JSON.values(), ids=NO_JSON.keys())
def test_what_is_no_json_is_refused(text: bytes | str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_json(text)
    assert str(refused.value).startswith("event: ")
    assert said in str(refused.value)


def nested(depth: int) -> Any:
    """A list in a list, and so on."""
    out: list[Any] = []
    for _ in range(depth):
        out = [out]
    return out


TEXT = st.text(st.characters(exclude_categories=()), max_size=80) | st.sampled_from(
    ["", "passing", "connect-proxy", "mesh-gateway", "web", "dc1", "10.0.0.1", "::1", "0", "wan", "a" * 600]
)
NUMBERS = st.integers(-2, 70_000) | st.integers(2**60, 2**70)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)


def like(value: Any) -> st.SearchStrategy[Any]:
    """Values of the same type: what a producer with a defect sends, rather than an enemy."""
    if isinstance(value, dict):
        return st.sets(st.sampled_from(sorted(value))).map(lambda kept: {key: value[key] for key in kept})
    if isinstance(value, list):
        return st.lists(st.sampled_from(value), max_size=3)
    return st.booleans() if isinstance(value, bool) else NUMBERS if isinstance(value, int) else TEXT


@settings(max_examples=share_of(500), deadline=None)
@given(data=st.data())
def test_anything_at_any_place_is_refused_in_words_or_good_for_all_that_follows(data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from(list(WHOLE.values())))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([path for path in places(raw) if path] or [()]))
        value = at(raw, path)
        raw = with_value(raw, path, data.draw(like(value) | JSON if value not in ([], {}) else JSON))
    found = outcome(raw)
    if isinstance(found, HealthEvent):
        use(found)
    else:
        assert 0 < len(found.problems) <= MAX_PROBLEMS + 1
        assert len(str(found).encode()) < 20_000
        assert "\n" not in str(found)


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE.keys())
def test_what_is_nested_too_deeply_to_be_shown_is_refused_all_the_same(raw: dict[str, Any]) -> None:
    for path in places(raw):
        found = outcome(with_value(raw, path, nested(1000)))
        assert isinstance(found, InvalidInput), path


KEYS_OF_MAPS = {"lan", "wan", "rack", "version"}


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE.keys())
def test_a_null_as_go_writes_it_is_the_same_as_a_field_that_is_not_there(raw: dict[str, Any]) -> None:
    fields = [path for path in places(raw) if path and isinstance(path[-1], str) and path[-1] not in KEYS_OF_MAPS]
    assert fields
    for path in fields:
        null, absent = outcome(with_value(raw, path, None)), outcome(with_value(raw, path, ...))
        assert null == absent or {type(null), type(absent)} == {InvalidInput}, path


def test_a_field_with_gos_zero_value_is_the_same_as_one_that_is_not_there() -> None:
    raw = event(Instances=[instance(Service="", Meta={}, Tags=[], EnableTagOverride=False, Weights={"Passing": 0})])
    lean = event(Instances=[instance(Meta=None, Tags=None, Weights={"Passing": 0, "Warning": 1})])
    for field in ("Service", "EnableTagOverride"):
        del lean["detail"]["Instances"][0]["Service"][field]
    assert parse_event(raw) == parse_event(lean)


def test_unknown_fields_are_passed_over_wherever_they_stand() -> None:
    for raw in WHOLE.values():
        richer = copy.deepcopy(raw)
        for path in list(places(raw)):
            if isinstance(at(raw, path), dict) and path[-1:] not in [("Meta",), ("TaggedAddresses",)]:
                at(richer, path)["Unknown"] = {"deep": [nested(500)]}
        assert parse_event(richer) == parse_event(raw)


def test_the_order_of_checks_and_of_keys_says_nothing() -> None:
    turned = event()
    turned["detail"]["Instances"][0]["Checks"].reverse()
    turned["detail"] = dict(reversed(turned["detail"].items()))
    assert parse_event(turned) == parse_event(event())


def reported(field: Field) -> Any:
    """A value for a field and everything in it, none of it a zero value."""
    if isinstance(field, Structure):
        return {name: reported(inner) for name, inner in field.fields.items()}
    if isinstance(field, ListOf):
        return [reported(field.item)]
    if isinstance(field, MapOf):
        return {"wan": reported(field.value)}
    return {Scalar.STRING: "10.0.0.1", Scalar.INTEGER: 1, Scalar.BOOLEAN: True}.get(field, ["10.0.0.1"])  # type: ignore[arg-type]


def test_nothing_that_a_subset_filter_can_select_is_lost() -> None:
    assert isinstance(INSTANCE, Structure)
    raw = reported(INSTANCE)
    raw["Checks"][0]["Status"] = "critical"
    (seen,) = merge(EMPTY, parse_event(event(Instances=[raw]))).visible()
    assert seen == raw
    assert predicate("Service.Weights.Passing == 1 and Service.Proxy.Upstreams.LocalBindPort == 1")(seen)


def many(count: int, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A list of that many instances."""
    instances = []
    for number in range(count):
        instances.append(instance(ID=f"web-{number}"))
        change(instances[-1])
    return orjson.dumps(event(Instances=instances))


MANY: dict[str, tuple[Callable[[dict[str, Any]], object], int]] = {
    "good": (lambda each: None, 0),
    "all of a wrong type": (lambda each: each["Service"].update(Port="80"), MAX_PROBLEMS + 1),
    "all without an address": (lambda each: each["Service"].update(Address="x"), MAX_PROBLEMS + 1),
    "all the same": (lambda each: each["Service"].update(ID="web"), MAX_PROBLEMS + 1),
    "all full of unknown fields": (lambda each: each.update(Unknown=[{"a": 1}] * 10), 0),
}


@pytest.mark.parametrize(("change", "problems"), MANY.values(), ids=MANY.keys())
def test_five_megabytes_are_taken_or_refused_in_reasonable_time(
    change: Callable[[dict[str, Any]], object], problems: int
) -> None:
    text = many(5000, change)
    assert len(text) > 5_000_000
    began = time.process_time()
    found = outcome(orjson.loads(text))
    assert time.process_time() - began < 5
    assert len(found.statements if isinstance(found, HealthEvent) else found.problems) == (problems or 5000)
