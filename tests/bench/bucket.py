"""A failover on S3, where each request takes 20 ms: the function that ingests, warm, against its requests alone."""

import contextlib
import io
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

from tests.aws.aws_wire import one_after_another
from tests.aws.harness import Aws, sqs_event
from tests.aws.mesh import health, start
from tests.aws.test_path import LATENCY, SLOW, requests_alone
from tests.bench.table import Beside, Measured
from tests.pipeline.meshes import instance, resolver, sidecar

BATCH = 10
"""Records that a function gets together."""

LONE_GOAL_MS, BATCH_GOAL_MS = 130.0, 200.0
MOST_ROUND_TRIPS = 6


def measure(rounds: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """One event, ten about one service, and one each about ten services."""
    # The functions log to stdout, where the table goes.
    with contextlib.redirect_stdout(io.StringIO()):
        found = list(_measured(rounds, progress))
    yield from found


def _measured(rounds: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    services = [f"b{number}" for number in range(BATCH)]
    batches: dict[str, tuple[Sequence[str], float]] = {
        "a failover event on S3 with 20 ms a request": (services[:1], LONE_GOAL_MS),
        f"  a batch of {BATCH} of one service": (services[:1] * BATCH, BATCH_GOAL_MS),
        f"  a batch of {BATCH} of {BATCH} services": (services, BATCH_GOAL_MS),
    }
    with Aws() as aws:
        start(aws)
        failover = {"*": {"Datacenters": ["dc2"]}}
        documents = [*(resolver(each, Failover=failover) for each in services), sidecar("web", *services)]
        assert aws.request("Configure", "PUT", "/v1/config", documents)[0] == 200
        for service, datacenter in itertools.product(services, ("dc1", "dc2")):
            aws.put_event(health(service, [instance(service, 1)], datacenter))
        assert aws.pump() == 0
        turns = itertools.count()
        failed = dict.fromkeys(services, False)
        for what, (about, goal) in batches.items():
            took, alone = [], []
            for _ in range(rounds):
                took.append(_failover(aws, about, failed, LATENCY)[0] * 1e3)
                alone.append(requests_alone(aws, next(turns)) * 1e3)
            progress(f"{what.strip()}: " + ", ".join(f"{each:.0f}" for each in took) + " ms")
            beside = Beside("the requests of one alone", statistics.median(alone))
            yield Measured(what, statistics.median(took), "ms", goal, beside=beside)
            yield Measured(
                "    round trips, one after another", _failover(aws, about, failed, SLOW)[1], "", MOST_ROUND_TRIPS
            )


def _failover(aws: Aws, about: Sequence[str], failed: dict[str, bool], latency: float) -> tuple[float, int]:
    """Seconds in which a warm function takes in one batch, and its requests one after another.

    The last event about a service fails it, or ends that if it has `failed`; those before it say other things.
    """
    for service in set(about):
        failed[service] = not failed[service]
    for number, service in enumerate(about):
        status = "critical" if failed[service] else "passing"
        last = service not in about[number + 1 :]
        aws.put_event(health(service, [instance(service, 1, status, version="v1" if last else f"v{number}")]))
    records = sqs_event(aws.messages("Queue"), aws.stack.attributes["Queue", "Arn"])
    assert len(records["Records"]) == len(about)
    ingest = aws.handler("Ingest")
    with aws.wire.slow(latency):
        began = time.perf_counter()
        assert ingest(records) == {"batchItemFailures": []}
        took = time.perf_counter() - began
    return took, one_after_another(list(aws.wire.trips))
