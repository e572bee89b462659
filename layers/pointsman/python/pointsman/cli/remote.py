"""Speaks to a running control plane: `pointsman up`, or the function `configure` at its URL."""

import json
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import click
import orjson

from pointsman.aws.signed import signed
from pointsman.cli.options import Option, read_text
from pointsman.cli.output import Lines, progress
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.tokens import LONGEST_NAME
from pointsman.serve.access import Access, ClientTls
from pointsman.serve.ask import NoAnswer, ask
from pointsman.serve.listen import Listen

PATIENCE_SECONDS = 300.0
"""Seconds to wait for an answer. It comes when everything that was asked for is durable and published."""

_LOOK_S = 0.5
"""Seconds between two looks at how long an answer takes."""

_CUT = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""How a connection ends that the other side does not want any more."""

NO_PAGE = "there is no such page here"
"""The error of an answer 404 that is about the route, and not about what was asked for there."""


def access_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options with which a command is let in by another machine: `read_access` reads their values."""
    options: tuple[Option, ...] = (
        click.option(
            "--ca",
            envvar="POINTSMAN_CA",
            default="",
            metavar="FILE",
            help="The CAs that vouch for the server (PEM); default: the system's.",
        ),
        click.option("--key", envvar="POINTSMAN_KEY", default="", metavar="FILE", help="Its private key (PEM)."),
        click.option(
            "--cert",
            envvar="POINTSMAN_CERT",
            default="",
            metavar="FILE",
            help="A client certificate to show (chain, PEM), for `up --remote --client-ca`.",
        ),
        click.option(
            "--token-file",
            envvar="POINTSMAN_TOKEN_FILE",
            default="",
            metavar="FILE",
            help="A file with a token of `pointsman token make`, for `up --remote`.",
        ),
    )
    for option in options:
        function = option(function)
    return function


def read_access(token_file: str, cert: str, key: str, ca: str) -> Access:
    """With what a command is let in. Raises InvalidInput."""
    return Access(_read_token(token_file), ca, cert, key)


def _read_token(path: str) -> str:
    if not path:
        return ""
    token = read_text(path).strip()
    if not token or len(token) > LONGEST_NAME or not token.isascii() or not token.isprintable():
        raise InvalidInput.single("--token-file", "", f"{path} holds no token of `pointsman token make`")
    return token


class Refused(Lines):
    """Another answer than 200: its `status`, and why, in the words in which a command on a store says it."""

    def __init__(self, status: int, lines: list[str]) -> None:
        self.status = status
        super().__init__(lines)


class Missing(Refused):
    """The answer that what was asked for is not there."""


class Away(PointsmanError):
    """No answer: whether the request was carried out is not known."""


class Remote:
    """A running control plane at a URL."""

    def __init__(self, url: str, access: Access) -> None:
        """Raises InvalidInput for a URL that is none, and for what would not be sent there safely."""
        self.url = url
        self._place: Listen | tuple[str, int]
        self._headers = {"accept": "application/json"}
        tls, self._region, self._base = False, "", ""
        if url.startswith("unix:"):
            self._place, self._headers["host"] = Listen.read(url, "--url"), "localhost"
        else:
            try:
                parts = urlsplit(url)
                port = parts.port
            except ValueError as error:
                raise InvalidInput.single("--url", "", f"{url}: {error}") from None
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
                raise InvalidInput.single("--url", "", f"{url} is neither http(s)://HOST:PORT nor unix:PATH")
            tls = parts.scheme == "https"
            self._place = parts.hostname, port or (443 if tls else 80)
            self._headers["host"] = parts.netloc
            self._base = parts.path.rstrip("/")
            self._region = _region_of(parts.hostname) if tls else ""
        access.check("--url", url, tls=tls)
        if self._region and access.token:
            raise InvalidInput.single("--token-file", "", f"{url} is a function's: AWS credentials let in there")
        self._headers |= access.headers()
        self._tls, self._shows = ClientTls(access) if tls else None, bool(access.certificate)

    def ask(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, str] | None = None,
        body: Any = None,
        patience: float | None = None,
    ) -> Any:
        """The JSON that answers a request for `/v1/` and the segments in `path`; what is empty in `query` is left out.

        Raises Refused, and Away if there is no answer within `patience` seconds (PATIENCE_SECONDS).
        """
        asked = "&".join(filter(None, [urlencode({name: each for name, each in (query or {}).items() if each})]))
        route = f"{self._base}/v1/{'/'.join(quote(each, safe='') for each in path)}"
        target = f"{route}?{asked}" if asked else route
        # Not orjson's: a document may have a number that has more than 64 bits, which the server refuses by name.
        sent = b"" if body is None else json.dumps(body).encode()
        headers = self._headers | ({"content-type": "application/json"} if sent else {})
        if self._region:
            headers = signed(method, f"https://{headers['host']}{target}", headers, sent, self._region)
        try:
            with _telling(self.url):
                status, data = ask(
                    self._place,
                    method,
                    target,
                    sent or None,
                    timeout=patience or PATIENCE_SECONDS,
                    headers=headers,
                    tls=self._tls.context if self._tls is not None else None,
                )
        except NoAnswer as error:
            raise Away(f"{self.url} cannot be reached: {self._why(error)}") from None
        if status == HTTPStatus.OK:
            try:
                return orjson.loads(data)
            except orjson.JSONDecodeError:
                raise Refused(status, [f"{self.url} answered without JSON: is that Pointsman?"]) from None
        raise self._refused(f"{method} {route.removeprefix(self._base)}", status, data)

    def _why(self, error: NoAnswer) -> str:
        """Why there was no answer, and the way out."""
        cause = error.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            named = cause.verify_message
            if "mismatch" in named:
                return f"its certificate is for another name: {named}; ask under a name that is in it"
            return f"its certificate is not vouched for: {named}; name the file with its CAs: --ca"
        alert = isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "")
        # The alert may come too late, after the request: then the connection is only cut.
        if self._shows and (alert or isinstance(cause, _CUT)):
            return f"{error}; does its --client-ca accept the certificate of --cert?"
        if isinstance(cause, ssl.SSLError) and not alert:
            return f"{error}; does an http server listen there?"
        return f"{error}; is `pointsman up` running there?"

    def _refused(self, what: str, status: int, data: bytes) -> Refused:
        """The error for an answer to `what` was asked."""
        try:
            told = orjson.loads(data)
        except orjson.JSONDecodeError:
            told = None
        said = told if isinstance(told, dict) else {}
        error = str(said.get("error") or said.get("Message") or data.decode(errors="replace")[:200] or "nothing")
        problems = said.get("problems")
        if status == HTTPStatus.NOT_FOUND and (error == NO_PAGE or not said.get("error")):
            return Refused(
                status, [f"{self.url} does not know {what}: it is older than this command, or not Pointsman"]
            )
        if isinstance(problems, list) and problems:
            return Refused(status, [str(each) for each in problems])
        match status:
            case HTTPStatus.NOT_FOUND:
                return Missing(status, [error])
            case HTTPStatus.BAD_REQUEST:
                return Refused(status, [error])
            case HTTPStatus.UNAUTHORIZED:
                error += "; give --token-file, or --cert and --key"
        return Refused(status, [f"{self.url} answered {status}: {error}"])


def _region_of(host: str) -> str:
    """The region of a function whose URL has this host, "" for any other host."""
    if not host.endswith(".on.aws"):
        return ""
    # Imported only for those: the room is large.
    from pointsman.bootstrap.function import region_of

    return region_of(host)


@contextmanager
def _telling(url: str) -> Iterator[None]:
    """Says on a terminal, now and then, how long an answer takes."""
    if not sys.stderr.isatty():
        yield
        return
    tell, began, done = progress(), time.monotonic(), threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_S):
            tell(f"waiting for {url}, {time.monotonic() - began:.0f} s")

    watching = threading.Thread(target=look, daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()
