"""A failover on S3, where each request takes 20 ms: the function that ingests, warm, against its requests alone.

The bucket is SeaweedFS's, in a process of its own: a mock in this one would take more of its core than the function.
"""

import contextlib
import io
import itertools
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from botocore.awsrequest import AWSPreparedRequest
from botocore.httpsession import URLLib3Session
from pointsman.store.open import open_bucket
from pointsman.store.protocol import Write

from tests.aws.aws_wire import Trip, one_after_another
from tests.aws.harness import Aws, Handler
from tests.aws.mesh import health
from tests.aws.test_path import LATENCY, SLOW
from tests.bench.table import Beside, Measured
from tests.fleet.process import Ports
from tests.fleet.seaweedfs import SeaweedFS
from tests.pipeline.meshes import gateway, gateway_instance, instance, proxy_defaults, resolver, sidecar

BATCH = 10
"""Records that a function gets together."""

LONE_GOAL_MS, BATCH_GOAL_MS = 130.0, 200.0
MOST_ROUND_TRIPS = 6


def measure(directory: Path, rounds: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """One event, ten about one service, and one each about ten services."""
    # The functions log to stdout, where the table goes.
    with contextlib.redirect_stdout(io.StringIO()):
        found = list(_measured(directory, rounds, progress))
    yield from found


def _measured(directory: Path, rounds: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    services = [f"b{number}" for number in range(BATCH)]
    batches: dict[str, tuple[Sequence[str], float]] = {
        "a failover event on S3 with 20 ms a request": (services[:1], LONE_GOAL_MS),
        f"  a batch of {BATCH} of one service": (services[:1] * BATCH, BATCH_GOAL_MS),
        f"  a batch of {BATCH} of {BATCH} services": (services, BATCH_GOAL_MS),
    }
    with Ports() as ports, SeaweedFS(directory, ports) as server:
        server.wait_ready()
        bucket = server.bucket("bench")
        with Aws() as aws, patch.dict("os.environ", bucket.environment | {"AWS_SESSION_TOKEN": ""}), _Wire() as wire:
            aws.variables |= {"POINTSMAN_STORE": bucket.url}
            failover = {"*": {"Datacenters": ["dc2"]}}
            documents = [
                *(proxy_defaults(mode="local"), gateway("dc1"), gateway("dc2"), sidecar("web", *services)),
                *(resolver(each, Failover=failover) for each in services),
            ]
            code, answer = aws.request("Configure", "PUT", "/v1/config", documents)
            assert code == 200, answer
            ingest = aws.handler("Ingest")
            for datacenter in ("dc1", "dc2"):
                _take_in(ingest, [health(None, [gateway_instance()], datacenter)])
                _take_in(ingest, [health(service, [instance(service, 1)], datacenter) for service in services])
            failed = dict.fromkeys(services, False)
            for what, (about, goal) in batches.items():
                took, alone, cpu = [], [], []
                for _ in range(rounds):
                    take_in = partial(_take_in, ingest, _failover(about, failed))
                    began = time.process_time()
                    took.append(wire.timed(LATENCY, take_in) * 1e3)
                    cpu.append((time.process_time() - began) * 1e3)
                    alone.append(_requests_alone(bucket.url, wire) * 1e3)
                progress(f"{what.strip()}: " + ", ".join(f"{each:.0f}" for each in took) + " ms")
                beside = Beside("the requests of one alone", statistics.median(alone))
                yield Measured(what, statistics.median(took), "ms", goal, beside=beside)
                yield Measured("    CPU", statistics.median(cpu), "ms")
                wire.timed(SLOW, partial(_take_in, ingest, _failover(about, failed)))
                trips = one_after_another(wire.trips)
                yield Measured("    round trips, one after another", trips, "", MOST_ROUND_TRIPS)


class _Wire:
    """The way from all clients of this process to the bucket, on which requests can be made to take longer."""

    def __init__(self) -> None:
        self.trips: list[Trip] = []
        self._delay = 0.0
        self._noting = threading.Lock()
        self._held = contextlib.ExitStack()

    def __enter__(self) -> "_Wire":
        send = URLLib3Session.send

        def slow(session: URLLib3Session, request: AWSPreparedRequest) -> Any:
            began = time.perf_counter()
            time.sleep(self._delay)
            answer = send(session, request)
            with self._noting:
                self.trips.append(Trip(request.method, request.url, began, time.perf_counter()))
            return answer

        self._held.enter_context(patch.object(URLLib3Session, "send", slow))
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def timed(self, delay: float, action: Callable[[], object]) -> float:
        """Seconds that `action` takes where every request takes `delay` seconds more; `trips` are those it made."""
        self.trips.clear()
        self._delay = delay
        began = time.perf_counter()
        action()
        took = time.perf_counter() - began
        self._delay = 0.0
        return took


def _take_in(ingest: Handler, events: Sequence[Any]) -> None:
    records = [
        {"messageId": str(number), "body": json.dumps(event), "eventSource": "aws:sqs", "attributes": {}}
        for number, event in enumerate(events)
    ]
    assert ingest({"Records": records}) == {"batchItemFailures": []}


def _failover(about: Sequence[str], failed: dict[str, bool]) -> list[Any]:
    """The events of one batch.

    The last event about a service fails it, or ends that if it has `failed`; those before it say other things.
    """
    for service in set(about):
        failed[service] = not failed[service]
    events = []
    for number, service in enumerate(about):
        status = "critical" if failed[service] else "passing"
        last = service not in about[number + 1 :]
        events.append(health(service, [instance(service, 1, status, version="v1" if last else f"v{number}")]))
    return events


def _requests_alone(url: str, wire: _Wire) -> float:
    """Seconds that the store takes for as many requests as a failover needs, as many of them at a time."""
    store = open_bucket(url)
    turn = next(_turns)
    written = [f"alone/{turn}/{number}" for number in range(5)]
    found = {each.key: each.etag for each in store.put_many([Write(key, bytes(1500), None) for key in written])}

    def requests() -> None:
        store.get_many(written[:2])
        store.put(Write(written[0], bytes(1500), found[written[0]]))
        store.get_many([*written, *(f"absent/{number}" for number in range(5))])
        store.put_many([Write(key, bytes(1501), found[key]) for key in written[1:]])

    took = wire.timed(LATENCY, requests)
    store.close()
    return took


_turns = itertools.count()
