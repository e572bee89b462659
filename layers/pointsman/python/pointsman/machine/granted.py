"""The door of `pointsman up` for other machines: who has a token is let in, to what the token is for.

A token is sent, or belongs to the client certificate that is shown; if there are both, the one that is sent counts.
"""

import time
from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.machine.passes import Forbidden, json_response
from pointsman.model.errors import PointsmanError
from pointsman.model.events import HealthEvent
from pointsman.model.tokens import Role, Token, Tokens
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.tokens import read_tokens_object
from pointsman.serve.connection import NAMES
from pointsman.store import keys

GRANT: Final = "pointsman.token"
"""Where the scope of a request has the token that it came with."""

TOKENS_SECONDS: Final = 2.0
"""Seconds for which tokens that were read are used: a revoked one may be let in for so long."""

_NEEDED: Final = {
    ("POST", "/v1/events"): Role.REPORT,
    ("POST", "/v1/consul/watch"): Role.REPORT,
    ("GET", "/v1/status"): Role.READ,
}


class KnownTokens:
    """The tokens of a store, read anew, in a thread, when they are older than TOKENS_SECONDS. For one event loop."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine, self._clock = engine, clock
        self._tokens: Tokens | None = None
        self._read_at = 0.0

    async def now(self) -> Tokens:
        """The tokens. Raises StoreError if they cannot be read."""
        if self._tokens is None or self._clock() - self._read_at >= TOKENS_SECONDS:
            began = self._clock()
            self._tokens = await run_in_threadpool(self._read)
            self._read_at = began
        return self._tokens

    def _read(self) -> Tokens:
        return read_tokens_object(self._engine.store.get(keys.TOKENS)).tokens


class Granted:
    """`app`, for requests with a token that is for them; others get 401 or 403, and other paths 404."""

    def __init__(self, app: ASGIApp, tokens: KnownTokens, report: Callable[[str], None]) -> None:
        """`report` gets a line for each request that is turned away."""
        self._app, self._tokens, self._report = app, tokens, report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        refusal = await self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that is not let in; None for one that is, whose token is noted in `scope`."""
        role = _NEEDED.get((scope["method"], scope["path"]))
        if role is None:
            return json_response(404, {"error": "there is no such page here"})
        secret, names = _secret(scope), scope.get("state", {}).get(NAMES, ())
        if not secret and not names:
            return self._turned_away(401, "a token is required: authorization: Bearer TOKEN (`pointsman token make`)")
        try:
            known = await self._tokens.now()
        except PointsmanError as error:
            return json_response(503, {"error": str(error)}, {"retry-after": "1"})
        token = known.of(secret) if secret else known.of_certificate(names)
        if token is None and secret:
            return self._turned_away(401, "the token is unknown, or was revoked")
        if token is None:
            named = f"the certificate of {names[0][:200]} has no token"
            return self._turned_away(403, f"{named} (`pointsman token make --certificate`), or it was revoked")
        if not token.has(role):
            return self._turned_away(403, f'the token "{token.name}" is not for {role.value}')
        scope[GRANT] = token
        return None

    def _turned_away(self, status: int, reason: str) -> Response:
        self._report(f"turned away: {reason}")
        headers = {"www-authenticate": "Bearer"} if status == 401 else None
        return json_response(status, {"error": reason}, headers)


def check_grant(token: Token | None, event: HealthEvent) -> None:
    """Raise Forbidden if `token` is not for telling what `event` says; None may tell everything."""
    if token is not None and (reason := token.refuses(event.datacenter, event.source)):
        raise Forbidden(reason)


def _secret(scope: Scope) -> str:
    found = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, secret = (found[0] if len(found) == 1 else "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""
