"""Answers only requests that are meant for this server: not those that a browser sends for another one's page.

Every process on the machine can reach a server on loopback, and so can foreign pages in a browser. A browser sends the
server's name as `Host` and the page's site as `Origin`, and a page can change neither, not by DNS rebinding and not
across sites (https://fetch.spec.whatwg.org/#forbidden-request-header).
"""

from collections.abc import Iterable
from ipaddress import ip_address

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

_FOR_ENVOYS = "/v3/discovery:"
"""An Envoy's `Host` is the name of the cluster in its bootstrap; it never sends an `Origin`."""


_NAMES = frozenset((b"host", b"origin"))


class NoForeignPages:
    """`app`, for requests that no other server's page caused, and whose `Host` is this machine; others get 403."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] | None) -> None:
        """`hosts` are this machine's names besides localhost and loopback addresses. None accepts every `Host`: a
        browser cannot reach the server (a unix socket), or its certificate names it (TLS)."""
        self._app = app
        self._hosts = None if hosts is None else {"localhost", *(each.lower() for each in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        problem = self._problem(scope) if scope["type"] == "http" else ""
        if not problem:
            await self._app(scope, receive, send)
            return
        body = orjson.dumps({"error": problem})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _problem(self, scope: Scope) -> str:
        hosts: list[str] = []
        origins: list[str] = []
        for name, value in scope["headers"]:
            if name in _NAMES:
                (hosts if name == b"host" else origins).append(value.decode("latin-1").lower())
        host = hosts[0] if hosts else ""
        if self._hosts is not None and not scope["path"].startswith(_FOR_ENVOYS):
            if len(hosts) > 1:
                return "several Host headers"
            if hosts and host not in self._hosts and not self._is_ours(_without_port(host)):
                return (
                    f'the Host "{host[:200]}" is not this machine, as whose this address is reached; '
                    "ask for localhost, or start with --host NAME"
                )
        own = (f"http://{host}", f"https://{host}") if host else ()
        if origins and any(each not in own for each in origins):
            return f'the Origin "{origins[0][:200]}" is another server\'s page'
        return ""

    def _is_ours(self, host: str) -> bool:
        assert self._hosts is not None
        if host in self._hosts:
            return True
        try:
            return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
        except ValueError:
            return False


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdecimal() or not port) and (":" not in name or name.endswith("]")) else host
