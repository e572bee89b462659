"""What a real Consul answered, Pointsman answers: every recorded case is a promise."""

import gzip
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Chain, Node, ResolverNode, SplitterNode
from pointsman.chain.upstream import upstream_chain
from pointsman.cli.situation import render_situation
from pointsman.model.entries import parse_entry
from pointsman.model.registration import parse_registration

from tests.conformance.check import differences

JSON = dict[str, Any]
RECORDED = Path(__file__).parent
MOST_YARDSTICKS = 4

FOREIGN_REJECTIONS = {"mesh-gateway-99": (0, 2)}
"""Writes whose recorded rejection does not follow from their case, by the case's name.

Consul refused the service-defaults of api and of cache there because a discovery chain has both services in it. But no
entry of the case leads from the one to the other, neither before those writes nor after them: the recorded Consul still
held an entry of an earlier case. All else that the case recorded is compared.
"""


def recorded(name: str) -> list[JSON]:
    with gzip.open(RECORDED / f"{name}_cases.jsonl.gz") as lines:
        return [orjson.loads(line) for line in lines]


SIDECARS = recorded("resolver")
GATEWAYS = recorded("gateway")


def accepted(case: JSON) -> EntrySet:
    return EntrySet.of(parse_entry(write["entry"]) for write in case["writes"] if write["accepted"])


@pytest.mark.parametrize("case", SIDECARS + GATEWAYS, ids=lambda case: case["name"])
def test_a_proxy_gets_what_consul_sent_it(case: JSON) -> None:
    writes = list(case["writes"])
    for index in FOREIGN_REJECTIONS.get(case["name"], ()):
        assert not writes[index]["accepted"]
        writes[index] = writes[index] | {"accepted": True}

    found = differences(case | {"writes": writes}, render_situation(case))

    if found:
        pytest.fail("\n".join([case["name"], *found]), pytrace=False)


def test_a_refusal_says_at_least_what_consuls_says() -> None:
    compared = 0
    for case in SIDECARS + GATEWAYS:
        reasons = render_situation(case)["reasons"]
        for index, write in enumerate(case["writes"]):
            if not write["accepted"] and index not in FOREIGN_REJECTIONS.get(case["name"], ()):
                ours, compared = reasons[str(index)], compared + 1
                named = re.findall(r'"([a-z0-9]+)"', write["error"])
                assert [name for name in named if f'"{name}"' not in ours] == [], (write["error"], ours)
                assert ours.startswith(f'{write["entry"]["Kind"]} "{write["entry"]["Name"]}": ')
                # The field's path, of which every entry has its own beginnings.
                assert re.match(r'[a-z-]+ "[a-z]+": [A-Z][A-Za-z]+', ours), ours

    assert compared > 400


@pytest.mark.parametrize("case", SIDECARS, ids=lambda case: case["name"])
def test_a_chain_compiles_to_what_consul_compiled(case: JSON) -> None:
    entries = accepted(case)
    proxy = {name: value for name, value in case["proxy"].items() if name not in ("service", "id")}
    sidecar = parse_registration(
        {"Datacenter": case["datacenter"], "Service": {"Kind": "connect-proxy", "Proxy": proxy}}
    )

    seen = {
        upstream.destination_name: as_consul_has_it(upstream_chain(entries, sidecar, upstream))
        for upstream in sidecar.service.proxy.upstreams
    }

    assert seen == {name: comparable(chain) for name, chain in case["chains"].items()}


def as_consul_has_it(chain: Chain) -> JSON:
    return {
        "ServiceName": chain.service.name,
        "Namespace": chain.service.namespace,
        "Datacenter": chain.datacenter,
        "Protocol": chain.protocol,
        "customized": bool(chain.customization),
        "StartNode": chain.start,
        "Nodes": {key: as_consul_has_the_node(node) for key, node in chain.nodes.items()},
        "Targets": {
            key: {
                "ID": found.target.id,
                "Service": found.target.service,
                "ServiceSubset": found.target.subset,
                "Namespace": found.target.namespace,
                "Datacenter": found.target.datacenter,
                "Subset": {"Filter": found.filter, "OnlyPassing": found.only_passing},
                "MeshGateway": {"Mode": found.mode},
            }
            for key, found in chain.targets.items()
        },
    }


def as_consul_has_the_node(node: Node) -> JSON:
    if isinstance(node, ResolverNode):
        resolver = {
            "Target": node.target,
            "Failover": list(node.failover),
            "ConnectTimeout": node.connect_timeout_ms * 1_000_000,
        }
        return {"Type": "resolver", "Name": node.name, "Resolver": resolver}
    if isinstance(node, SplitterNode):
        return {"Type": "splitter", "Name": node.name, "hundredths": {key: weight for weight, key in node.splits}}
    routes = [
        {"Definition": route.model_dump(by_alias=True, exclude_defaults=True), "NextNode": key}
        for route, key in node.routes
    ]
    return {"Type": "router", "Name": node.name, "Routes": [with_service(route, node.name) for route in routes]}


def comparable(recorded_chain: JSON) -> JSON:
    """A recorded chain, with what its JSON leaves out, and without what is particular to Consul: the value of the hash
    (its presence is compared); the note (`Default`) that a service has no resolver; and two splits to the same node,
    which are compared by the node's total share."""
    chain = {name: value for name, value in recorded_chain.items() if name != "CustomizationHash"}
    targets = {
        key: {"ServiceSubset": "", **found}
        | {"Subset": {"Filter": "", "OnlyPassing": False} | found["Subset"]}
        | {"MeshGateway": {"Mode": ""} | found["MeshGateway"]}
        for key, found in chain["Targets"].items()
    }
    nodes = {key: comparable_node(node) for key, node in chain["Nodes"].items()}
    return chain | {"customized": "CustomizationHash" in recorded_chain, "Nodes": nodes, "Targets": targets}


def comparable_node(node: JSON) -> JSON:
    if node["Type"] == "resolver":
        resolver = {name: value for name, value in node["Resolver"].items() if name != "Default"}
        return node | {"Resolver": resolver | {"Failover": resolver.get("Failover", {}).get("Targets", [])}}
    if node["Type"] == "router":
        return node | {"Routes": [with_service(route, node["Name"]) for route in node["Routes"]]}
    shares: dict[str, int] = {}
    for split in node["Splits"]:
        shares[split["NextNode"]] = shares.get(split["NextNode"], 0) + round(split["Weight"] * 100)
    return {"Type": "splitter", "Name": node["Name"], "hundredths": shares}


def with_service(route: JSON, name: str) -> JSON:
    """`route` with its destination's service: the one that it belongs to, if it names none."""
    destination = {"Service": name} | route["Definition"].get("Destination", {})
    return route | {"Definition": route["Definition"] | {"Destination": destination}}


def test_a_case_is_rendered_in_five_milliseconds() -> None:
    """Of an idle machine, where a yardstick of pure Python takes a little over one: others slow both down alike."""

    def yardstick() -> None:
        numbers = {}
        for i in range(10_000):
            numbers[str(i)] = i

    def cpu_seconds(run: Callable[[], object]) -> float:
        start = time.process_time()
        run()
        return time.process_time() - start

    measured = [(cpu_seconds(yardstick), cpu_seconds(partial(render_situation, case))) for case in SIDECARS]
    assert sum(case for _, case in measured) < MOST_YARDSTICKS * sum(stick for stick, _ in measured)
