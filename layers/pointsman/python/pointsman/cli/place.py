"""Where a command reads and writes: a store, or a running control plane."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click
from click.core import ParameterSource

from pointsman.cli.options import Option, engine_on, notices_option
from pointsman.cli.output import progress
from pointsman.cli.remote import Missing, Refused, Remote, access_options, read_access
from pointsman.serve.access import Access

if TYPE_CHECKING:
    from pointsman.pipeline.engine import Engine

_OF_A_STORE = ("notices", "trust_domain")
_OF_A_URL = ("token_file", "cert", "key", "ca")


@dataclass(frozen=True, slots=True)
class Place:
    """A `store`, with the topic that is told of what is written to it (a value of `--notices`); or, if that is "",
    control planes at `urls`, which let in who has the `access`."""

    store: str
    notices: str
    urls: tuple[str, ...]
    access: Access

    @property
    def remotes(self) -> list[Remote]:
        """The control planes. Raises InvalidInput."""
        return [Remote(url, self.access) for url in self.urls]

    @contextmanager
    def asked(self, *, writes: bool = False) -> Iterator["Remote | Local"]:
        """What answers the requests of a command: the one control plane, or the store, closed at the end."""
        if self.urls:
            (url,) = self.urls
            yield Remote(url, self.access)
            return
        with engine_on(self.store, writes=writes, notices=self.notices) as engine:
            yield Local(engine)


class Local:
    """A store, asked as a running control plane is asked: the functions that answer are the same."""

    def __init__(self, engine: "Engine") -> None:
        # Imported only when needed: who asks another process does not need it.
        from pointsman.api.request import Api
        from pointsman.api.routes import answer

        self._api, self._answer = Api(engine, progress=progress()), answer
        self.engine = engine

    def ask(self, method: str, path: tuple[str, ...], query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """As `Remote.ask`. Raises Refused."""
        from pointsman.api.request import Request

        request = Request(
            method,
            f"/v1/{'/'.join(path)}",
            urlencode({name: each for name, each in (query or {}).items() if each}),
            {"content-type": "application/json"},
            b"" if body is None else json.dumps(body).encode(),
        )
        found = self._answer(self._api, request)
        if found.status == HTTPStatus.OK:
            return found.body
        kind = Missing if found.status == HTTPStatus.NOT_FOUND else Refused
        raise kind(found.status, found.body.get("problems") or [found.body["error"]])


def place_options(*, writes: bool = False, several: bool = False) -> Option:
    """The options that say where a command reads and writes; the command gets them as one `place`.

    `several` lets it have several URLs.
    """
    url = click.option(
        "--url",
        "urls",
        envvar="POINTSMAN_URL",
        multiple=several,
        default=None if several else "",
        metavar="URL|unix:PATH",
        help=f"Or a running `pointsman up` (or POINTSMAN_URL){'; repeatable' if several else ''}.",
    )
    store_option = click.option(
        "--store",
        envvar="POINTSMAN_STORE",
        default="",
        metavar="FILE|s3://BUCKET",
        help="The store: an SQLite file, or a bucket, s3://BUCKET/PREFIX?endpoint=URL&region=NAME (or"
        " POINTSMAN_STORE).",
    )

    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(
            store: str,
            urls: str | tuple[str, ...],
            token_file: str,
            cert: str,
            key: str,
            ca: str,
            notices: str = "",
            **others: Any,
        ) -> Any:
            given = (urls,) if isinstance(urls, str) and urls else tuple(urls)
            store, chosen = _chosen(store, given)
            access = Access() if store else read_access(token_file, cert, key, ca)
            return function(place=Place(store, notices if store else "", chosen, access), **others)

        result: Callable[..., Any] = store_option(url(access_options(command)))
        return notices_option(result) if writes else result

    return decorated


def _chosen(store: str, urls: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """One of the two; the other one is empty. What is given beats what the environment says. Raises UsageError."""
    asked = {name: _given(name) for name in ("store", "urls")}
    if all(asked.values()):
        raise click.UsageError("give --store or --url, not both")
    if store and urls and not any(asked.values()):
        raise click.UsageError("POINTSMAN_STORE and POINTSMAN_URL are both set: give --store or --url")
    if asked["urls"] and urls:
        store = ""
    elif store:
        urls = ()
    if not (store or urls):
        raise click.UsageError("give --store or --url (or set POINTSMAN_STORE or POINTSMAN_URL)")
    for name in _OF_A_URL if store else _OF_A_STORE:
        if _given(name):
            option = f"--{name.replace('_', '-')}"
            other = "--url" if store else "--store; a running control plane has its own"
            raise click.UsageError(f"{option} is for {other}")
    return store, urls


def _given(name: str) -> bool:
    """Whether an option is on the command line."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
