"""`pointsman source`: who tells of health, and forgetting who is gone."""

import sys

import click
import orjson

from pointsman.cli.command import Group
from pointsman.cli.options import engine_on, notices_option, store_option
from pointsman.model.duration import duration_text
from pointsman.model.words import counted
from pointsman.pipeline.sources import KnownSource, find_source, forget, known_sources, moved

MOST_SHOWN = 20
"""Catalogs that are named on a terminal."""


@click.group(cls=Group)
def source() -> None:
    """Show who tells of health, and forget who is gone.

    \b
      pointsman source list --store pointsman.db
      pointsman source forget agent/host-7 --store pointsman.db
    """


@source.command("list")
@store_option
@click.option("--dc", default="", metavar="DC", help="Only those that tell of this datacenter.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(store: str, dc: str, as_json: bool) -> int:
    """Show each source: of how many instances it tells, its lease, and when it was last heard.

    \b
      pointsman source list --store pointsman.db
      pointsman source list --store pointsman.db --dc dc2 --json
    """
    with engine_on(store) as engine:
        found = known_sources(engine, dc)
    if as_json:
        click.echo(orjson.dumps([each.json() for each in found], option=orjson.OPT_INDENT_2).decode())
        return 0
    for each in found:
        tells = f"{counted(len(each.told), 'instance')} of {_services(each)}"
        line = f"{each.datacenter}  {each.source}  {tells}{_lease(each)}"
        is_silent = each.lease is not None and each.lease.silent_since
        click.echo(click.style(line, fg="red") if is_silent else line, color=None if sys.stdout.isatty() else False)
        for trouble in each.troubles:
            click.echo(f"    last at {trouble.last}: {trouble.words}")
    if not found:
        click.echo("no source has said anything yet", err=True)
    return 0


@source.command("forget")
@store_option
@notices_option
@click.option("--dc", default="", metavar="DC", help="Of this datacenter; required if it tells of several.")
@click.option("--yes", is_flag=True, help="Do it. Without it, only say what would vanish.")
@click.argument("name", metavar="SOURCE")
def forget_(store: str, notices: str, dc: str, yes: bool, name: str) -> int:
    """Take away all instances of which SOURCE tells, and its lease. For hosts and producers that are gone for good.

    A source that is alive speaks again, and then its instances are back.

    \b
      pointsman source forget agent/host-7 --store pointsman.db
      pointsman source forget agent/host-7 --store pointsman.db --yes
    """
    with engine_on(store, writes=yes, notices=notices) as engine:
        found = find_source(engine, name, dc)
        for catalog, count in list(found.catalogs.items())[:MOST_SHOWN]:
            click.echo(f"  {catalog}: {counted(count, 'instance')}")
        if (more := len(found.catalogs) - MOST_SHOWN) > 0:
            click.echo(f"  and {counted(more, 'service')} more")
        if found.lease is not None and not found.lease.silent_since:
            click.echo(f"{name} is not silent, it was last heard at {found.lease.at}: it may speak again", err=True)
        what = f"{counted(len(found.told), 'instance')} of {_services(found)} in {found.datacenter}"
        if not yes:
            click.echo(f"{what} would vanish; nothing was changed, add --yes to do it")
            return 0
        done = forget(engine, found)
    click.echo(f"forgot {name}: {what} are gone, {counted(len(moved(done)), 'cluster')} moved")
    return 0


def _services(each: KnownSource) -> str:
    return counted(len(each.catalogs), "service")


def _lease(each: KnownSource) -> str:
    if each.lease is None:
        return ", no lease"
    lease = duration_text(each.lease.lease_ms * 1_000_000)
    silent = f"; SILENT since {each.lease.silent_since}" if each.lease.silent_since else ""
    return f", lease {lease}, last heard at {each.lease.at} with index {each.lease.index}{silent}"
