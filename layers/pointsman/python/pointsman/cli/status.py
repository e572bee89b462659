"""`pointsman status`: which target of every service serves now, since when and why."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
import orjson

from pointsman.cli.command import command
from pointsman.cli.place import Place, place_options
from pointsman.cli.rejected import AdapterStatus, ask, read_place
from pointsman.model.duration import duration_text
from pointsman.model.findings import Severity
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.orders import Order, order_line
from pointsman.model.words import counted
from pointsman.overview.now import Now, ResolverNow, TargetNow, read_json, unserved
from pointsman.pipeline.heard import SourceStatus

NOBODY: Final = 3
"""The exit code if a service has no healthy target."""

MOST_SHOWN = 20
"""Warnings that are shown on a terminal."""

LOOK_SECONDS: Final = 1.0
"""Seconds between two looks of --watch."""


@command()
@place_options()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--dc", default="", metavar="DC", help="Only as the sidecars of this datacenter see it.")
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True, help="That of SERVICE.")
@click.option("--failed-over", is_flag=True, help="Only what its first target does not serve, or nobody.")
@click.option("--watch", is_flag=True, help="Look again every second, and show what changed, until Ctrl-C.")
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="http://IP:PORT|unix:PATH",
    help="Also show what the Envoys of the adapter with this --ops address reject; repeatable.",
)
@click.argument("service", required=False, default="")
def status(
    place: Place,
    as_json: bool,
    dc: str,
    namespace: str,
    failed_over: bool,
    watch: bool,
    adapters: tuple[str, ...],
    service: str,
) -> int:
    """Show for every service its targets, their health, the active one, since when and why; the worst first.

    With SERVICE only that one, compared with what it is computed from. Beside it: the orders in force, the sources with
    a lease, and with --adapter what Envoys reject.

    Exit codes: 0 all is served; 1 an adapter does not answer, or something failed; 3 a service has no healthy target.

    \b
      pointsman status --store pointsman.db
      pointsman status s2 --store pointsman.db --dc dc1
      pointsman status --url http://127.0.0.1:8420 --failed-over --watch
      pointsman status --store pointsman.db --json | jq '.resolvers[] | {service, active}'
      pointsman status --store pointsman.db --adapter http://127.0.0.1:8423
    """
    places = [read_place(each) for each in adapters]
    query = {"service": service, "namespace": namespace if service else "", "dc": dc}
    with place.asked() as asked:
        shown: Any = None
        while True:
            told = asked.ask("GET", ("status",), query)
            if failed_over:
                told["resolvers"] = [each for each in told["resolvers"] if each["failed_over"] or not each["served"]]
            answers = [ask(each) for each in places]
            if answers:
                told["adapters"] = [each.json() for each in answers]
            if told != shown:
                _show(told, answers, as_json=as_json, again=shown is not None, filtered=failed_over)
            shown = told
            if not watch:
                return _code(told, answers)
            try:
                time.sleep(LOOK_SECONDS)
            except KeyboardInterrupt:
                return _code(told, answers)


def _code(told: Any, answers: Sequence[AdapterStatus]) -> int:
    if any(each.error for each in answers):
        return 1
    return NOBODY if unserved(read_json(told).resolvers) else 0


def _echo(line: str, color: str | None = None) -> None:
    click.echo(click.style(line, fg=color) if color else line, color=None if sys.stdout.isatty() else False)


def _show(told: Any, answers: Sequence[AdapterStatus], *, as_json: bool, again: bool, filtered: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(told, option=0 if again else orjson.OPT_INDENT_2).decode())
        return
    if again and sys.stdout.isatty():
        click.clear()
    elif again:
        click.echo()
    now = read_json(told)
    behind = "" if now.propagated >= now.generation else f" (published up to {now.propagated})"
    only = f", computed for {', '.join(now.datacenters)}" if now.datacenters else ""
    notices = f", notices to {now.notices}" if now.notices else ""
    click.echo(f"config generation {now.generation}{behind}, trust domain {now.trust_domain or '-'}{only}{notices}")
    if now.resolvers:
        _sum_up(now)
    _show_orders(now.orders)
    for each in now.resolvers:
        _show_resolver(each)
    _show_sources(now.sources)
    _show_findings(told["findings"])
    for adapter in answers:
        _show_adapter(adapter)
    if not now.resolvers and filtered:
        click.echo("nothing failed over")
    elif not now.resolvers and sys.stderr.isatty():
        click.echo("no such resolver is used by a registered sidecar; `pointsman apply` registers one", err=True)


def _sum_up(now: Now) -> None:
    nobody, over = unserved(now.resolvers), [each for each in now.resolvers if each.failed_over and each.served]
    trouble = [each for each in now.resolvers if each.trouble]
    parts = [f"{counted(len(now.resolvers), 'cluster')}"]
    parts += [f"{len(nobody)} without a healthy target"] if nobody else []
    parts += [f"{len(over)} failed over"] if over else []
    parts += [f"{len(trouble)} with something wrong"] if trouble else []
    _echo(", ".join(parts), "red" if nobody else "yellow" if over or trouble else "green")


def _show_adapter(adapter: AdapterStatus) -> None:
    first, *others = adapter.lines()
    click.echo()
    _echo(first, "red" if others or adapter.error else None)
    for line in others:
        click.echo(line)


def _show_orders(orders: Sequence[Order]) -> None:
    if orders:
        click.echo(f"\n{counted(len(orders), 'order')} in force")
    for each in orders:
        click.echo(f"  {order_line(each)}")


def _show_sources(sources: Sequence[SourceStatus]) -> None:
    if not sources:
        return
    silent = [each for each in sources if each.silent_since]
    click.echo(f"\n{counted(len(sources), 'source')} with a lease, {len(silent)} silent")
    for each in sources:
        lease = duration_text(each.lease_ms * 1_000_000)
        tells = "" if each.catalogs is None else f", tells of {counted(each.catalogs, 'service')}"
        line = (
            f"  {each.datacenter}  {each.source}  lease {lease}{tells}, last heard at {each.at} with index {each.index}"
        )
        _echo(
            f"{line}; SILENT since {each.silent_since}" if each.silent_since else line,
            "red" if each.silent_since else None,
        )


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


def _show_resolver(each: ResolverNow) -> None:
    click.echo(f"\n{each.datacenter}  {each.cluster}  version {each.version}, since {each.since or '-'}")
    for target in each.targets:
        mark, color = ("*", "green" if target.healthy else "red") if target.id == each.active else (" ", None)
        _echo(f"  {mark} {target.id}  {target.healthy}/{target.total} healthy{_way(target)}", color)
    _echo(f"    {each.why}", None if each.served else "red")
    if each.switch.text:
        click.echo(f"    because of: {each.switch.text}")
    if each.trouble and each.trouble != each.why:
        _echo(f"    {each.trouble}", "red")
    if each.avoided:
        _echo(f"    {counted(len(each.avoided), 'ill gateway')} left out: {', '.join(each.avoided)}", "red")


def _way(target: TargetNow) -> str:
    if target.mode not in ("local", "remote"):
        return ""
    counts = ", ".join(f"{each.usable}/{each.known} usable in {each.datacenter}" for each in target.gateways)
    return f"  through {target.mode} gateways" + (f" ({counts})" if counts else "")
