"""The page over HTTP: what a browser may do with it, and the stream that says that something changed."""

import asyncio
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.model.errors import InvalidInput
from pointsman.page.changes import Changes, Listener
from pointsman.page.pages import CHANGES, SERVICES, STATIC, WHAT_IF, Pages, Shown, refused
from pointsman.store.protocol import StoreError

_log = logging.getLogger(__name__)

MOST_REQUESTS: Final = 32
"""Requests for pages that are answered or wait for it."""

MOST_AT_ONCE: Final = 2
"""Pages that are made at a time."""

BEAT_SECONDS: Final = 15.0
"""Seconds between two signs of life on a stream."""

STREAM_SECONDS: Final = 600.0
"""Seconds after which a stream ends and the browser opens another one: then what it may do is looked at again."""

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
)


def is_page(path: str) -> bool:
    """Whether a path is the page's: any other is somebody else's."""
    return path in ("/", WHAT_IF) or path.startswith((SERVICES, STATIC))


class PageApp:
    """The application. `others` answers every other path, with 404 if it is None. Several event loops may use it."""

    def __init__(self, pages: Pages, changes: Changes, others: ASGIApp | None = None) -> None:
        self._pages, self._changes, self._others = pages, changes, others
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, "page")
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if self._others is not None and not is_page(scope["path"]):
            await self._others(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _send(scope, send, refused(405, "A page is only read."), [(b"allow", b"GET, HEAD")])
        elif scope["path"] == CHANGES and scope["method"] == "GET":
            await self._stream(scope, receive, send)
        else:
            await _send(scope, send, await self._shown(scope["path"], scope["query_string"].decode("latin-1")))

    async def _shown(self, path: str, query: str) -> Shown:
        if self._under_way >= MOST_REQUESTS:
            return refused(503, f"{MOST_REQUESTS} requests for pages wait already; try again.")
        self._under_way += 1
        try:
            # Also if the browser has gone, the thread works on.
            made = asyncio.get_running_loop().run_in_executor(self._threads, self._made, path, query)
            return await asyncio.shield(made)
        finally:
            self._under_way -= 1

    def _made(self, path: str, query: str) -> Shown:
        try:
            return self._pages.show(path, query)
        except InvalidInput as error:
            return refused(404, str(error))
        except StoreError as error:
            return refused(503, f"The store cannot be read: {error}. Envoys keep what they have.")
        except Exception as error:
            _log.exception("a page could not be made: %s", path[:200])
            return refused(500, f"A defect of ours, which the log has: {type(error).__name__}")

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        listener = self._changes.join()
        if listener is None:
            await _send(scope, send, refused(503, "Too many pages are open."), [(b"retry-after", b"5")])
            return
        gone: asyncio.Future[Any] = asyncio.ensure_future(_gone(receive))
        try:
            headers = [(b"content-type", b"text/event-stream"), *_HEADERS]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await _tell(send, b"retry: 1000\n\n")
            end = asyncio.get_running_loop().time() + STREAM_SECONDS
            while not gone.done() and asyncio.get_running_loop().time() < end:
                mark = await _next(listener, gone)
                if mark == "":
                    break
                await _tell(send, f"data: {mark}\n\n".encode() if mark else b": still here\n\n")
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            self._changes.leave(listener)


async def _next(listener: Listener, gone: "asyncio.Future[Any]") -> str | None:
    """The next mark; None if there is none for BEAT_SECONDS, or if the browser has gone."""
    told: asyncio.Future[Any] = asyncio.ensure_future(listener.wait())
    try:
        await asyncio.wait((told, gone), timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return str(told.result()) if told.done() else None
    finally:
        told.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _tell(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def _send(scope: Scope, send: Send, shown: Shown, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
    status, data = shown.status, shown.data
    headers = [(b"content-type", shown.type.encode()), *_HEADERS, *more]
    if shown.mark:
        etag = f'W/"{shown.mark}"'.encode()
        headers.append((b"etag", etag))
        if any(name == b"if-none-match" and value == etag for name, value in scope["headers"]):
            status, data = 304, b""
    if status != 304:
        headers.append((b"content-length", b"%d" % len(data)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else data})
