"""`pointsman page`: what is true now, and what happened, in a browser."""

import click

from pointsman.cli.command import command
from pointsman.cli.options import engine_on, host_option, store_option


@command()
@store_option
@click.option(
    "--listen",
    default="127.0.0.1:8430",
    show_default=True,
    metavar="IP:PORT|unix:PATH",
    help="Where to serve it, on this machine alone; port 0 picks a free one.",
)
@host_option
def page(store: str, listen: str, hosts: tuple[str, ...]) -> None:
    """Serve a page for a browser that shows who serves what, why, and what happened. It writes nothing.

    `pointsman up` serves the same page at the address of --listen. When it is ready, this command prints one line of
    JSON: {"ready": true, "url": ...}.

    \b
      pointsman page --store pointsman.db
      pointsman page --store 's3://BUCKET?region=eu-central-1' --listen 127.0.0.1:0
    """
    # Imported only when needed: the web server is large.
    from pointsman.machine.showing import show

    with engine_on(store) as engine:
        show(engine, listen, hosts)
