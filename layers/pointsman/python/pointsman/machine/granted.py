"""The door of `pointsman up` for other machines: who has a token is let in, to what the token is for.

A token is sent, or belongs to the client certificate that is shown; if there are both, the one that is sent counts.
"""

import time
from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.api.refusals import refusal
from pointsman.api.request import Declined
from pointsman.api.routes import find
from pointsman.machine.intake import GRANT, send_answer
from pointsman.model.errors import PointsmanError
from pointsman.model.grants import Grant, Role
from pointsman.model.tokens import Tokens
from pointsman.page.app import is_page
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.tokens import read_tokens_object
from pointsman.serve.connection import NAMES
from pointsman.store import keys

TOKENS_SECONDS: Final = 2.0
"""Seconds for which tokens that were read are used: a revoked one may be let in for so long."""


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
    """`app` for requests of somebody who is known, with what they may do noted in the scope; others get 401, and paths
    that neither the API nor the page has 404."""

    def __init__(self, app: ASGIApp, tokens: KnownTokens, report: Callable[[str], None]) -> None:
        """`report` gets a line for each request that is turned away."""
        self._app, self._tokens, self._report = app, tokens, report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            if is_page(scope["path"]):
                grant = await self._grant(scope)
                if not grant.has(Role.READ):
                    raise Declined(403, f"{grant.who} is not for {Role.READ.value}, and the page is")
            elif find(scope["method"], scope["path"])[0].role is not None:
                scope[GRANT] = await self._grant(scope)
        except PointsmanError as error:
            if isinstance(error, Declined) and error.status in (401, 403):
                self._report(f"turned away: {error}")
            await send_answer(send, refusal(error))
            return
        await self._app(scope, receive, send)

    async def _grant(self, scope: Scope) -> Grant:
        """What the sender may do. Raises Declined if nobody knows them, StoreError if the tokens cannot be read."""
        secret, names = _secret(scope), scope.get("state", {}).get(NAMES, ())
        if not secret and not names:
            raise _unknown("a token is required: authorization: Bearer TOKEN (`pointsman token make`)")
        known = await self._tokens.now()
        token = known.of(secret) if secret else known.of_certificate(names)
        if token is None and secret:
            raise _unknown("the token is unknown, or was revoked")
        if token is None:
            named = f"the certificate of {names[0][:200]} has no token"
            raise Declined(403, f"{named} (`pointsman token make --certificate`), or it was revoked")
        return token.grant


def _unknown(reason: str) -> Declined:
    return Declined(401, reason, {"www-authenticate": "Bearer"})


def _secret(scope: Scope) -> str:
    found = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, secret = (found[0] if len(found) == 1 else "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""
