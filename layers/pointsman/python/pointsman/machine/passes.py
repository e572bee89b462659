"""Passes: all waiting events are ingested together, one pass after another."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock

from pointsman.adapter.report.metrics import Metrics
from pointsman.api.events import answered
from pointsman.api.refusals import guarded, later
from pointsman.api.request import Answer, Api, Request
from pointsman.model.events import HealthEvent
from pointsman.model.sources.reading import Reading
from pointsman.pipeline.ingest import Ingested, ingest_all
from pointsman.pipeline.settle import Unsettled
from pointsman.pipeline.told import remarks
from pointsman.serve.turning import Turning

MOST_WAITING_BYTES = 256 * 1024 * 1024
"""Bytes of all events that wait to be ingested."""

MOST_TOGETHER = 500
"""Requests in one pass."""

MOST_TOGETHER_BYTES = 16 * 1024 * 1024
"""Bytes of the bodies in one pass of several requests."""

PASS_SECONDS = 5.0
"""Seconds after which a pass starts no further step. Its remaining events are ingested one by one."""


Reads = Callable[[Api, Request], Reading]
"""Reads the events in a request. It may raise."""


@dataclass(slots=True)
class _Waiting:
    request: Request
    reads: Reads
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Answer]"
    arrived: float

    @property
    def size(self) -> int:
        """Bytes of its body."""
        return len(self.request.body)

    def give(self, answer: Answer) -> None:
        """Answer it. Only on its loop."""
        if not self.answer.done():  # the sender may have disconnected
            self.answer.set_result(answer)


class Passes:
    """Ingests the events in requests to `api`, all waiting ones at once.

    No event waits for further ones: if no pass is running, it starts one. Each request of a pass has its own answer.
    `report` is called with one line for everything beyond plain success.

    Several event loops may use it; the passes run in a thread of their own, one at a time.
    """

    def __init__(self, api: Api, report: Callable[[str], None], metrics: Metrics | None = None) -> None:
        self._api, self._report, self._metrics = api, report, metrics
        self._thread = ThreadPoolExecutor(1, "intake")
        # The servers of one process have a loop each.
        self._lock = Lock()
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._running = False
        self._turning = Turning()

    @property
    def stands_still(self) -> str:
        """For how long the current pass has made no progress; "" if that is not too long."""
        return self._turning.stands_still

    async def take(self, request: Request, reads: Reads) -> Answer:
        """Ingest what `reads` reads in `request`. Returns the answer to the sender.

        It is 503 if MOST_WAITING_BYTES are waiting already.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, reads, loop, loop.create_future(), time.monotonic())
        with self._lock:
            if self._bytes + waiting.size > MOST_WAITING_BYTES:
                return later("too many events are waiting")
            self._bytes += waiting.size
            self._waiting.append(waiting)
            idle, self._running = not self._running, True
        if idle:
            self._begin()
        return await waiting.answer

    def _begin(self) -> None:
        """Begin a pass, on the loop of the first that waits: that one lasts until its request is answered."""
        with self._lock:
            together = [self._waiting.popleft()]
            size = together[0].size
            while self._waiting and len(together) < MOST_TOGETHER:
                size += self._waiting[0].size
                if size > MOST_TOGETHER_BYTES:
                    break
                together.append(self._waiting.popleft())
        done = together[0].loop.run_in_executor(self._thread, self._take_in, together)
        done.add_done_callback(partial(self._end, together))

    def _end(self, together: Sequence[_Waiting], done: "asyncio.Future[list[Answer]]") -> None:
        here = together[0].loop
        with self._lock:
            self._bytes -= sum(each.size for each in together)
            following = self._waiting[0].loop if self._waiting else None
            self._running = following is not None
        for waiting, answer in zip(together, done.result(), strict=True):
            _on(waiting.loop, here, partial(waiting.give, answer))
        if following is not None:
            _on(following, here, self._begin)

    def _take_in(self, together: Sequence[_Waiting]) -> list[Answer]:
        """Run one pass. Returns the answer to each. Raises nothing."""
        self._turning.goes_on()
        readings = [self._read(each) for each in together]
        events = [event for reading in readings if isinstance(reading, Reading) for event in reading.events]
        outcomes = iter(self._ingest(events))
        answers, taken = [], 0
        for waiting, reading in zip(together, readings, strict=True):
            done = [next(outcomes) for _ in reading.events] if isinstance(reading, Reading) else []
            answers.append(guarded(partial(self._respond, reading, done)))
            taken += self._count(answers[-1], reading, time.monotonic() - waiting.arrived)
        if self._metrics is not None:
            self._metrics.events_taken.inc(taken)
        self._turning.rests()
        return answers

    def _read(self, waiting: _Waiting) -> Reading | Exception:
        try:
            return waiting.reads(self._api, waiting.request)
        except Exception as error:
            return error

    def _ingest(self, events: Sequence[HealthEvent]) -> list[Ingested | Exception]:
        end = time.monotonic() + PASS_SECONDS
        done = ingest_all(self._api.engine, events, lambda: time.monotonic() < end)
        if time.monotonic() < end or len(events) == 1:
            return done
        return [
            self._ingest_one(event) if isinstance(one, Unsettled) else one
            for event, one in zip(events, done, strict=True)
        ]

    def _ingest_one(self, event: HealthEvent) -> Ingested | Exception:
        self._turning.goes_on()
        return ingest_all(self._api.engine, [event])[0]

    def _respond(self, reading: Reading | Exception, done: Sequence[Ingested | Exception]) -> Answer:
        if isinstance(reading, Exception):
            raise reading
        answer = answered(reading, done, self._api.engine.era)
        if answer.status == 200 and (lines := remarks(answer.body)):
            for line in lines:
                self._report(line)
            if self._metrics is not None:
                self._metrics.events_stale.inc(len(answer.body["stale"]))
                self._metrics.instances_refused.inc(len(answer.body["refused"]))
                ingested = [each for each in done if isinstance(each, Ingested)]
                self._metrics.events_doubted.inc(sum(bool(each.doubt) for each in ingested))
                self._metrics.sources_shared.inc(sum(bool(each.shared) for each in ingested))
        return answer

    def _count(self, answer: Answer, reading: Reading | Exception, seconds: float) -> int:
        """Count what became of a request that arrived so many seconds ago. Returns how many events it brought."""
        metrics = self._metrics
        if metrics is None:
            return 0
        if answer.status != 200 or isinstance(reading, Exception):
            (metrics.events_failed if answer.status >= 500 else metrics.events_refused).inc()
            return 0
        if answer.body["moved"]:
            metrics.event_to_publish.observe(seconds)
        return len(reading.events)


def _on(loop: asyncio.AbstractEventLoop, here: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call `call` on `loop`, where `here` is the loop that runs."""
    if loop is here:
        call()
    else:
        # A loop that has ended has nobody left to answer.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(call)
