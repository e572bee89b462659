"""`pointsman config log`, `pointsman diff`: what became of the config, and who changed it."""

import sys

import click
import orjson

from pointsman.cli.changes import change_lines
from pointsman.cli.command import Group, command
from pointsman.cli.place import Place, place_options
from pointsman.model.orders import short_time
from pointsman.model.words import counted
from pointsman.overview.generations import MOST_GENERATIONS, Difference, Generation, Log

MOST_CHANGES = 5
"""Changes of a generation that are named on a terminal."""

MOST_CLUSTERS = 20
"""Clusters of a difference that are named on a terminal."""


@click.group(cls=Group)
def config() -> None:
    """Show what became of the config: who wrote it, when and what for.

    \b
      pointsman config log --store pointsman.db
    """


@config.command("log")
@place_options()
@click.option(
    "--most",
    default=20,
    show_default=True,
    type=click.IntRange(1, MOST_GENERATIONS),
    metavar="COUNT",
    help="How many generations.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def log(place: Place, most: int, as_json: bool) -> None:
    """Show the generations of the config, the newest first: when, by whom, the message, and what changed.

    \b
      pointsman config log --store pointsman.db
      pointsman config log --url http://127.0.0.1:8420 --most 1 --json
    """
    with place.asked() as asked:
        told = asked.ask("GET", ("generations",), {"most": str(most)})
    if as_json:
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    found = Log.of_json(told)
    for each in found.generations:
        _show(each)
    if found.more:
        click.echo("older ones are kept as well: --most shows more", err=True)
    if not found.generations and sys.stderr.isatty():
        click.echo("nothing is configured yet; start with `pointsman apply`", err=True)


def _show(each: Generation) -> None:
    when = short_time(each.at) if each.at else "-"
    said = f": {each.message}" if each.message else ""
    click.echo(f"{each.generation}  {when}  {each.by or 'unknown'}{said}")
    for what, thing in each.changes[:MOST_CHANGES]:
        click.echo(f"    {what} {thing}")
    if each.changed is None:
        click.echo("    what it changed is not known: the one before is not kept")
    elif (more := each.changed - MOST_CHANGES) > 0:
        click.echo(f"    and {more} more: pointsman diff {each.generation - 1} {each.generation}")


@command()
@place_options()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("before", type=click.IntRange(min=0), required=False, metavar="[A")
@click.argument("after", type=click.IntRange(min=1), required=False, metavar="[B]]")
def diff(place: Place, as_json: bool, before: int | None, after: int | None) -> None:
    """Show what differs between the generations A and B of the config, entry by entry, and which clusters that is
    about.

    Without B, what differs between A and the current one; without both, what the last change did.

    \b
      pointsman diff --store pointsman.db
      pointsman diff --store pointsman.db 41 43
    """
    given = {"before": before, "after": after}
    with place.asked() as asked:
        told = asked.ask("GET", ("diff",), {name: str(each) for name, each in given.items() if each is not None})
    if as_json:
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    else:
        _show_difference(Difference.of_json(told))


def _show_difference(found: Difference) -> None:
    click.echo(f"generation {found.before} to {found.after}: {counted(len(found.changes), 'change')}")
    for each in found.changes:
        for line in change_lines(each.json(), each.thing):
            click.echo(f"  {line}")
    if found.moves:
        click.echo(f"\n{counted(len(found.moves), 'cluster')} served by another target, with all else as it is now")
    for move in found.moves[:MOST_CLUSTERS]:
        click.echo(f"  {move}")
        if move.nowhere:
            click.echo(
                click.style(f"    nowhere to go: {move.nowhere}", fg="red"),
                color=None if sys.stdout.isatty() else False,
            )
    if len(found.moves) > MOST_CLUSTERS:
        click.echo(f"  and {len(found.moves) - MOST_CLUSTERS} more; --json shows all")
    clusters = found.clusters
    for what, names in (("new", clusters.new), ("changed", clusters.changed), ("gone", clusters.gone)):
        if not names:
            continue
        click.echo(f"\n{counted(len(names), 'cluster')} {what}")
        for name in names[:MOST_CLUSTERS]:
            click.echo(f"  {name}")
        if len(names) > MOST_CLUSTERS:
            click.echo(f"  and {len(names) - MOST_CLUSTERS} more; --json shows all")
