"""The path is short: how often one event goes to S3, how often one after another, and what that takes."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pointsman.store.protocol import Write
from pointsman.store.s3 import S3Store

from tests.aws.aws_wire import one_after_another, rounds
from tests.aws.harness import Aws, sqs_event
from tests.aws.mesh import active, health, s2
from tests.pipeline.meshes import instance, resolver, sidecar

LATENCY = 0.02
"""Seconds that a call to S3 takes: what S3 Standard usually does."""

SLOW = 0.4
"""Seconds that it takes where trips are counted: long enough for a busy machine to begin all that go together."""


def weighed(weight: int) -> dict[str, Any]:
    """s2 with another weight for one of its instances."""
    first = instance("s2", 1)
    first["Service"]["Weights"] = {"Passing": weight, "Warning": 1}
    return health("s2", [first, instance("s2", 2), instance("s2", 3)])


def path(aws: Aws, event: Mapping[str, Any], latency: float = SLOW) -> tuple[int, Counter[str], float]:
    """What one event costs a warm function: requests one after another, all by method, and seconds."""
    aws.put_event(event)
    records = sqs_event(aws.messages("Queue"), aws.stack.attributes["Queue", "Arn"])
    ingest = aws.handler("Ingest")
    with aws.wire.slow(latency):
        began = time.perf_counter()
        assert ingest(records) == {"batchItemFailures": []}
        took = time.perf_counter() - began
    trips = [trip for trip in aws.wire.trips if not trip.path.endswith("?list")]
    assert len(trips) == len(aws.wire.trips), "an event lists nothing"
    return one_after_another(trips), Counter(trip.method for trip in trips), took


# Before the merge: the catalog and the config head. After it: the config head again, the catalogs that the plans read
# (s2 in both datacenters, the gateways of dc1), who is silent in both, the orders, the heads of s1's cluster and of the
# gateways' one, their manifest.
READS = 2 + 1 + 3 + 2 + 1 + 2 + 1

EVENTS: dict[str, tuple[Callable[[], dict[str, Any]], int, Mapping[str, int]]] = {
    # The catalog's write falls away; the heads are looked at all the same.
    "what is known already": (s2, 2, {"GET": READS}),
    # The catalog, two heads, and a copy of each superseded version.
    "another weight": (lambda: weighed(7), 4, {"GET": READS, "PUT": 1 + 2 + 2}),
    "a failover": (lambda: s2("critical"), 4, {"GET": READS, "PUT": 1 + 2 + 2}),
}


@pytest.mark.parametrize(("event", "chain", "requests"), EVENTS.values(), ids=EVENTS.keys())
def test_an_event_is_four_round_trips_and_no_more_requests_than_it_has_to_be(
    mesh: Aws, event: Callable[[], dict[str, Any]], chain: int, requests: Mapping[str, int]
) -> None:
    known = s2()
    mesh.put_event(known)
    assert mesh.pump() == 0, "the function is warm, and has the config in hand"
    assert path(mesh, known if event is s2 else event())[:2] == (chain, requests)


def test_a_failover_where_s3_takes_20_ms_takes_little_longer_than_its_requests_alone(mesh: Aws) -> None:
    mesh.put_event(s2())
    assert mesh.pump() == 0
    # What the mock takes depends on the machine and on what else it does. So it is asked for the same requests alone,
    # in turns with the function.
    took, alone = [], []
    for turn in range(120):
        took.append(path(mesh, s2("passing" if turn % 2 else "critical"), LATENCY)[2])
        assert active(mesh) == ("dc1" if turn % 2 else "dc2")
        alone.append(requests_alone(mesh, turn))
        if turn > 4 and min(took) < 1.2 * min(alone):
            break
    print(f"a failover takes {min(took) * 1000:.0f} ms, its requests alone {min(alone) * 1000:.0f} ms")
    assert min(took) < 1.2 * min(alone)


def requests_alone(aws: Aws, turn: int) -> float:
    """Seconds that the store takes for as many requests as a failover needs, as many of them at a time."""
    aws.wire.reset()
    client = aws.client("s3", "test")
    store = S3Store(client, aws.stack.refs["Bucket"])
    written = [f"alone/{turn}/{number}" for number in range(5)]
    store.put_many([Write(key, bytes(1500), None) for key in written])
    found = store.get_many(written)
    with aws.wire.slow(LATENCY):
        began = time.perf_counter()
        store.get_many(written[:2])
        store.put(Write(written[0], bytes(1500), found[written[0]].etag))
        store.get_many([*written, *("manifests/dc1/gateways", "config/head")])
        store.put_many([Write(key, bytes(1501), found[key].etag) for key in written[1:]])
        took = time.perf_counter() - began
    store.close()
    return took


def test_ten_records_of_one_batch_take_as_many_round_trips_as_one(mesh: Aws) -> None:
    mesh.put_event(s2())
    assert mesh.pump() == 0
    for number in range(10):
        first = instance("s2", 1, "critical" if number % 2 else "passing")
        mesh.put_event(health("s2", [first, *(instance("s2", each) for each in (2, 3))], index=100 + number))
    records = sqs_event(mesh.messages("Queue"), mesh.stack.attributes["Queue", "Arn"])
    assert len(records["Records"]) == 10
    ingest = mesh.handler("Ingest")
    with mesh.wire.slow(SLOW):
        assert ingest(records) == {"batchItemFailures": []}
    trips = list(mesh.wire.trips)
    assert (one_after_another(trips), Counter(trip.method for trip in trips)) == (4, {"GET": READS, "PUT": 1 + 2 + 2})


def test_a_lost_race_costs_two_more_round_trips(mesh: Aws) -> None:
    mesh.put_event(s2())
    assert mesh.pump() == 0
    rival = mesh.cold("Ingest")
    raced = False

    def race(method: str, where: str) -> None:
        nonlocal raced
        if method == "PUT" and "/catalog/dc1/service/default/s2" in where and not raced:
            raced = True
            mesh.wire.delay = 0.0
            detail = {"Source": "nomad", "Index": 1, "Datacenter": "dc1", "Service": "s2"}
            other = {"detail": {**detail, "Instance": instance("s2", 9)}}
            body = json.dumps(other)
            rival({"Records": [{"messageId": "rival", "body": body, "eventSource": "aws:sqs", "attributes": {}}]})
            mesh.wire.trips.clear()
            mesh.wire.delay = SLOW

    mesh.wire.before = race
    chain, _, _ = path(mesh, s2("critical"))
    # The read before the write that lost is not among the noted ones any more.
    assert chain == 1 + 2 + 2
    assert raced


def test_a_failover_of_what_200_resolvers_use_is_one_round_of_reading_and_one_of_writing(mesh: Aws) -> None:
    names = [f"r{number}" for number in range(200)]
    failover = {"*": {"Service": "s2", "Datacenters": ["dc1", "dc2"]}}
    documents = [resolver(name, Failover=failover) for name in names]
    assert mesh.request("Configure", "PUT", "/v1/config", [*documents, sidecar("s3", *names)])[0] == 200
    mesh.put_event(s2())
    assert mesh.pump() == 0, "the function has the new config in hand"
    chain, requests, took = path(mesh, s2("critical"), LATENCY)
    # Each has a catalog of its own name, and a head, to read; a head and a copy of the old one to write.
    reads, heads = READS + 2 * 200, 200 + 2
    assert rounds(mesh.wire.trips) == [("GET", 2), ("PUT", 1), ("GET", reads - 2), ("PUT", 2 * heads)]
    assert requests == {"GET": reads, "PUT": 1 + 2 * heads}
    # A round has 48 requests at a time, not each in step with the others.
    assert chain < (requests["GET"] + requests["PUT"]) / 8
    print(f"200 resolvers: {chain} one after another, {dict(requests)}, {took:.2f} s")
    resolvers = mesh.request("Configure", "GET", "/v1/status", dc="dc1")[1]["resolvers"]
    assert {each["active"].rpartition(".")[2] for each in resolvers} == {"dc2"}
