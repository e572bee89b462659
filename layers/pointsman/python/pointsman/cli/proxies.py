"""`pointsman proxies`: which Envoy has what, by which adapter, and which is behind."""

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
from pointsman.model.words import counted

BEHIND: Final = 3
"""The exit code if an Envoy is behind, or rejects something."""

MOST_WELL: Final = 50
"""Envoys with nothing wrong that are shown on a terminal."""

_COLORS = {"rejecting": "red", "behind": "red", "ahead": "yellow", "retired": "yellow", "unseen": "yellow"}
_OVER = {"ads": " over gRPC", "rest": " over HTTP", "files": "", "admin": ", says its admin interface,", "": ""}
_NANOSECONDS = 1_000_000_000
_WELL = ("changing", "current")


@command()
@place_options()
@click.option("--dc", default="", metavar="DC", help="Only the Envoys there.")
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("service", default="")
def proxies(place: Place, dc: str, namespace: str, as_json: bool, service: str) -> int:
    """Show which Envoy has what, and which is behind or rejects something, the worst first.

    With SERVICE only its sidecars; mesh gateways have the name mesh-gateway. Adapters write what they see into the
    store, at most once a minute, so that is how old it can be. A registered proxy that no adapter has seen is listed
    too.

    Exit codes: 0 no Envoy is behind or rejects anything; 3 one is or does; 1 refused or failed.

    \b
      pointsman proxies --store pointsman.db
      pointsman proxies s1 --dc dc1 --store pointsman.db
      pointsman proxies --url http://127.0.0.1:8420 --json
    """
    for field, value in (("SERVICE", service), ("--namespace", namespace)):
        if value and not is_label(value):
            raise InvalidInput.single("proxies", field, f'"{value}" is not a lower-case DNS label')
    with place.asked() as asked:
        found = asked.ask("GET", ("proxies",), {"service": service, "namespace": namespace, "dc": dc})
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(found)
    return BEHIND if found["counts"]["rejecting"] or found["counts"]["behind"] else 0


def _echo(line: str, color: str | None = None) -> None:
    click.echo(click.style(line, fg=color) if color else line, color=None if sys.stdout.isatty() else False)


def _show(found: Mapping[str, Any]) -> None:
    counts = ", ".join(f"{number} {state}" for state, number in found["counts"].items() if number)
    red = found["counts"]["rejecting"] or found["counts"]["behind"]
    _echo(counts or "nothing is registered, and no adapter has seen an Envoy", "red" if red else None)
    well = [each for each in found["envoys"] if each["state"] in _WELL]
    for each in found["envoys"]:
        if each["state"] not in _WELL:
            _show_envoy(each)
    for each in well[:MOST_WELL]:
        _show_envoy(each)
    if len(well) > MOST_WELL:
        click.echo(f"and {len(well) - MOST_WELL} more with nothing wrong; --json shows all")
    for each in found["adapters"]:
        unnamed = f", {each['unnamed']} of them not named" if each["unnamed"] else ""
        envoys = counted(each["envoys"], "Envoy")
        click.echo(f"adapter {each['name']}: {envoys}{unnamed}, told at {short_time(each['at'])}")


def _show_envoy(each: Mapping[str, Any]) -> None:
    if each["state"] == "unseen":
        _echo(f"unseen  {each['proxy']}: registered, and no adapter has seen an Envoy of it", _COLORS["unseen"])
        return
    who = _plain(each["node"]) or ("its files" if each["way"] == "files" else "an Envoy without a node id")
    late = ""
    if each["state"] in ("rejecting", "behind") and each["behind_s"] >= 1:
        late = f" for {duration_text(round(each['behind_s']) * _NANOSECONDS)}"
    newest = f", has what was published until {short_time(each['newest'])}" if each["newest"] else ""
    _echo(
        f"{each['state']}{late}  {each['proxy']}, {who}{_OVER.get(each['way'], '')} from {each['adapter']}"
        f" since {short_time(each['since'])}{newest}",
        _COLORS.get(each["state"]),
    )
    for lack in each["lacks"]:
        words = " ".join(filter(None, (_WORDS[lack["why"]], lack["kind"], _plain(lack["name"]))))
        reason = f": {_plain(lack['reason'])}" if lack["reason"] else ""
        click.echo(f"    {words}, since {short_time(lack['since'])}{reason}")
    if each["missing"]:
        click.echo(f"    its adapter does not have the newest of {', '.join(each['missing'])}")
    for problem in each["problems"]:
        click.echo(f"    {_plain(problem)}")


_WORDS = {
    "rejected": "rejects",
    "unanswered": "was sent, and has neither taken nor rejected:",
    "unwritten": "its files could not be written",
    "static": "is not reached by intentions",
    "ahead": "has something newer than its adapter; the store is being read",
    "retired": "its registration was deleted; stop it, or register it again with `pointsman apply`",
}


def _plain(text: str) -> str:
    """On one line, with nothing that speaks to the terminal: an Envoy wrote it."""
    return "".join(char if char.isprintable() else " " for char in text)
