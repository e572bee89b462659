"""`pointsman source`: who tells of health, and forgetting who is gone."""

import sys
from collections.abc import Mapping
from typing import Any

import click
import orjson

from pointsman.cli.command import Group
from pointsman.cli.place import Place, place_options
from pointsman.model.duration import duration_text
from pointsman.model.words import counted

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
@place_options()
@click.option("--dc", default="", metavar="DC", help="Only those that tell of this datacenter.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(place: Place, dc: str, as_json: bool) -> int:
    """Show each source: of how many instances it tells, its lease, and when it was last heard.

    \b
      pointsman source list --store pointsman.db
      pointsman source list --url http://127.0.0.1:8420 --dc dc2 --json
    """
    with place.asked() as asked:
        found = asked.ask("GET", ("sources",), {"dc": dc})
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return 0
    for each in found:
        line = f"{each['datacenter']}  {each['source']}  {_tells(each)}{_lease(each['lease'])}"
        is_silent = each["lease"] is not None and each["lease"]["silent_since"]
        click.echo(click.style(line, fg="red") if is_silent else line, color=None if sys.stdout.isatty() else False)
        for trouble in each["troubles"]:
            click.echo(f"    last at {trouble['last']}: {trouble['words']}")
    if not found:
        click.echo("no source has said anything yet", err=True)
    return 0


@source.command("forget")
@place_options(writes=True)
@click.option("--dc", default="", metavar="DC", help="Of this datacenter; required if it tells of several.")
@click.option("--yes", is_flag=True, help="Do it. Without it, only say what would vanish.")
@click.argument("name", metavar="SOURCE")
def forget_(place: Place, dc: str, yes: bool, name: str) -> int:
    """Take away all instances of which SOURCE tells, and its lease. For hosts and producers that are gone for good.

    A source that is alive speaks again, and then its instances are back.

    \b
      pointsman source forget agent/host-7 --store pointsman.db
      pointsman source forget agent/host-7 --url http://127.0.0.1:8420 --yes
    """
    with place.asked(writes=yes) as asked:
        told = asked.ask("DELETE", ("sources", name), {"dc": dc, "dry_run": "" if yes else "1"})
    for catalog, count in list(told["catalogs"].items())[:MOST_SHOWN]:
        click.echo(f"  {catalog}: {counted(count, 'instance')}")
    if (more := len(told["catalogs"]) - MOST_SHOWN) > 0:
        click.echo(f"  and {counted(more, 'service')} more")
    lease = told["lease"]
    if lease is not None and not lease["silent_since"]:
        click.echo(f"{name} is not silent, it was last heard at {lease['at']}: it may speak again", err=True)
    what = f"{_tells(told)} in {told['datacenter']}"
    if yes:
        click.echo(f"forgot {name}: {what} are gone, {counted(len(told['moved']), 'cluster')} moved")
    else:
        click.echo(f"{what} would vanish; nothing was changed, add --yes to do it")
    return 0


def _tells(each: Mapping[str, Any]) -> str:
    return f"{counted(each['instances'], 'instance')} of {counted(len(each['catalogs']), 'service')}"


def _lease(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ", no lease"
    lease = duration_text(found["lease_ms"] * 1_000_000)
    silent = f"; SILENT since {found['silent_since']}" if found["silent_since"] else ""
    return f", lease {lease}, last heard at {found['at']} with index {found['index']}{silent}"
