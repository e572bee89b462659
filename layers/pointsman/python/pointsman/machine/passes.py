"""Passes: all waiting events are ingested together, one pass after another."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from logging import getLogger
from typing import Any

import orjson
from starlette.responses import Response

from pointsman.adapter.report.metrics import Metrics
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.events import HealthEvent
from pointsman.model.sources.reading import Reading
from pointsman.model.sources.recognize import SourceSettings, read_events
from pointsman.model.sources.task_tags import TaskTags
from pointsman.model.sources.text import read_json
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import Ingested, ingest_all
from pointsman.pipeline.settle import Unsettled
from pointsman.pipeline.task_lists import expanded
from pointsman.pipeline.told import answer, remarks
from pointsman.store.protocol import StoreUnavailable

_log = getLogger(__name__)

MOST_WAITING_BYTES = 256 * 1024 * 1024
"""Bytes of all events that wait to be ingested."""

MOST_TOGETHER = 500
"""Requests in one pass."""

MOST_TOGETHER_BYTES = 16 * 1024 * 1024
"""Bytes of the bodies in one pass of several requests."""

PASS_SECONDS = 5.0
"""Seconds after which a pass starts no further step. Its remaining events are ingested one by one."""


def without_tags(missing: TaskTags) -> Any:
    """The event of a task without tags."""
    return missing.filled(())


class Forbidden(PointsmanError):
    """Whoever sent an event may not say what it says."""


@dataclass(slots=True)
class _Waiting:
    body: bytes
    event_of: Callable[[Any], Any]
    check: Callable[[HealthEvent], None]
    response: "asyncio.Future[Response]"


class Passes:
    """Ingests events into `engine`, all waiting ones at once.

    No event waits for further ones: if no pass is running, it starts one. Each event of a pass has its own answer.
    `report` is called with one line for each error, `with_tags` for a task whose tags decide whose instance it is.

    Use it from one event loop; the passes run in a thread of their own, one at a time.
    """

    def __init__(
        self,
        engine: Engine,
        report: Callable[[str], None],
        settings: SourceSettings,
        metrics: Metrics | None = None,
        with_tags: Callable[[TaskTags], Any] = without_tags,
    ) -> None:
        self._engine, self._report, self._settings, self._metrics = engine, report, settings, metrics
        self._with_tags = with_tags
        self._thread = ThreadPoolExecutor(1, "intake")
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._running = False

    async def take(
        self, body: bytes, event_of: Callable[[Any], Any], check: Callable[[HealthEvent], None] = lambda event: None
    ) -> Response:
        """Ingest what `event_of` makes of the JSON in `body`, if `check` does not raise Forbidden for one of its
        events. Returns the answer to the sender.

        The answer is 503 if MOST_WAITING_BYTES are waiting already.
        """
        if self._bytes + len(body) > MOST_WAITING_BYTES:
            return later("too many events are waiting; send it again")
        waiting = _Waiting(body, event_of, check, asyncio.get_running_loop().create_future())
        self._bytes += len(body)
        self._waiting.append(waiting)
        if not self._running:
            self._begin()
        return await waiting.response

    def _begin(self) -> None:
        together = [self._waiting.popleft()]
        size = len(together[0].body)
        while self._waiting and len(together) < MOST_TOGETHER:
            size += len(self._waiting[0].body)
            if size > MOST_TOGETHER_BYTES:
                break
            together.append(self._waiting.popleft())
        self._running = True
        done = asyncio.get_running_loop().run_in_executor(self._thread, self._take_in, together)
        done.add_done_callback(partial(self._end, together))

    def _end(self, together: Sequence[_Waiting], done: "asyncio.Future[list[Response]]") -> None:
        self._running = False
        self._bytes -= sum(len(each.body) for each in together)
        for waiting, response in zip(together, done.result(), strict=True):
            if not waiting.response.done():  # the sender may have disconnected
                waiting.response.set_result(response)
        if self._waiting:
            self._begin()

    def _take_in(self, together: Sequence[_Waiting]) -> list[Response]:
        """Run one pass. Returns the answer to each. Raises nothing."""
        readings = [self._read(each) for each in together]
        events = [event for reading in readings if isinstance(reading, Reading) for event in reading.events]
        outcomes = iter(self._ingest(events))
        responses = []
        for reading in readings:
            done = [next(outcomes) for _ in reading.events] if isinstance(reading, Reading) else []
            responses.append(guarded(partial(self._respond, reading, done), self._report))
        return responses

    def _read(self, waiting: _Waiting) -> Reading | Exception:
        try:
            reading = read_events(waiting.event_of(read_json(waiting.body)), self._settings)
            if isinstance(reading.missing, TaskTags):
                reading = read_events(self._with_tags(reading.missing), self._settings)
            reading = expanded(self._engine, reading)
            for event in reading.events:
                waiting.check(event)
            return reading
        except Exception as error:
            return error

    def _ingest(self, events: Sequence[HealthEvent]) -> list[Ingested | Exception]:
        end = time.monotonic() + PASS_SECONDS
        done = ingest_all(self._engine, events, lambda: time.monotonic() < end)
        if time.monotonic() < end or len(events) == 1:
            return done
        return [
            ingest_all(self._engine, [event])[0] if isinstance(one, Unsettled) else one
            for event, one in zip(events, done, strict=True)
        ]

    def _respond(self, reading: Reading | Exception, done: Sequence[Ingested | Exception]) -> Response:
        if isinstance(reading, Exception):
            raise reading
        ingested: list[Ingested] = []
        for each in done:
            if isinstance(each, Exception):
                raise each
            ingested.append(each)
        told = answer(reading, ingested)
        for line in remarks(told):
            self._report(line)
        if self._metrics is not None:
            self._metrics.events_stale.inc(len(told["stale"]))
            self._metrics.instances_refused.inc(len(told["refused"]))
        return json_response(200, told)


def guarded(run: Callable[[], Response], report: Callable[[str], None]) -> Response:
    """The answer from `run`; if it raises, an answer with the reason, and a line to `report`."""
    try:
        return run()
    except InvalidInput as error:
        report(f"refused: {error}")
        return json_response(400, {"error": str(error), "problems": [str(problem) for problem in error.problems]})
    except Forbidden as error:
        report(f"turned away: {error}")
        return json_response(403, {"error": str(error)})
    except StoreUnavailable as error:
        report(str(error))
        return later(str(error))
    except PointsmanError as error:
        report(str(error))
        return json_response(500, {"error": str(error)})
    except MemoryError:
        report("out of memory: an event was not ingested")
        return later("out of memory; send it again")
    except Exception as error:
        _log.exception("a request could not be answered")
        return json_response(500, {"error": f"a defect of ours, which the log has: {type(error).__name__}"})


def later(reason: str) -> Response:
    """The answer 503: the sender may try again."""
    text = reason if reason.endswith("again") else f"{reason}; send it again"
    return json_response(503, {"error": text}, {"retry-after": "1"})


def json_response(code: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """An answer with `body` as JSON."""
    return Response(orjson.dumps(body), code, headers, media_type="application/json")
