"""Sends answers, and identifies the client."""

from collections.abc import Callable, Sequence

import orjson
from starlette.types import Scope, Send

from pointsman.serve.connection import GONE, URIS


async def reply(send: Send, status: int, body: bytes = b"", *, error: str = "") -> None:
    """Answer with `body`, which is JSON, or with a reason."""
    if error:
        body = orjson.dumps({"error": error})
    headers = [] if status == 304 else [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def client_uris(scope: Scope) -> Sequence[str] | None:
    """The URI SANs of the client's certificate; None without TLS."""
    uris: Sequence[str] | None = scope.get("state", {}).get(URIS)
    return uris if uris is not None or scope.get("scheme") != "https" else ()


def on_client_gone(scope: Scope, call: Callable[[], None]) -> None:
    """Call `call` when the client disconnects, if the server supports that."""
    listeners = scope.get("state", {}).get(GONE)
    if listeners is not None:
        listeners.append(call)
