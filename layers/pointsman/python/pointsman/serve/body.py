"""Reads the body of a request, within a limit."""

from starlette.types import Receive, Scope


class ClientGone(Exception):
    """The client disconnected, so nobody can be answered."""


class BodyRefused(Exception):
    """A body that is too large; `status` is the status of the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def read_body(scope: Scope, receive: Receive, most: int, way_out: str = "") -> bytes:
    """The request's body, at most `most` bytes. Raises ClientGone, or BodyRefused with the `way_out`.

    The server enforces the time limit (`serve/crowd.py`).
    """
    for name, length in scope["headers"]:
        # httptools has already checked that it is a number.
        if name == b"content-length" and (len(length) > 18 or int(length) > most):
            raise _too_large(most, way_out)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        if len(body) + len(part) > most:
            raise _too_large(most, way_out)
        more = message.get("more_body")
        if not body and not more:
            return part
        body += part
        if not more:
            return bytes(body)


def _too_large(most: int, way_out: str) -> BodyRefused:
    return BodyRefused(413, f"the body is larger than {most} bytes{way_out and f'; {way_out}'}")
