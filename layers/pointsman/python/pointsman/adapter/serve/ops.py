"""What operators and their tools ask of an adapter over HTTP."""

from collections.abc import Callable, Iterable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pointsman.adapter.serve.metrics import CONTENT_TYPE, Metrics
from pointsman.adapter.serve.rejection import Rejection


def ops(
    metrics: Metrics,
    waiting_for: Callable[[], str],
    config_dump: Callable[[], Any] | None,
    rejections: Callable[[], Iterable[Rejection]] = tuple,
) -> Starlette:
    """The application: `GET /healthz`, `/readyz`, `/metrics`, `/config_dump`, `/rejections`.

    `/healthz` is 200 as long as the process answers. `/readyz` is 200 as soon as there is something to serve, and stays
    so while the store is away: what is served then is the last known good, `/metrics` tells how old it is.
    `waiting_for` is what is missing, "" if nothing is. Without a `config_dump` there are no pages with it and with the
    `rejections`: they show what proxies get, which is not for everybody.
    """
    # Not coroutines: a follower that reads a slow store must not hold up the loop.

    def healthz(request: Request) -> Response:
        return _json({"alive": True})

    def readyz(request: Request) -> Response:
        missing = waiting_for()
        return _json({"ready": not missing, "waiting_for": missing}, 503 if missing else 200)

    def show_metrics(request: Request) -> Response:
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    def dump(request: Request) -> Response:
        return _json(config_dump() if config_dump else {})

    def show_rejections(request: Request) -> Response:
        return _json({"rejections": [each.json() for each in rejections()]})

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", show_metrics)]
    if config_dump:
        routes += [Route("/config_dump", dump), Route("/rejections", show_rejections)]
    return Starlette(routes=routes)


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
