"""The HTTP endpoint of `pointsman up`: health events and Consul watches in, status out."""

import asyncio
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from logging import getLogger
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from pointsman.adapter.report.metrics import Metrics
from pointsman.adapter.report.rejection import Rejection
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.sources.consul_watch import watch_event
from pointsman.model.sources.recognise import DEFAULTS, SourceSettings, read_events
from pointsman.model.sources.text import MOST_BYTES, read_json
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.status import status
from pointsman.pipeline.told import answer, remarks
from pointsman.serve.body import BodyRefused, ClientGone, read_body
from pointsman.store.protocol import StoreUnavailable

_log = getLogger(__name__)

MOST_WAITING = 256 * 1024 * 1024
"""Bytes of all events that have come and are not taken in yet."""

_JSON = re.compile(r"application/(json|[a-z0-9!#$&^_.+-]+\+json)\Z")


def intake(
    engine: Engine,
    report: Callable[[str], None],
    settings: SourceSettings = DEFAULTS,
    *,
    rejections: Callable[[], Iterable[Rejection]] = tuple,
    others: ASGIApp | None = None,
    takers: int = 16,
    metrics: Metrics | None = None,
) -> Starlette:
    """The application: `POST /v1/events`, `POST /v1/consul/watch`, `GET /v1/status`.

    An event of any shape that `read_events` knows, or the bare result of a Consul watch with what was watched in the
    URL's parameters. It is answered 200 once it is durable and published, or if it says nothing of an instance
    (`ignored` then has the reasons), or nothing that is believed (`stale`); 400 with the reasons if it is invalid
    (sending it again cannot help), 413 if it is too large, 415 if it is not said to be JSON (a page in a browser cannot
    say so of what it sends elsewhere), 503 if the store is away or too much is waiting (send it again). `report` is
    told of what went wrong, one line each.

    The status has the `rejections` of the Envoys that fetch from this process. `others` answers every other path.
    `takers` events are taken in at a time: one where the store is a file, which takes one write at a time anyway (on
    two cores 690 events a second by one thread, 480 by sixteen), more where it is far away. `metrics` count what is
    taken in without its full effect.
    """

    taking = ThreadPoolExecutor(takers, "intake")
    waiting = 0

    async def events(request: Request) -> Response:
        return await receive(request, lambda body: body)

    async def consul_watch(request: Request) -> Response:
        parameters, index = dict(request.query_params), request.headers.get("x-consul-index")
        return await receive(request, partial(watch_event, parameters, index))

    async def receive(request: Request, event_of: Callable[[Any], Any]) -> Response:
        nonlocal waiting
        told, _, _ = request.headers.get("content-type", "").partition(";")
        if not _JSON.match(told.strip().lower()):
            reason = f'the content type is "{told[:100]}"' if told else "there is no content type"
            return _answer(415, {"error": f"{reason}; say that it is JSON: -H 'content-type: application/json'"})
        try:
            body = await read_body(request.scope, request.receive, MOST_BYTES, "send single instances")
        except ClientGone:
            return Response(status_code=400)
        except BodyRefused as error:
            return _answer(error.status, {"error": str(error)})
        if waiting + len(body) > MOST_WAITING:
            return _later("too many events are waiting; send it again")
        size, take = len(body), partial(_take_in, engine, body, event_of, settings, report, metrics)
        del body
        waiting += size
        try:
            return await asyncio.get_running_loop().run_in_executor(taking, _guarded, take, report)
        finally:
            waiting -= size

    async def show(request: Request) -> Response:
        return await run_in_threadpool(_guarded, lambda: _answer(200, told()), report)

    def told() -> dict[str, Any]:
        return status(engine).json() | {"rejections": [each.json() for each in rejections()]}

    return Starlette(
        routes=[
            Route("/v1/events", events, methods=["POST"]),
            Route("/v1/consul/watch", consul_watch, methods=["POST"]),
            Route("/v1/status", show),
            *([Mount("/", others)] if others else []),
        ]
    )


def _take_in(
    engine: Engine,
    body: bytes,
    event_of: Callable[[Any], Any],
    settings: SourceSettings,
    report: Callable[[str], None],
    metrics: Metrics | None,
) -> Response:
    reading = read_events(event_of(read_json(body)), settings)
    told = answer(reading, [ingest(engine, event) for event in reading.events])
    for line in remarks(told):
        report(line)
    if metrics is not None:
        metrics.events_stale.inc(len(told["stale"]))
        metrics.instances_refused.inc(len(told["refused"]))
    return _answer(200, told)


def _guarded(run: Callable[[], Response], report: Callable[[str], None]) -> Response:
    try:
        return run()
    except InvalidInput as error:
        report(f"refused: {error}")
        return _answer(400, {"error": str(error), "problems": [str(problem) for problem in error.problems]})
    except StoreUnavailable as error:
        report(str(error))
        return _later(str(error))
    except PointsmanError as error:
        report(str(error))
        return _answer(500, {"error": str(error)})
    except MemoryError:
        report("out of memory: what was sent is not taken in")
        return _later("out of memory; send it again")
    except Exception as error:
        _log.exception("a request could not be answered")
        return _answer(500, {"error": f"a defect of ours, which the log has: {type(error).__name__}"})


def _later(reason: str) -> Response:
    return _answer(
        503, {"error": reason if reason.endswith("again") else f"{reason}; send it again"}, {"retry-after": "1"}
    )


def _answer(code: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), code, headers, media_type="application/json")
