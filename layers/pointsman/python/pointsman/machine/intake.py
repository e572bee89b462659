"""The API of `pointsman up` over HTTP: the table of routes, events in passes, all else in threads."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.api.refusals import guarded, refusal
from pointsman.api.request import Answer, Api, Declined, Request, parameters_in
from pointsman.api.routes import Route, check_role, check_type, find
from pointsman.machine.calls import Calls
from pointsman.machine.passes import Passes
from pointsman.model.errors import PointsmanError
from pointsman.model.grants import EVERYTHING, Grant
from pointsman.serve.body import BodyRefused, ClientGone, read_body

GRANT = "pointsman.grant"
"""Where the scope of a request has what its sender may do, a Grant; without it, everything."""

_OURS = "/v1/"
"""What the paths of the API begin with."""

_HEADERS = {b"content-type": "content-type", b"x-consul-index": "x-consul-index"}
"""What an answer may depend on."""


class Intake:
    """The application: what `pointsman.api` answers. Events are taken in together (`passes`), all else by `calls`.

    `report` is called with one line for everything that is refused or goes wrong. `others` answers every other path.
    Several event loops may use it.
    """

    def __init__(
        self,
        api: Api,
        passes: Passes,
        calls: Calls,
        report: Callable[[str], None],
        *,
        others: ASGIApp | None = None,
    ) -> None:
        self._api, self._passes, self._calls, self._report, self._others = api, passes, calls, report, others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            try:
                route, values = find(scope["method"], scope["path"])
            except Declined as error:
                if error.status == 404 and self._others is not None and not scope["path"].startswith(_OURS):
                    await self._others(scope, receive, send)
                    return
                raise
            answer = await self._answer(route, scope, receive, values)
        except ClientGone:
            return
        except PointsmanError as error:
            answer = refusal(error)
        except BodyRefused as error:
            answer = refusal(Declined(error.status, str(error)))
        if answer.status >= 400:
            self._report(_line(answer))
        elif route.method != "GET" and not route.takes:
            for line in _failed(answer.body):
                self._report(line)
        await send_answer(send, answer)

    async def _answer(self, route: Route, scope: Scope, receive: Receive, values: Mapping[str, str]) -> Answer:
        grant: Grant = scope.get(GRANT, EVERYTHING)
        check_role(route, grant)
        query = scope["query_string"].decode("latin-1")
        parameters = parameters_in(query, route.query)
        headers = {_HEADERS[name]: value.decode("latin-1") for name, value in scope["headers"] if name in _HEADERS}
        body = b""
        if (expected := route.body) is not None:
            check_type(expected, headers.get("content-type", ""))
            body = await read_body(scope, receive, expected.most_bytes, expected.way_out)
        request = Request(scope["method"], scope["path"], query, headers, body, grant, values, parameters)
        if route.reads is not None:
            return await self._passes.take(request, route.reads)
        return await self._calls.run(partial(guarded, partial(route.run, self._api, request)))


def _line(answer: Answer) -> str:
    reason = str(answer.body["error"])
    if answer.status in (401, 403):
        return f"turned away: {reason}"
    return reason if answer.status >= 500 else f"refused: {reason}"


def _failed(body: Mapping[str, Any]) -> Iterator[str]:
    """What is to be said of a write; of generations, switches and orders is told where they are noticed."""
    yield from (f"cannot be computed and stays unchanged: {each}" for each in body.get("failed", ()))


async def send_answer(send: Send, answer: Answer) -> None:
    """Send an answer as JSON."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.data))]
    if answer.headers:
        headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.data})
