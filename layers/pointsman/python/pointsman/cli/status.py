"""`pointsman status`: shows where every resolver's traffic goes now."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
import orjson

from pointsman.cli.command import command
from pointsman.cli.place import Place, place_options
from pointsman.cli.rejected import AdapterStatus, ask, read_place
from pointsman.model.duration import duration_text
from pointsman.model.findings import Severity
from pointsman.model.orders import Order, order_line, read_order
from pointsman.model.words import counted

MOST_SHOWN = 20
"""Warnings that are shown on a terminal."""


@command()
@place_options()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--dc", default="", metavar="DC", help="Only the resolvers as this datacenter's sidecars see them.")
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="http://IP:PORT|unix:PATH",
    help="Also show what the Envoys of the adapter with this --ops address reject; repeatable.",
)
def status(place: Place, as_json: bool, dc: str, adapters: tuple[str, ...]) -> int:
    """Show for each resolver its targets, their health, the active one, why, since when, and the version.

    With --adapter, also show what Envoys reject, with Envoy's own reason if it gives one. The exit code is 1 if an
    adapter does not answer.

    \b
      pointsman status --store pointsman.db
      pointsman status --store pointsman.db --json | jq '.resolvers[] | {service, active}'
      pointsman status --url http://127.0.0.1:8420
      pointsman status --store pointsman.db --adapter http://127.0.0.1:8423
    """
    places = [read_place(each) for each in adapters]
    with place.asked() as asked_place:
        told = asked_place.ask("GET", ("status",), {"dc": dc})
    resolvers = told["resolvers"]
    asked = [ask(each) for each in places]
    code = 1 if any(each.error for each in asked) else 0
    if as_json:
        if asked:
            told["adapters"] = [each.json() for each in asked]
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return code
    published = told["propagated"]
    behind = "" if published >= told["generation"] else f" (published up to {published})"
    only = f", computed for {', '.join(told['datacenters'])}" if told["datacenters"] else ""
    notices = f", notices to {told['notices']}" if told["notices"] else ""
    domain = told["trust_domain"] or "-"
    click.echo(f"config generation {told['generation']}{behind}, trust domain {domain}{only}{notices}")
    _show_orders([*map(read_order, told["orders"])])
    for each in resolvers:
        _show(each)
    _show_sources(told["sources"])
    _show_findings(told["findings"])
    for adapter in asked:
        _show_adapter(adapter)
    if not resolvers and sys.stderr.isatty():
        click.echo("no resolver is used by a registered sidecar yet; `pointsman apply` registers one", err=True)
    return code


def _show_adapter(adapter: AdapterStatus) -> None:
    first, *others = adapter.lines()
    bad = bool(others or adapter.error)
    click.echo()
    click.echo(click.style(first, fg="red") if bad else first, color=None if sys.stdout.isatty() else False)
    for line in others:
        click.echo(line)


def _show_orders(orders: Sequence[Order]) -> None:
    if orders:
        click.echo(f"\n{counted(len(orders), 'order')} in force")
    for each in orders:
        click.echo(f"  {order_line(each)}")


def _show_sources(sources: Sequence[Mapping[str, Any]]) -> None:
    if not sources:
        return
    silent = [each for each in sources if each["silent_since"]]
    click.echo(f"\n{counted(len(sources), 'source')} with a lease, {len(silent)} silent")
    for each in sources:
        lease = duration_text(each["lease_ms"] * 1_000_000)
        tells = "" if each["catalogs"] is None else f", tells of {counted(each['catalogs'], 'service')}"
        heard = f"last heard at {each['at']} with index {each['index']}"
        line = f"  {each['datacenter']}  {each['source']}  lease {lease}{tells}, {heard}"
        if each["silent_since"]:
            line = click.style(f"{line}; SILENT since {each['silent_since']}", fg="red")
        click.echo(line, color=None if sys.stdout.isatty() else False)


def _show_findings(findings: Sequence[Mapping[str, Any]]) -> None:
    """The warnings, and how many notes there are. (Of silent sources the list above has each already.)"""
    warnings = [each for each in findings if each["severity"] == Severity.WARNING and each["what"] != "silent"]
    notes = sum(each["severity"] == Severity.NOTE for each in findings)
    if warnings or notes:
        click.echo(f"\n{counted(len(warnings), 'warning')}, {counted(notes, 'note')} (--json has each)")
    for each in warnings[:MOST_SHOWN]:
        line = click.style(f"  {each['where']}: {each['says']}", fg="red")
        click.echo(f"{line}: {each['do']}", color=None if sys.stdout.isatty() else False)
    if (more := len(warnings) - MOST_SHOWN) > 0:
        click.echo(f"  and {counted(more, 'warning')} more")


def _show(resolver: Mapping[str, Any]) -> None:
    version = f"version {resolver['version']}, since {resolver['since'] or '-'}"
    click.echo(f"\n{resolver['datacenter']}  {resolver['cluster']}  {version}")
    for target in resolver["targets"]:
        mark, color = ("*", "green") if target["id"] == resolver["active"] else (" ", None)
        way = f"  through {target['mode']} gateways" if target["mode"] in ("local", "remote") else ""
        line = f"  {mark} {target['id']}  {target['healthy']}/{target['total']} healthy{way}"
        click.echo(click.style(line, fg=color) if color else line, color=None if sys.stdout.isatty() else False)
    click.echo(f"    {resolver['why']}")
    if resolver["avoided"]:
        ill = f"{counted(len(resolver['avoided']), 'ill gateway')} left out: {', '.join(resolver['avoided'])}"
        click.echo(f"    {click.style(ill, fg='red')}", color=None if sys.stdout.isatty() else False)
