"""`pointsman instances`: which instance of a service is ill, what its checks printed, and who said so."""

import sys
from collections.abc import Mapping
from typing import Any, Final

import click
import orjson

from pointsman.cli.command import command
from pointsman.cli.place import Place, place_options
from pointsman.model.duration import duration_text
from pointsman.model.errors import InvalidInput
from pointsman.model.names import DEFAULT_NAMESPACE, is_label
from pointsman.model.orders import short_time

MOST_WELL: Final = 20
"""Passing instances of a datacenter that are shown on a terminal."""

MOST_LINES: Final = 5
"""Lines of a check's output that are shown on a terminal."""

LONGEST_LINE: Final = 300
"""Characters of such a line."""

_COLORS = {"critical": "red", "warning": "yellow", "passing": "green"}


@command()
@place_options()
@click.option("--dc", default="", metavar="DC", help="Only the instances there.")
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("service")
def instances(place: Place, dc: str, namespace: str, as_json: bool, service: str) -> None:
    """Show the instances of SERVICE by datacenter, the ill ones first.

    For each its address, its status and since when; who told of it, with which lease, and when that source was last
    heard; and what the checks that do not pass printed. Mesh gateways have the name mesh-gateway.

    \b
      pointsman instances s2 --store pointsman.db
      pointsman instances s2 --url http://127.0.0.1:8420 --dc dc1 --json
      pointsman instances mesh-gateway --store pointsman.db
    """
    for field, value in (("SERVICE", service), ("--namespace", namespace)):
        if not is_label(value):
            raise InvalidInput.single("instances", field, f'"{value}" is not a lower-case DNS label')
    with place.asked() as asked:
        found = asked.ask("GET", ("instances", service), {"namespace": namespace, "dc": dc})
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(found)


def _echo(line: str, color: str | None = None) -> None:
    click.echo(click.style(line, fg=color) if color else line, color=None if sys.stdout.isatty() else False)


def _show(found: Mapping[str, Any]) -> None:
    places: dict[str, list[Mapping[str, Any]]] = {}
    for each in found["instances"]:
        places.setdefault(each["datacenter"], []).append(each)
    if not places:
        click.echo(f"nobody told of an instance of {found['service']} yet", err=True)
    for number, (where, some) in enumerate(places.items()):
        well = sum(each["healthy"] for each in some)
        if number:
            click.echo()
        _echo(f"{where}  {well}/{len(some)} healthy", "green" if well else "red")
        ill = [each for each in some if each["status"] != "passing"]
        passing = [each for each in some if each["status"] == "passing"]
        for each in [*ill, *passing[:MOST_WELL]]:
            _show_instance(each)
        if len(passing) > MOST_WELL:
            click.echo(f"  and {len(passing) - MOST_WELL} more that pass; --json shows all")


def _show_instance(each: Mapping[str, Any]) -> None:
    since = ""
    if each["healthy_since"]:
        since = f", not critical since {short_time(each['healthy_since'])}"
    elif each["ill_at"]:
        since = f", said so at {short_time(each['ill_at'])}"
    idle = "" if each["counts"] else ", gets no traffic: it is neither a sidecar nor a mesh gateway"
    _echo(
        f"  {each['status']}  {each['id']} on {each['node']}, {each['address']}{since}{idle}", _COLORS[each["status"]]
    )
    heard = f", last heard at {short_time(each['heard_at'])}" if each["heard_at"] else ""
    lease = f", lease {duration_text(each['lease_ms'] * 1_000_000)}{heard}" if each["lease_ms"] else ", no lease"
    click.echo(f"    told by {each['source']} with index {each['index']}{lease}")
    if each["silent_since"]:
        _echo(f"    its source is SILENT since {short_time(each['silent_since'])}", "red")
    for check in each["checks"]:
        if check["status"] != "passing":
            _show_check(check)


def _show_check(check: Mapping[str, Any]) -> None:
    of = " of its node" if check["of_node"] else ""
    name = f" ({check['name']})" if check["name"] and check["name"] != check["id"] else ""
    _echo(f"    {check['status']}: check {check['id'] or '-'}{name}{of}", _COLORS[check["status"]])
    # What is printed here came from elsewhere: nothing in it may speak to the terminal.
    lines = check["output"].splitlines()
    for line in lines[:MOST_LINES]:
        plain = "".join(char if char.isprintable() else "?" for char in line[:LONGEST_LINE])
        click.echo(f"      {plain}{'…' if len(line) > LONGEST_LINE else ''}")
    if len(lines) > MOST_LINES:
        click.echo(f"      and {len(lines) - MOST_LINES} more lines; --json shows all")
