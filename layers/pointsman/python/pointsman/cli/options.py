"""Options that several commands share."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pointsman.model.errors import InvalidInput
from pointsman.serve.crowd import MOST_CONNECTIONS
from pointsman.store.open import open_store
from pointsman.store.probe import probe

if TYPE_CHECKING:
    from pointsman.pipeline.engine import Engine

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Adds an option to a command."""


store_option = click.option(
    "--store",
    envvar="POINTSMAN_STORE",
    required=True,
    metavar="FILE|s3://BUCKET",
    help="The store: an SQLite file, or a bucket, s3://BUCKET/PREFIX?endpoint=URL&region=NAME (or POINTSMAN_STORE).",
)
"""`--store`, or the environment variable."""

NO_NOTICES = "none"
"""The value of `--notices` for sending no notices."""

notices_option = click.option(
    "--notices",
    envvar="POINTSMAN_NOTICES",
    default="",
    metavar="ARN|none",
    help="The topic whose followers are told of what is written (default: the one that the store names).",
)
"""`--notices`, for commands that write, or the environment variable."""

trust_domain_option = click.option(
    "--trust-domain",
    envvar="POINTSMAN_TRUST_DOMAIN",
    default="",
    metavar="NAME",
    help="The mesh's trust domain, fixed by a store's first write (default: pointsman).",
)
"""`--trust-domain`, or the environment variable."""

envoy_admin_option = click.option(
    "--envoy-admin",
    "envoy_admins",
    multiple=True,
    metavar="IP:PORT|unix:PATH",
    help="The admin of an Envoy on this machine, to see what it rejects; repeatable.",
)
"""`--envoy-admin`, repeatable: once for each Envoy."""

host_option = click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name under which this machine is asked over HTTP, beside localhost and its loopback addresses; may be"
    " repeated.",
)
"""`--host`, repeatable."""

max_connections_option = click.option(
    "--max-connections",
    default=MOST_CONNECTIONS,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Connections of all Envoys over HTTP, one for each cluster; at most half of the files that the process"
    " may open.",
)
"""`--max-connections`."""

refresh_delay_option = click.option(
    "--refresh-delay",
    default=1000,
    show_default=True,
    type=click.IntRange(min=10),
    metavar="MS",
    help="Over HTTP, the pause between two requests for a cluster's endpoints; more for hundreds of clusters.",
)
"""`--refresh-delay`, in milliseconds."""

sds_option = click.option(
    "--sds",
    default="",
    metavar="DIR|spire",
    help="The source of certificates that rotate, as in the Envoys' `pointsman bootstrap --sds`.",
)
"""`--sds`, for commands that deliver clusters."""

group_option = click.option(
    "--group",
    default="",
    metavar="NAME|GID",
    help="The group that may read the files of --files, for Envoys of another user (default: this process's group).",
)
"""`--group`, for commands that write Envoys' files."""


def keep_option(default: str) -> Option:
    """`--keep`, or the environment variable; `default` describes what applies without it."""

    return click.option(
        "--keep",
        envvar="POINTSMAN_KEEP",
        default="",
        metavar="DIR",
        help=f"Keep the last known good in DIR, to start from it while the store is away (default: {default}).",
    )


log_format_option = click.option(
    "--log-format",
    envvar="POINTSMAN_LOG_FORMAT",
    default="text",
    show_default=True,
    type=click.Choice(["text", "json"]),
    help="How the lines on stderr are written: sentences, or an object each for programs (or POINTSMAN_LOG_FORMAT).",
)


@contextmanager
def engine_on(store: str, *, create: bool = False, writes: bool = False, notices: str = "") -> Iterator["Engine"]:
    """An Engine on the named store, closed at the end. Only commands that write config may `create` a missing store.

    With `writes`, a bucket is probed first, unless that was done. What is written is told to the topic `notices` (a
    value of `--notices`), or to the one that the store names. Raises InvalidInput if that is no topic's ARN.
    """
    # Imported only when needed: an adapter, which has to start fast, does not need it.
    from pointsman.aws.notices import notices_of
    from pointsman.aws.topic import read_topic
    from pointsman.pipeline.engine import Engine

    if notices not in ("", NO_NOTICES):
        read_topic(notices, "--notices")

    def topic() -> str:
        return "" if notices == NO_NOTICES else notices or engine.notices

    opened = open_store(store, create=create)
    try:
        if writes:
            probe(store, opened, lambda text: click.echo(f"pointsman: {text}", err=True))
        engine = Engine(opened, notify=notices_of(topic, lambda text: click.echo(f"pointsman: {text}", err=True)))
        yield engine
    finally:
        opened.close()


def read_bytes(name: str, most: int) -> bytes:
    """The content of a file, or of standard input for "-": up to `most` + 1 bytes, so that the caller notices a longer
    one."""
    if name == "-":
        return sys.stdin.buffer.read(most + 1)
    with Path(name).open("rb") as file:
        return file.read(most + 1)


def read_text(name: str) -> str:
    """The text of a file, or of standard input for "-". Raises InvalidInput unless it is UTF-8."""
    try:
        return sys.stdin.buffer.read().decode() if name == "-" else Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput.single(name, "", f"is not UTF-8 text: {error.reason} at byte {error.start}") from None
