"""The local address where applications tell of their checks of kind TTL, with the paths of Consul's agent, and where
supervisors ask how the agent is."""

from typing import Any, Final

from aiohttp import web

from pointsman.agent.agent import Agent
from pointsman.agent.definition import Status

MOST_BODY_BYTES: Final = 64 * 1024
"""Bytes of a request."""

_WORDS: dict[str, Status] = {"pass": "passing", "warn": "warning", "fail": "critical"}
_STATUSES: dict[str, Status] = {each: each for each in _WORDS.values()}
_HERE = {"localhost", "127.0.0.1", "[::1]"}


def application(agent: Agent) -> web.Application:
    """`PUT /v1/agent/check/pass|warn|fail/ID?note=…` and `/v1/agent/check/update/ID` with `{"Status", "Output"}`.

    `GET /ready` answers 200 if each check has a status and none stands still, and each control plane takes what is
    said; else 503, with the reasons.
    """

    async def ready(request: web.Request) -> web.Response:
        told = {"unknown_checks": agent.unknown, "standing_still": agent.standing, "waiting_for": agent.problems}
        return web.json_response(told, status=503 if any(told.values()) else 200)

    async def word(request: web.Request) -> web.Response:
        status = _WORDS[request.match_info["word"]]
        return _answer(agent.heard(request.match_info["check"], status, request.query.get("note", "")))

    async def update(request: web.Request) -> web.Response:
        try:
            told: Any = await request.json()
            status = _STATUSES[told["Status"]]
            return _answer(agent.heard(request.match_info["check"], status, str(told.get("Output", ""))))
        except (ValueError, LookupError, TypeError, AttributeError):
            return web.Response(status=400, text='the body is {"Status": "passing|warning|critical", "Output": "…"}\n')

    @web.middleware
    async def from_here(request: web.Request, handler: Any) -> web.StreamResponse:
        # A web page in a browser on this host may send requests too, under a name of its own.
        if not {request.host, request.host.rpartition(":")[0]} & _HERE:
            return web.Response(status=403, text="the Host is not this machine\n")
        answer: web.StreamResponse = await handler(request)
        return answer

    app = web.Application(client_max_size=MOST_BODY_BYTES, middlewares=[from_here])
    app.router.add_put("/v1/agent/check/{word:pass|warn|fail}/{check}", word)
    app.router.add_put("/v1/agent/check/update/{check}", update)
    app.router.add_get("/ready", ready)
    return app


def _answer(known: bool) -> web.Response:
    return web.Response(status=200 if known else 404, text="" if known else "there is no such check of kind TTL\n")
