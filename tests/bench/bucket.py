"""A failover on S3, where each request takes 20 ms: the function that ingests, warm, against its requests alone."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

from tests.aws.aws_wire import one_after_another
from tests.aws.harness import Aws, sqs_event
from tests.aws.mesh import health, start
from tests.aws.test_path import LATENCY, requests_alone
from tests.bench.table import Beside, Measured
from tests.pipeline.meshes import instance, resolver, sidecar

BATCH = 10
"""Records that a function gets together."""

LONE_GOAL_MS, BATCH_GOAL_MS = 130.0, 200.0
MOST_ROUND_TRIPS = 6


def measure(rounds: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """One event, ten about one service, and one each about ten services."""
    services = [f"b{number}" for number in range(BATCH)]
    batches: dict[str, tuple[Sequence[str], float]] = {
        "a failover event on S3 with 20 ms a request": (services[:1], LONE_GOAL_MS),
        f"a batch of {BATCH} of one service": (services[:1] * BATCH, BATCH_GOAL_MS),
        f"a batch of {BATCH} of {BATCH} services": (services, BATCH_GOAL_MS),
    }
    with Aws() as aws:
        start(aws)
        failover = {"*": {"Datacenters": ["dc2"]}}
        documents = [*(resolver(each, Failover=failover) for each in services), sidecar("web", *services)]
        assert aws.request("Configure", "PUT", "/v1/config", documents)[0] == 200
        for service, datacenter in itertools.product(services, ("dc1", "dc2")):
            aws.put_event(health(service, [instance(service, 1)], datacenter))
        assert aws.pump() == 0
        for what, (about, goal) in batches.items():
            took, alone, trips = [], [], []
            for turn in range(rounds):
                seconds, chain = _failover(aws, about, "passing" if turn % 2 else "critical")
                took.append(seconds * 1e3)
                trips.append(chain)
                alone.append(requests_alone(aws, turn) * 1e3)
            progress(f"{what}: " + ", ".join(f"{each:.0f}" for each in took) + " ms")
            beside = Beside("the requests of one alone", statistics.median(alone))
            yield Measured(what, statistics.median(took), "ms", goal, beside=beside)
            yield Measured("  round trips, one after another", max(trips), "", MOST_ROUND_TRIPS)


def _failover(aws: Aws, about: Sequence[str], status: str) -> tuple[float, int]:
    """Seconds in which a warm function takes in one batch, and its requests one after another.

    The last event about a service says `status`; those before it say something else.
    """
    for number, service in enumerate(about):
        last = service not in about[number + 1 :]
        other = instance(service, 1, status) if last else instance(service, 1, status, version=f"v{number}")
        aws.put_event(health(service, [other]))
    records = sqs_event(aws.messages("Queue"), aws.stack.attributes["Queue", "Arn"])
    assert len(records["Records"]) == len(about)
    ingest = aws.handler("Ingest")
    with aws.wire.slow(LATENCY):
        began = time.perf_counter()
        assert ingest(records) == {"batchItemFailures": []}
        took = time.perf_counter() - began
    return took, one_after_another(list(aws.wire.trips))
