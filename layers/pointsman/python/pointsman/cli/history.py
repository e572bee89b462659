"""`pointsman history`: what happened and who caused it, and who served at a time."""

import sys

import click
import orjson

from pointsman.cli.command import command
from pointsman.cli.place import Place, place_options
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.overview.history import SWITCH, History, Moment, read_json

_COLORS = {SWITCH: "yellow", "lapse": "red"}


@command()
@place_options()
@click.option("--dc", default="", metavar="DC", help="Only as the sidecars of this datacenter saw it.")
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True, help="That of SERVICE.")
@click.option("--since", default="", metavar="DURATION", help="What happened in the last 1h, 90m … (default: 24h).")
@click.option("--at", default="", metavar="TIME", help="Who served then: 12:03 (UTC), or 2026-11-27T12:03:00Z.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("service", required=False, default="")
def history(place: Place, dc: str, namespace: str, since: str, at: str, as_json: bool, service: str) -> None:
    """Show every switch with its cause, every change of config and every order, of SERVICE or of all, the oldest first.

    With --at, show instead which target served at that moment, since when and because of what. All times are UTC. How
    far back it goes: docs/operating.md#how-long-things-are-kept.

    \b
      pointsman history --store pointsman.db --since 1h
      pointsman history s2 --store pointsman.db --dc dc1
      pointsman history s2 --url http://127.0.0.1:8420 --at 12:03
    """
    query = {"service": service, "namespace": namespace if service else "", "dc": dc, "since": since, "at": at}
    with place.asked() as asked:
        told = asked.ask("GET", ("history",), query)
    if as_json:
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    match read_json(told):
        case History() as found:
            _show_history(found)
        case Moment() as found:
            _show_moment(found)


def _echo(line: str, color: str | None = None) -> None:
    click.echo(click.style(line, fg=color) if color else line, color=None if sys.stdout.isatty() else False)


def _show_history(found: History) -> None:
    click.echo(f"from {found.since} to {found.until}")
    for each in found.happenings:
        _echo(f"{each.at}  {each.text}", _COLORS.get(each.kind))
        if each.kind == SWITCH:
            click.echo(f"    {each.why}")
            click.echo(f"    because of: {each.cause.text or 'unknown'}")
    if found.more:
        click.echo("older things are left out; ask for a shorter span or for one service", err=True)
    if not found.happenings:
        click.echo("nothing happened", err=True)


def _show_moment(found: Moment) -> None:
    click.echo(f"at {found.at}")
    for each in found.served:
        click.echo(f"\n{each.datacenter}  {each.cluster}  version {each.version}, since {each.since}")
        for id_, healthy, total in each.targets:
            mark, color = ("*", "green" if healthy else "red") if id_ == each.active else (" ", None)
            _echo(f"  {mark} {id_}  {healthy}/{total} healthy", color)
        click.echo(f"    {each.why}")
        click.echo(f"    because of: {each.switch.text or 'unknown'}")
    for name in found.unknown:
        click.echo(f"\n{name}: nothing is kept from then")
