"""The way from the functions to a mocked AWS: what goes wrong on it, how long it takes, and who asked for what."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.awsrequest import AWSPreparedRequest

from tests.store.wire import Answer, Wire


@dataclass(frozen=True, slots=True)
class Trip:
    """One request to S3: `time.perf_counter` at both ends."""

    method: str
    path: str
    began: float
    ended: float


@dataclass
class AwsWire(Wire):
    """A Wire that tells S3 from the other services.

    `delay` is the seconds that every request to S3 takes beside the mock's own time; requests made at the same time
    take it at the same time. `before` is asked before each request to S3, with method and path, and may raise.
    """

    delay: float = 0.0
    before: Callable[[str, str], object] = lambda method, path: None
    trips: list[Trip] = field(default_factory=list)
    _noting: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, pass_on: Callable[[AWSPreparedRequest], Any], request: AWSPreparedRequest) -> Answer:
        where = urlsplit(request.url)
        if not (where.hostname or "").startswith("s3.") and ".s3." not in (where.hostname or ""):
            return self._elsewhere(pass_on, request)
        path = unquote(where.path) + ("?list" if "list-type" in where.query else "")
        began = time.perf_counter()
        self.before(request.method, path)
        if self.delay:
            time.sleep(self.delay)
        try:
            return super().__call__(pass_on, request)
        finally:
            with self._noting:
                self.trips.append(Trip(request.method, path, began, time.perf_counter()))

    def _elsewhere(self, pass_on: Callable[[AWSPreparedRequest], Any], request: AWSPreparedRequest) -> Answer:
        """Another service's answer. A long poll of SQS delays no other request, as the mock itself would."""
        asked = (
            _body(request)
            # botocore sends bytes, another process text.
            if request.headers.get("X-Amz-Target") in (b"AmazonSQS.ReceiveMessage", "AmazonSQS.ReceiveMessage")
            else {}
        )
        deadline = time.monotonic() + asked.get("WaitTimeSeconds", 0)
        if asked:
            request.body = json.dumps(asked | {"WaitTimeSeconds": 0}).encode()
        while True:
            with self.lock:
                answer: Answer = pass_on(request)
            if not asked or answer[0] != 200 or "Messages" in _text(answer) or time.monotonic() >= deadline:
                return answer
            time.sleep(0.005)

    def reset(self) -> None:
        """End the failures."""
        self.faults.clear()
        self.before = lambda method, path: None
        self.delay = 0.0

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Every request to S3 takes `seconds` more, and the trips made inside are the only ones noted."""
        self.trips.clear()
        self.delay = seconds
        try:
            yield
        finally:
            self.delay = 0.0


def _body(request: AWSPreparedRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.body)
    return found


def _text(answer: Answer) -> str:
    return answer[2].decode() if isinstance(answer[2], bytes) else answer[2]


def one_after_another(trips: list[Trip]) -> int:
    """The longest chain of requests of which each began after the one before had ended: what latency multiplies."""
    chain, end = 0, float("-inf")
    for trip in sorted(trips, key=lambda trip: trip.ended):
        if trip.began >= end:
            chain, end = chain + 1, trip.ended
    return chain


def rounds(trips: list[Trip]) -> list[tuple[str, int]]:
    """What goes together: by method and number, the requests of which none waits for another of its round.

    Fails where one round begins before the one before has ended.
    """
    found: list[tuple[str, int]] = []
    ended = before = float("-inf")
    for trip in sorted(trips, key=lambda trip: trip.began):
        if not found or found[-1][0] != trip.method:
            found.append((trip.method, 0))
            before = ended
        assert trip.began >= before, f"{trip.path} begins before all of what it depends on is there"
        found[-1] = (trip.method, found[-1][1] + 1)
        ended = max(ended, trip.ended)
    return found
