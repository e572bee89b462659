"""The HTTP endpoint of `pointsman up`: health events in, status out."""

from collections.abc import Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.events import parse_event
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.status import status
from pointsman.store.protocol import StoreUnavailable

MAX_BODY = 64 * 1024 * 1024
"""Bytes of the largest event: a list of ten thousand instances with long check outputs fits."""


def intake(engine: Engine, report: Callable[[str], None]) -> Starlette:
    """The application: `POST /v1/events`, `GET /v1/status`, `GET /healthz`.

    An event is answered 200 once it is durable and published, 400 with the reasons if it is invalid (sending it again
    cannot help), 413 if it is too large, 503 if the store is away (send it again). `report` is told of what went
    wrong, one line each.
    """

    async def events(request: Request) -> Response:
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return _answer(413, {"error": f"the body is larger than {MAX_BODY} bytes; send single instances"})
        return await run_in_threadpool(_take_in, engine, body, report)

    async def show(request: Request) -> Response:
        return await run_in_threadpool(_guarded, lambda: _answer(200, status(engine).json()), report)

    async def alive(request: Request) -> Response:
        return _answer(200, {"alive": True})

    return Starlette(
        routes=[
            Route("/v1/events", events, methods=["POST"]),
            Route("/v1/status", show),
            Route("/healthz", alive),
        ]
    )


async def _body(request: Request) -> bytes | None:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            return None
        parts.append(part)
    return b"".join(parts)


def _take_in(engine: Engine, body: bytes, report: Callable[[str], None]) -> Response:
    def run() -> Response:
        try:
            event = parse_event(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise InvalidInput.single("event", "", f"is not JSON: {error}") from None
        done = ingest(engine, event)
        moved = [f"{head.plan_key} v{head.version}" for head in done.moved]
        return _answer(200, {"revision": done.revision, "changed": done.changed, "moved": moved})

    return _guarded(run, report)


def _guarded(run: Callable[[], Response], report: Callable[[str], None]) -> Response:
    try:
        return run()
    except InvalidInput as error:
        report(f"refused: {error}")
        return _answer(400, {"error": str(error), "problems": [str(problem) for problem in error.problems]})
    except StoreUnavailable as error:
        report(str(error))
        return _answer(503, {"error": str(error)}, {"retry-after": "1"})
    except PointsmanError as error:
        report(str(error))
        return _answer(500, {"error": str(error)})


def _answer(code: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), code, headers, media_type="application/json")
