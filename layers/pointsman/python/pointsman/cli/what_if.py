"""`pointsman whatif`, and what `pointsman apply --plan` shows: what would happen."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import Any, Final

import click
import orjson

from pointsman.cli.changes import change_lines, colored
from pointsman.cli.command import command
from pointsman.cli.documents import read_documents
from pointsman.cli.options import engine_on
from pointsman.cli.output import progress
from pointsman.cli.place import Place, place_options
from pointsman.cli.remote import Remote
from pointsman.failover.evaluation import read_effect
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.words import counted
from pointsman.store.protocol import StoreMissing

MOST_LINES: Final = 50
"""Things of a kind that are shown; the others are counted."""

NOWHERE: Final = 3
"""The exit code if somebody would have nowhere to go, or an order would be refused."""

CHANGES: Final = 4
"""The exit code if something would change, and everybody would have somewhere to go."""

_WIDTH: Final = 100
"""Characters of a line about what is supposed."""

CODES: Final = {"nothing": 0, "changes": CHANGES, "nowhere": NOWHERE}
"""The exit code for each result."""


@command()
@place_options()
@click.option("--down", multiple=True, metavar="DC|DC/SERVICE", help="It has no healthy instance; repeatable.")
@click.option(
    "--order",
    "orders",
    multiple=True,
    metavar="TEXT",
    help='It is in force, like "drain dc1" or "pin s2 to dc3"; or "end d-1": it is over. Repeatable.',
)
@click.option("--owner", default="", metavar="NAME", help="Who would write the FILEs.")
@click.option("--dc", default="", metavar="DC", help="The datacenter of registrations that name none.")
@click.option("--prune", is_flag=True, help="What the owner has and the FILEs do not would go.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("files", nargs=-1, metavar="[FILE|DIR]...")
def whatif(
    place: Place,
    down: tuple[str, ...],
    orders: tuple[str, ...],
    owner: str,
    dc: str,
    prune: bool,
    as_json: bool,
    files: tuple[str, ...],
) -> int:
    """Show what would happen if all of this was so at once: something is down, orders are in force or over, the FILEs
    are applied. Nothing is written.

    It says which clusters would send their traffic elsewhere, with the healthy weight before and after, who would
    receive more, and who would have nowhere to go. A datacenter that is down takes its mesh gateways and its callers
    along.

    Exit codes: 0 nothing would change; 4 something would, and everybody would have somewhere to go; 3 somebody would
    have nowhere to go, or an order would be refused; 1 refused or failed.

    \b
      pointsman whatif --store pointsman.db --down dc1
      pointsman whatif --store pointsman.db --down dc1/s2 --order "drain dc2"
      pointsman whatif --url http://127.0.0.1:8420 --order "pin s2 to dc3" s2-resolver.hcl
    """
    if not down and not orders and not files:
        raise click.UsageError("suppose something: --down, --order or a FILE")
    if not files and (owner or dc or prune):
        raise click.UsageError("--owner, --dc and --prune are about FILEs; give one")
    documents = read_documents(files, dc) if files else None
    told = ask_what_if(place, documents, down=down, orders=orders, owner=owner, prune=prune)
    tell(told, as_json)
    return CODES[told["result"]]


def ask_what_if(
    place: Place,
    documents: Sequence[Mapping[str, Any]] | None,
    *,
    down: Sequence[str] = (),
    orders: Sequence[str] = (),
    owner: str = "",
    prune: bool = False,
    trust_domain: str = "",
) -> Any:
    """What would happen at `place`, as the API answers it. A store that is not there yet counts as empty."""
    if place.urls:
        (remote,) = place.remotes
        return ask_remote(remote, documents, down=down, orders=orders, owner=owner, prune=prune)
    # Imported only when needed: who asks another process does not need it.
    from pointsman.api.what_if import Asked, suppose

    asked = Asked(down, orders, documents, owner, prune)
    try:
        with engine_on(place.store) as engine:
            return suppose(engine, asked, trust_domain, progress())
    except StoreMissing as missing:
        if documents is None:
            raise
        click.echo(f"{missing}; this would be the first config", err=True)
        with TemporaryDirectory() as scratch, engine_on(os.path.join(scratch, "empty.db"), create=True) as engine:
            return suppose(engine, asked, trust_domain, progress())


def ask_remote(
    remote: Remote,
    documents: Sequence[Mapping[str, Any]] | None,
    *,
    down: Sequence[str] = (),
    orders: Sequence[str] = (),
    owner: str = "",
    prune: bool = False,
) -> Any:
    """What would happen at a running control plane."""
    body = {"down": list(down), "orders": list(orders)} | ({} if documents is None else {"documents": list(documents)})
    return remote.ask("POST", ("whatif",), {"owner": owner, "prune": "1" if prune else ""}, body)


def tell(told: Mapping[str, Any], as_json: bool) -> None:
    """Print what would happen."""
    if as_json:
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    for line in lines(told):
        click.echo(line)


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """What would happen, for people."""
    counts, clusters = told["counts"], told["clusters"]
    supposed = [f"{each} is down" for each in told["down"]]
    supposed += [f'"{each}" is ordered' for each in told["orders"]]
    documents = f"{counted(counts['documents'], 'document')} of generation {told['generation']}"
    supposed += [f"{documents} {'changes' if counts['documents'] == 1 else 'change'}"] if told["documents"] else []
    yield _joined(supposed) if supposed else f"generation {told['generation']} is that already"
    yield from _part(told["documents"], counts["documents"], lambda each: change_lines(each, each["thing"]))
    if told["plans"]:
        yield ""
        yield f"{counted(counts['plans'], 'cluster')} changed"
        yield from _part(told["plans"], counts["plans"], _plan_lines)
    if counts["moves"]:
        yield ""
        yield f"{counted(counts['moves'], 'cluster')} with traffic that goes elsewhere"
        yield from _part([each for each in clusters if each["change"] == "moves"], counts["moves"], _move_lines)
    if told["receivers"]:
        yield ""
        yield "who receives more"
        yield from _part(told["receivers"], counts["receivers"], _receiver_lines)
    if told["calls"]:
        yield ""
        yield f"{counted(counts['calls'], 'call')} decided otherwise"
        yield from _part(told["calls"], counts["calls"], _call_lines)
    if counts["stranded"]:
        yield ""
        yield colored(f"{counted(counts['stranded'], 'cluster')} with nowhere to go", "red", bold=True)
        yield from _part([each for each in clusters if each["stranded"]], counts["stranded"], _stranded_lines)
    if counts["falls"]:
        yield ""
        yield f"{counted(counts['falls'], 'cluster')} of callers that are down themselves"
    yield ""
    yield _result(told)


def _joined(supposed: Sequence[str]) -> str:
    """All that is supposed, in lines that fit a terminal."""
    return "\n".join(wrap(f"if {' and '.join(supposed)}:", _WIDTH, subsequent_indent="  ", break_long_words=False))


def _part(
    found: Sequence[Mapping[str, Any]], total: int, lines_of: Callable[[Mapping[str, Any]], Iterable[str]]
) -> Iterator[str]:
    """The lines of the first MOST_LINES, and how many more there are."""
    for each in found[:MOST_LINES]:
        yield from (f"  {line}" for line in lines_of(each))
    if (more := total - min(len(found), MOST_LINES)) > 0:
        yield f"  and {more:,} more; --json has {'all' if total == len(found) else f'{len(found):,}'}"


def _plan_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    whose = "as the gateways of" if plan["of"] == "gateways" else "as"
    sees = "have it" if plan["of"] == "gateways" else "sees it"
    return change_lines(plan, f"{plan['cluster']} {whose} {plan['datacenter']} {sees}")


def _move_lines(cluster: Mapping[str, Any]) -> list[str]:
    return [f"{read_effect(cluster)}{_of(cluster)}"]


def _stranded_lines(cluster: Mapping[str, Any]) -> list[str]:
    return [f"{read_effect(cluster).seen}: {cluster['stranded']}{_of(cluster)}"]


def _receiver_lines(each: Mapping[str, Any]) -> list[str]:
    was, will = (
        f"{counted(each[f'clusters_{when}'], 'cluster')} of {counted(each[f'registrations_{when}'], 'registration')}"
        for when in ("before", "after")
    )
    weights = f"healthy weight {each['weight_before']} -> {each['weight_after']}"
    return [f"{each['target']}: {weights}, serves {was} -> {will}"]


def _call_lines(call: Mapping[str, Any]) -> list[str]:
    caller, service = (call[name].removeprefix(f"{DEFAULT_NAMESPACE}/") for name in ("caller", "service"))
    by = f", by {call['by']}" if call["by"] else ""
    return [f"{caller} calls {service}: {call['before']} -> {call['after']}{by}"]


def _of(cluster: Mapping[str, Any]) -> str:
    """How many registrations of sidecars have a cluster."""
    return f" ({counted(cluster['registrations'], 'registration')})"


def _result(told: Mapping[str, Any]) -> str:
    unready = told["counts"]["unready"]
    match told["result"]:
        case "nothing":
            return "nothing would change"
        case "changes":
            who = "everybody who is left" if told["counts"]["goes"] else "everybody"
            new = f"; {counted(unready, 'new cluster')} without a healthy target yet" if unready else ""
            return f"{who} would have somewhere to go{new}"
        case _:
            return colored("somebody would have nowhere to go", "red", bold=True)
