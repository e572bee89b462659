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

if TYPE_CHECKING:
    from pointsman.pipeline.engine import Engine

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What gives a command one option more."""


store_option = click.option(
    "--store",
    envvar="POINTSMAN_STORE",
    required=True,
    metavar="FILE|s3://BUCKET",
    help="Where objects live: an SQLite file or a bucket (or POINTSMAN_STORE).",
)
"""`--store`, also by environment."""

trust_domain_option = click.option(
    "--trust-domain",
    envvar="POINTSMAN_TRUST_DOMAIN",
    default="",
    metavar="NAME",
    help="The mesh's trust domain, fixed by a store's first write (default: pointsman).",
)
"""`--trust-domain`, also by environment."""

envoy_admin_option = click.option(
    "--envoy-admin",
    "envoy_admins",
    multiple=True,
    metavar="IP:PORT|unix:PATH",
    help="The admin of an Envoy on this machine, to see what it rejects; may be repeated.",
)
"""`--envoy-admin`, once for each Envoy."""

host_option = click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name under which this machine is asked over HTTP, beside localhost and its loopback addresses; may be"
    " repeated.",
)
"""`--host`, once for each name."""

max_connections_option = click.option(
    "--max-connections",
    default=MOST_CONNECTIONS,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Over HTTP, how many connections Envoys may have, one for each cluster; half of the files that the process"
    " may open are the most.",
)
"""`--max-connections`."""

refresh_delay_option = click.option(
    "--refresh-delay",
    default=1000,
    show_default=True,
    type=click.IntRange(min=10),
    metavar="MS",
    help="Over HTTP, between two requests for a cluster's endpoints; longer for hundreds of clusters.",
)
"""`--refresh-delay`, in milliseconds."""

sds_option = click.option(
    "--sds",
    default="",
    metavar="DIR|spire",
    help="Where Envoys find certificates that rotate, as in their `pointsman bootstrap --sds`.",
)
"""`--sds`, for what delivers clusters."""

group_option = click.option(
    "--group",
    default="",
    metavar="NAME|GID",
    help="Who may read the files of --files, for Envoys of another user (default: this process's own group).",
)
"""`--group`, for what writes Envoys' files."""


def keep_option(default: str) -> Option:
    """`--keep`, also by environment; `default` says what is kept where without it."""

    return click.option(
        "--keep",
        envvar="POINTSMAN_KEEP",
        default="",
        metavar="DIR",
        help=f"Keep the last known good in DIR, to start from it while the store is away (default: {default}).",
    )


@contextmanager
def engine_on(store: str, *, create: bool = False) -> Iterator["Engine"]:
    """An Engine on the named store, closed at the end. Only what writes config may `create` one that is not there."""
    # An adapter, which has to be back soon, does without it and all that it brings.
    from pointsman.pipeline.engine import Engine

    opened = open_store(store, create=create)
    try:
        yield Engine(opened)
    finally:
        opened.close()


def read_bytes(name: str, most: int) -> bytes:
    """What is in a file, or on standard input for "-": `most` bytes and one more, so that a longer one shows."""
    if name == "-":
        return sys.stdin.buffer.read(most + 1)
    with Path(name).open("rb") as file:
        return file.read(most + 1)


def read_text(name: str) -> str:
    """The text of a file, or of standard input for "-"."""
    try:
        return sys.stdin.buffer.read().decode() if name == "-" else Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput.single(name, "", f"is not UTF-8 text: {error.reason} at byte {error.start}") from None
