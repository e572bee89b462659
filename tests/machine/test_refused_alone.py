"""An invalid instance is refused alone: the health of all others in its list is accepted."""

import json
from pathlib import Path
from typing import Any

import pytest
from pointsman.adapter.report.metrics import Metrics
from pointsman.cli.main import run
from pointsman.model.catalog import EMPTY, Catalog, merge
from pointsman.model.errors import InvalidInput
from pointsman.model.events import MAX_PROBLEMS, parse_event
from pointsman.model.listed import MOST_INSTANCES, MOST_REFUSED
from pointsman.model.reported import MOST_ENTRIES, MOST_TEXT
from pointsman.store.protocol import Store

from tests.machine.test_sources_sent import Door, healthy
from tests.model.reported import watch

NATIVE = {"Kind": "", "Service": "api", "Connect": {"Native": True}}


def instance(number: int, status: str = "passing", node: Any = None, **service: Any) -> dict[str, Any]:
    """A sidecar of api."""
    return {
        "Node": {"Node": f"node{number}", "Address": f"10.1.0.{number}", **(node or {})},
        "Service": {
            "Kind": "connect-proxy",
            "ID": f"api-{number}",
            "Port": 21000,
            "Proxy": {"DestinationServiceName": "api"},
            **service,
        },
        "Checks": [{"CheckID": "alive", "Status": status}],
    }


def listed(index: int, *instances: Any, **detail: Any) -> dict[str, Any]:
    """A full list of api in dc1."""
    return {"Source": "s", "Index": index, "Datacenter": "dc1", "Service": "api", "Instances": instances} | detail


def gateways(index: int, *instances: Any) -> dict[str, Any]:
    """A full list of the gateways of dc1."""
    return listed(index, *instances, Kind="mesh-gateway")


def gateway(number: int, **service: Any) -> dict[str, Any]:
    return instance(number, **{"Kind": "mesh-gateway", "Service": "mesh-gateway", "Proxy": None, **service})


FAULTS: dict[str, tuple[Any, str, str]] = {
    "a host name": (instance(2, Address="api.internal"), "Service.Address", '"api.internal" is not an IP address'),
    "a host name of its node": (
        instance(2, node={"Address": "n2"}, Address=""),
        "Node.Address",
        "is not an IP address",
    ),
    "a mistyped address for others": (
        instance(2, TaggedAddresses={"wan": {"Address": "api..example"}}),
        "Service.TaggedAddresses.wan.Address",
        '"api..example" is not an IP address',
    ),
    "a mistyped address": (instance(2, Address="10.1.0.300"), "Service.Address", '"10.1.0.300" is not an IP address'),
    "every address": (instance(2, Address="0.0.0.0"), "Service.Address", "listens on every address"),
    "every address of IPv6": (instance(2, Address="::"), "Service.Address", "listens on every address"),
    "every address, mapped": (instance(2, Address="::ffff:0.0.0.0"), "Service.Address", "listens on every address"),
    "this network": (instance(2, Address="0.1.2.3"), "Service.Address", "listens on every address"),
    "a group": (instance(2, Address="224.0.0.1"), "Service.Address", "is a group of machines"),
    "a group of IPv6": (instance(2, Address="ff02::1"), "Service.Address", "is a group of machines"),
    "everybody": (instance(2, Address="255.255.255.255"), "Service.Address", "is a group of machines"),
    "every address for others": (
        instance(2, TaggedAddresses={"wan": {"Address": "0.0.0.0"}}),
        "Service.TaggedAddresses.wan.Address",
        "listens on every address",
    ),
    "every address of its node": (
        instance(2, node={"Address": "10.1.0.2", "TaggedAddresses": {"wan": "::"}}),
        "Node.TaggedAddresses.wan",
        "listens on every address",
    ),
    "a port that is true": (instance(2, Port=True), "Service.Port", "must be a whole number, not true"),
    "a weight that is true": (
        instance(2, Weights={"Passing": True}),
        "Service.Weights.Passing",
        "must be a whole number, not true",
    ),
    "a port as text": (instance(2, Port="21000"), "Service.Port", 'must be a whole number, not "21000"'),
    "no port": (instance(2, Port=0), "Service.Port", "is required"),
    "no port where the application does TLS": (instance(2, Port=0, **NATIVE), "Service.Port", "is required"),
    "an unknown status": (instance(2, "fine"), "Checks[0].Status", 'must be "passing"'),
    "checks that are none": (instance(2) | {"Checks": {"a": 1}}, "Checks", "must be a list"),
    "too many tags": (instance(2, Tags=["a"] * (MOST_ENTRIES + 1)), "Service.Tags", f"at most {MOST_ENTRIES} items"),
    "too much meta": (
        instance(2, Meta={str(number): "" for number in range(MOST_ENTRIES + 1)}),
        "Service.Meta",
        f"{MOST_ENTRIES} are the most",
    ),
    "a tag that is too long": (instance(2, Tags=["a" * (MOST_TEXT + 1)]), "Service.Tags[0]", f"most {MOST_TEXT} char"),
    "many faults": (
        instance(2, "fine", Port="1", Address=7),
        "Service.Address",
        "must be a string, not 7 (and 2 more problems)",
    ),
    "a sidecar of the gateways": (
        instance(2, Proxy={"DestinationServiceName": "mesh-gateway"}),
        "Service.Proxy.DestinationServiceName",
        "the name of mesh gateways",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_instance_with_a_fault_is_refused_alone_and_named(name: str, store: Store) -> None:
    faulty, field, reason = FAULTS[name]
    metrics = Metrics(lambda: 0.0, list, dict)
    door = Door(store, metrics)
    assert door.post("/v1/events", listed(1, *(instance(number, "critical") for number in (1, 2, 3))))[0] == 200
    assert healthy(store) == (0, 3)
    code, answer = door.post("/v1/events", listed(2, instance(1), faulty, instance(3)))
    assert (code, answer["changed"]) == (200, True)
    (refused,) = answer["refused"]
    assert reason in refused.pop("reason")
    assert refused == {"index": 1, "node": "node2", "id": "api-2", "field": field}
    # What was known of the one that is refused stays, unless it is known to be elsewhere.
    assert healthy(store) == (2, 2 if name.startswith("a host name") else 3)
    assert len(door.reported) == 1
    assert door.reported[0].startswith(f'refused: "api-2" on node "node2": [1].{field}: ')
    assert b"pointsman_instances_refused_total 1.0" in metrics.text()


def test_a_gateway_must_not_be_called_as_all_of_them_together(store: Store) -> None:
    door = Door(store)
    code, answer = door.post("/v1/events", gateways(1, gateway(1), gateway(2, ID="mesh")))
    (refused,) = answer["refused"]
    assert (code, refused["id"], refused["field"]) == (200, "mesh", "Service.ID")


def test_what_is_no_sidecar_of_the_mesh_may_be_called_as_it_likes() -> None:
    plain = instance(2, Kind="", Address="api.internal", Port=0, Service="mesh-gateway", ID="mesh", Proxy=None)
    event = parse_event(listed(1, instance(1), plain))
    assert (len(event.statements), event.refused) == (2, ())
    assert len(parse_event(gateways(1, gateway(1))).statements) == 1


NAMELESS = {
    "no mapping": None,
    "no node": instance(2) | {"Node": {}},
    "a node without a name": instance(2, node={"Node": ""}),
    "no id": instance(2, ID=None),
    "an id that is a number": instance(2, ID=7),
    "an id that is too long": instance(2, ID="a" * 513),
    "no service": {"Node": {"Node": "node2"}},
}


@pytest.mark.parametrize("faulty", NAMELESS.values(), ids=NAMELESS.keys())
def test_where_nobody_can_tell_which_it_is_nobody_is_taken_for_gone(faulty: Any) -> None:
    catalog = after(listed(1, *map(instance, (1, 2, 3))), listed(2, instance(1, "critical"), faulty))
    assert seen(catalog) == {"api-1": "critical", "api-2": "passing", "api-3": "passing"}
    catalog = after(listed(3, instance(1)), start=catalog)
    assert seen(catalog) == {"api-1": "passing"}, "the next list without a fault tells who is there"


def test_of_one_that_is_refused_the_list_says_neither_that_it_is_there_nor_that_it_is_gone() -> None:
    faulty = instance(2, Port="21000")
    first, then, late = listed(1, *map(instance, (1, 2, 3))), listed(5, instance(1), faulty), listed(3, instance(2))
    assert seen(after(first, then)) == {"api-1": "passing", "api-2": "passing"}
    for order in ([first, then, late], [then, late, first], [late, first, then], [then, first, late]):
        assert seen(after(*order)) == {"api-1": "passing", "api-2": "passing"}
    gone = listed(4)
    for order in ([first, then, gone], [gone, then, first], [then, gone, first]):
        assert seen(after(*order)) == {"api-1": "passing"}, "a list before it that did without was right"
    assert seen(after(first, then, listed(6))) == {}


def test_one_that_has_a_host_name_now_is_no_longer_where_it_was() -> None:
    named = instance(2, Address="api.internal")
    first, then, late = listed(1, *map(instance, (1, 2, 3))), listed(5, instance(1), named), listed(3, instance(2))
    for order in ([first, then, late], [then, late, first], [late, first, then], [then, first, late]):
        assert seen(after(*order)) == {"api-1": "passing"}
    assert seen(after(first, then, listed(6, instance(1), instance(2)))) == {"api-1": "passing", "api-2": "passing"}
    with pytest.raises(InvalidInput, match="resolve it first"):
        parse_event(listed(7, named))


def test_of_an_instance_that_is_listed_twice_neither_counts() -> None:
    event = parse_event(listed(1, instance(1), instance(2), instance(3), instance(2, "critical"), instance(2)))
    assert [each.id for each in event.statements] == ["api-1", "api-3"]
    assert [(each.index, each.id) for each in event.refused] == [(1, "api-2"), (3, "api-2"), (4, "api-2")]
    assert "is listed twice, at [3] as well" in event.refused[0].reason
    assert "is listed twice, at [1] as well" in event.refused[2].reason


def test_a_list_without_a_good_one_and_one_with_too_many_faults_are_refused_as_a_whole() -> None:
    with pytest.raises(InvalidInput) as all_of_them:
        parse_event(listed(1, *(instance(number, Port=True) for number in range(50))))
    assert len(all_of_them.value.problems) == MAX_PROBLEMS + 1
    many = [instance(1)] + [instance(number, Port=True) for number in range(2, MOST_REFUSED + 2)]
    assert len(parse_event(listed(1, *many)).refused) == MOST_REFUSED
    with pytest.raises(InvalidInput):
        parse_event(listed(1, *many, instance(5000, Port=True)))
    with pytest.raises(InvalidInput, match=f"Instances: has {MOST_INSTANCES + 1} instances; {MOST_INSTANCES} are the"):
        parse_event(listed(1, *[{}] * (MOST_INSTANCES + 1)))


def test_what_a_check_printed_is_cut_and_refuses_nobody() -> None:
    long = instance(1)
    long["Checks"][0] |= {"Output": "o" * 100_000, "Notes": "n" * 100_000}
    (statement,) = parse_event(listed(1, long)).statements
    assert statement.checks == [
        {"CheckID": "alive", "Status": "passing", "Output": "o" * MOST_TEXT, "Notes": "n" * MOST_TEXT}
    ]


def check(node: str, id_: str, status: Any, service: str = "api-sidecar-proxy") -> dict[str, Any]:
    return {"Node": node, "CheckID": "c", "ServiceID": id_, "ServiceName": service if id_ else "", "Status": status}


def test_in_a_watch_of_checks_a_bad_one_counts_against_its_instance_alone() -> None:
    good = [check("n1", "", "passing"), check("n1", "a", "passing"), check("n1", "b", "critical")]
    more = [check("n2", "", "passing"), check("n2", "c", "passing"), check("n2", "d", "passing")]

    def told(*checks: Any) -> tuple[list[str], list[tuple[int, str]]]:
        (event,) = watch(list(checks), type="checks").events
        return [each.id for each in event.statements], [(each.index, each.id) for each in event.refused]

    assert told(*good, *more) == (["a", "b", "c", "d"], [])
    assert told(*good, *more, check("n1", "b", "fine")) == (["a", "c", "d"], [(6, "b")])
    assert told(*good, *more, check("n1", "e", 7)) == (["a", "b", "c", "d"], [(6, "e")])
    assert told(check("n2", "", "fine"), *good, *more) == (["a", "b"], [(0, "c"), (0, "d")]), "their node's"
    assert told(*good, *more, check("n1", "w", "fine", "web-sidecar-proxy")) == (["a", "b", "c", "d"], []), "not theirs"
    for nobody in (None, check("", "a", "fine"), {**check("n1", "a", "fine"), "ServiceID": 7}):
        with pytest.raises(InvalidInput, match=r"Result\[6\]"):
            told(*good, *more, nobody)


def test_emit_names_them_and_ends_with_a_code_of_its_own(
    store: Store, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "list.json"
    file.write_text(json.dumps(listed(1, instance(1), instance(2, Address="api.internal"))))
    assert run(["emit", "--store", str(path), str(file)]) == 4
    told = capsys.readouterr()
    assert "took effect" in told.out
    assert told.err.startswith('refused: "api-2" on node "node2": [1].Service.Address: "api.internal" is not an IP')
    assert told.err.endswith("the others were accepted\n")
    assert healthy(store) == (1, 1)


def after(*raws: Any, start: Catalog = EMPTY) -> Catalog:
    """The catalog after these events, each delivered twice."""
    catalog = start
    for raw in (*raws, *raws):
        catalog = merge(catalog, parse_event(raw))
    return catalog


def seen(catalog: Catalog) -> dict[str, str]:
    """The status of each instance."""
    return {each["Service"]["ID"]: each["Checks"][0]["Status"] for each in catalog.visible()}
