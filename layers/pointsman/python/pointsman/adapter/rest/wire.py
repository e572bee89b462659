"""Requests and answers on the wire: bodies with a limit, answers with an end, and who is at the other side."""

import asyncio
from collections.abc import Callable, Iterable

import orjson
from starlette.types import Receive, Scope, Send

from pointsman.discovery.request import MAX_BODY

BODY_SECONDS = 15.0
"""For a whole request to come in."""

URIS = "pointsman.client_uris"
GONE = "pointsman.on_client_gone"
"""Where the server puts into a scope's state what an ASGI application cannot know: the URI SANs of the client's
certificate; a list of what to call when the client hangs up."""


class ClientGone(Exception):
    """Nobody is there to be answered."""


class BodyRefused(Exception):
    """A body that is too large or too slow; `status` is the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def read_body(receive: Receive) -> bytes:
    """The request's body. Raises ClientGone or BodyRefused."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                part = message.get("body", b"")
                size += len(part)
                if size > MAX_BODY:
                    raise BodyRefused(413, f"the request is larger than {MAX_BODY} bytes")
                parts.append(part)
                if not message.get("more_body"):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise BodyRefused(408, f"the request did not come within {BODY_SECONDS:g} s") from None


async def reply(send: Send, status: int, body: bytes = b"", *, error: str = "") -> None:
    """Answer with `body`, which is JSON, or with a reason."""
    if error:
        body = orjson.dumps({"error": error})
    headers = [] if status == 304 else [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def client_uris(scope: Scope) -> Iterable[str] | None:
    """The URI SANs of the client's certificate; None where the connection has no TLS."""
    uris: Iterable[str] | None = scope.get("state", {}).get(URIS)
    return uris if uris is not None or scope.get("scheme") != "https" else ()


def on_client_gone(scope: Scope, call: Callable[[], None]) -> None:
    """Have `call` called when the client hangs up, if the server tells."""
    listeners = scope.get("state", {}).get(GONE)
    if listeners is not None:
        listeners.append(call)
