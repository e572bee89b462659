"""An adapter's HTTP pages for operators and their tools."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pointsman.adapter.report.metrics import CONTENT_TYPE, Metrics
from pointsman.adapter.report.rejection import Rejection

MOST_AHEAD = 10
"""Envoys that are ahead and named in `/readyz`; `/rejections` names all, `pointsman_unconfirmed` counts them."""


def ops(
    metrics: Metrics,
    waiting_for: Callable[[], str],
    config_dump: Callable[[], Any] | None,
    *,
    rejections: Callable[[], Iterable[Rejection]] = tuple,
    ahead: Callable[[], Sequence[str]] = tuple,
    resets: Callable[[], Sequence[Mapping[str, str]]] = tuple,
    retired: Callable[[], Iterable[Mapping[str, str]]] = tuple,
    ended: Callable[[], str] = str,
    failing: Callable[[], str] = str,
    standing: Callable[[], str] = str,
) -> Starlette:
    """The application: `GET /healthz`, `/readyz`, `/metrics`, `/config_dump`, `/rejections`.

    `/healthz` is 200 while the process works, no part of it has `ended` and none is `standing` still; otherwise 503. If
    one has ended, the process exits by itself; if one stands still, only a restart helps.

    `/readyz` is 200 once there is something to serve, and stays 200 while the store is unavailable: then the last known
    good is served, and `/metrics` shows its age. `/readyz` also shows what is `failing` and tried again, still with
    200, because sending the Envoys elsewhere would not help. `waiting_for` returns what is missing, "" if nothing is.

    `ahead` are the Envoys with something newer than the adapter that the store has not confirmed or denied
    yet; the others are served. `resets` is what went back with the store; `retired` the Envoys that fetch although
    their registration was deleted. Without `config_dump` neither it nor `/rejections` exists: they show what proxies
    get, which is not for everybody.
    """
    # Not coroutines: a follower that reads a slow store must not block the loop.

    def healthz(request: Request) -> Response:
        dead, still = ended(), standing()
        body = {"alive": not (dead or still), "ended": dead, "standing_still": still}
        return _json(body, 200 if body["alive"] else 503)

    def readyz(request: Request) -> Response:
        missing, dead = waiting_for(), ended()
        body = {
            "ready": not (missing or dead),
            "waiting_for": missing,
            "ended": dead,
            "failing": failing(),
            "ahead": list(ahead()[:MOST_AHEAD]),
        }
        return _json(body, 200 if body["ready"] else 503)

    def show_metrics(request: Request) -> Response:
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    def dump(request: Request) -> Response:
        return _json(config_dump() if config_dump else {})

    def show_rejections(request: Request) -> Response:
        found = [each.json() for each in rejections()]
        return _json(
            {"rejections": found, "ahead": list(ahead()), "resets": list(resets()), "retired": list(retired())}
        )

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", show_metrics)]
    if config_dump:
        routes += [Route("/config_dump", dump), Route("/rejections", show_rejections)]
    return Starlette(routes=routes)


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
