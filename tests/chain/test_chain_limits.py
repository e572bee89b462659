"""Chains of entries, each valid by itself, that are larger than any mesh needs: refused quickly, with the reason."""

import time
from typing import Any

import pytest
from pointsman.chain.compiler import MOST_REDIRECTS, MOST_SPLITS, MOST_SPLITTERS, MOST_TARGETS, compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import SplitterNode
from pointsman.chain.validate import validate
from pointsman.model.complaints import MOST_PROBLEMS
from pointsman.model.entries import key_of
from pointsman.model.errors import Problem
from pointsman.model.names import ServiceName
from pointsman.pipeline.configure import parse_documents

Documents = list[dict[str, Any]]
HTTP: Documents = [{"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}]


def redirects(count: int) -> Documents:
    """As many redirects, one after another."""
    return [{"Kind": "service-resolver", "Name": f"s{i}", "Redirect": {"Service": f"s{i + 1}"}} for i in range(count)]


def circle(count: int) -> Documents:
    """As many redirects, the last to the first."""
    return [*redirects(count - 1), {"Kind": "service-resolver", "Name": f"s{count - 1}", "Redirect": {"Service": "s0"}}]


def row_of_splitters(count: int) -> Documents:
    """As many splitters, one after another."""
    splitters = (
        {"Kind": "service-splitter", "Name": f"s{i}", "Splits": [{"Weight": 100, "Service": f"s{i + 1}"}]}
        for i in range(count)
    )
    return [*HTTP, *splitters]


def layers_of_splitters(layers: int, width: int) -> Documents:
    """Every splitter of a layer leads to every one of the next."""
    assert 10_000 % width == 0
    return [
        *HTTP,
        *(
            {
                "Kind": "service-splitter",
                "Name": f"l{layer}-{i}",
                "Splits": [{"Weight": 100 / width, "Service": f"l{layer + 1}-{j}"} for j in range(width)],
            }
            for layer in range(layers)
            for i in range(width if layer else 1)
        ),
    ]


def fan_of_failovers(routes: int, targets: int) -> Documents:
    """A router to so many services, each with so many targets of failover."""
    resolvers = (
        {"Kind": "service-resolver", "Name": f"s{i}", "Failover": {"*": {"Datacenters": datacenters}}}
        for i in range(routes)
        for datacenters in [[f"d{j}" for j in range(targets)]]
    )
    paths = [{"Match": {"HTTP": {"PathExact": f"/{i}"}}, "Destination": {"Service": f"s{i}"}} for i in range(routes)]
    return [*HTTP, {"Kind": "service-router", "Name": "r", "Routes": paths}, *resolvers]


def problems(documents: Documents) -> tuple[list[Problem], float]:
    """What is wrong with `documents` together, and the CPU seconds that it took to find out."""
    batch = parse_documents(documents)
    start = time.process_time()
    found = validate(EntrySet.of(batch.entries), [key_of(entry) for entry in batch.entries])
    return found, time.process_time() - start


@pytest.mark.parametrize(
    ("most", "beyond", "reason"),
    [
        (redirects(MOST_REDIRECTS), redirects(MOST_REDIRECTS + 1), f"follows more than {MOST_REDIRECTS} redirects"),
        (
            row_of_splitters(MOST_SPLITTERS),
            row_of_splitters(MOST_SPLITTERS + 1),
            f"more than {MOST_SPLITTERS} splitters",
        ),
        (layers_of_splitters(10, 10), layers_of_splitters(12, 10), f"has more than {MOST_SPLITS} splits"),
        (fan_of_failovers(99, 99), fan_of_failovers(101, 100), f"has more than {MOST_TARGETS} targets"),
        ([], redirects(3000), f"follows more than {MOST_REDIRECTS} redirects"),
        ([], circle(3000), f"follows more than {MOST_REDIRECTS} redirects"),
        ([], circle(MOST_REDIRECTS), "detected circular resolver redirect"),
        ([], layers_of_splitters(100, 10), "has more than"),
    ],
    ids=["redirects", "splitters", "splits", "targets", "3000 redirects", "circle", "small circle", "thick layers"],
)
def test_a_chain_has_a_named_end(most: Documents, beyond: Documents, reason: str) -> None:
    assert problems(most)[0] == []
    found, seconds = problems(beyond)
    assert reason in str(found[0])
    assert len(found) <= MOST_PROBLEMS + 1
    assert seconds < 10


def test_what_many_entries_cost_grows_with_their_number() -> None:
    def cost(count: int) -> float:
        hub = [{"Kind": "service-resolver", "Name": f"s{i}", "Redirect": {"Service": "hub"}} for i in range(count)]
        return min(problems(hub)[1] for _ in range(3))

    assert cost(2000) < max(8 * cost(500), 0.1)


def test_splitters_behind_splitters_divide_as_they_say() -> None:
    documents = [
        *HTTP,
        {"Kind": "service-splitter", "Name": "a", "Splits": [{"Weight": 50, "Service": "b"}, {"Weight": 50}]},
        {"Kind": "service-splitter", "Name": "b", "Splits": [{"Weight": 50, "Service": "c"}, {"Weight": 50}]},
        {"Kind": "service-splitter", "Name": "c", "Splits": [{"Weight": 10, "Service": "d"}, {"Weight": 90}]},
    ]
    chain = compile_chain(EntrySet.of(parse_documents(documents).entries), ServiceName("default", "a"), "dc1", "dc1")
    start = chain.nodes[chain.start]
    assert isinstance(start, SplitterNode)
    assert {key.split(":")[1].split(".")[0]: weight for weight, key in start.splits} == {
        "a": 5000, "b": 2500, "c": 2250, "d": 250,
    }  # fmt: skip
