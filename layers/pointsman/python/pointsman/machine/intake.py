"""The HTTP endpoint of `pointsman up`: accepts health events and Consul watches, shows the status."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from logging import getLogger
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.adapter.report.metrics import Metrics
from pointsman.adapter.report.rejection import Rejection
from pointsman.machine.granted import GRANT, check_grant
from pointsman.machine.passes import Passes, guarded, json_response, without_tags
from pointsman.model.sources.consul_watch import watch_event
from pointsman.model.sources.recognize import DEFAULTS, SourceSettings
from pointsman.model.sources.task_tags import TaskTags
from pointsman.model.sources.text import MOST_BYTES
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.status import status
from pointsman.serve.body import BodyRefused, ClientGone, read_body

_log = getLogger(__name__)

_JSON = re.compile(r"application/(json|[a-z0-9!#$&^_.+-]+\+json)\Z")


def intake(
    engine: Engine,
    report: Callable[[str], None],
    settings: SourceSettings = DEFAULTS,
    *,
    rejections: Callable[[], Iterable[Rejection]] = tuple,
    others: ASGIApp | None = None,
    metrics: Metrics | None = None,
    with_tags: Callable[[TaskTags], Any] = without_tags,
) -> ASGIApp:
    """The application: `POST /v1/events`, `POST /v1/consul/watch`, `GET /v1/status`.

    A body is an event in any form that `read_events` accepts, or the result of a Consul watch with the watch's
    parameters in the URL. The answer is 200 when it is durable and published, ignored (with the reasons in `ignored`)
    or `stale`; 400 with the reasons if it is invalid (do not send it again), 413 if it is too large, 415 if its content
    type is not JSON (which a page in a browser cannot set for another server), 503 if the store is unavailable or too
    much is waiting (send it again). `report` is called with one line for each error.

    The status contains the `rejections` of the Envoys that fetch from this process. `others` answers every other path.
    `metrics` count events that were accepted without their full effect. `with_tags` makes of the event of an ECS task
    one with its tags, where the settings ask for them.
    """

    passes = Passes(engine, report, settings, metrics, with_tags)

    def consul_watch(scope: Scope) -> Callable[[Any], Any]:
        request = Request(scope)
        return partial(watch_event, dict(request.query_params), request.headers.get("x-consul-index"))

    doors = {"/v1/events": _Door(passes, lambda scope: _itself), "/v1/consul/watch": _Door(passes, consul_watch)}

    async def show(request: Request) -> Response:
        return await run_in_threadpool(guarded, lambda: json_response(200, told()), report)

    def told() -> dict[str, Any]:
        return status(engine).json() | {"rejections": [each.json() for each in rejections()]}

    rest = Starlette(
        routes=[
            *(Route(path, door, methods=["POST"]) for path, door in doors.items()),
            Route("/v1/status", show),
            *([Mount("/", others)] if others else []),
        ]
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Events are many; Starlette's way to its routes takes a fifth of what answering one over HTTP does.
        door = doors.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        await (door or rest)(scope, receive, send)

    return app


class _Door:
    """Takes events in. `event_of` makes of a request what makes the event of the JSON in its body."""

    def __init__(self, passes: Passes, event_of: Callable[[Scope], Callable[[Any], Any]]) -> None:
        self._passes, self._event_of = passes, event_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(scope, receive)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        told = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"), "")
        if not _JSON.match(told.partition(";")[0].strip().lower()):
            reason = f'the content type is "{told[:100]}"' if told else "there is no content type"
            return json_response(415, {"error": f"{reason}; say that it is JSON: -H 'content-type: application/json'"})
        try:
            body = await read_body(scope, receive, MOST_BYTES, "send single instances")
        except ClientGone:
            return Response(status_code=400)
        except BodyRefused as error:
            return json_response(error.status, {"error": str(error)})
        return await self._passes.take(body, self._event_of(scope), partial(check_grant, scope.get(GRANT)))


def _itself(body: Any) -> Any:
    return body
