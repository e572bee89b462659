"""`pointsman drain`, `pin`, `freeze`, `orders`, `end`: the orders of operators."""

import getpass
import socket
from collections.abc import Callable
from typing import Any

import click
import orjson

from pointsman.api.orders import given_body, orders_body
from pointsman.cli.command import command
from pointsman.cli.options import engine_on, notices_option, store_option
from pointsman.model.errors import InvalidInput
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_label
from pointsman.model.orders import (
    Subject,
    Verb,
    Wish,
    checked_name,
    checked_reason,
    order_line,
    short_time,
)
from pointsman.model.wishes import read_end as end_of
from pointsman.model.words import counted
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.give import Evaluation, give
from pointsman.pipeline.give import end as end_order
from pointsman.pipeline.orders import read_orders_object
from pointsman.pipeline.settle import Settled
from pointsman.store import keys

MOST_MOVES = 50
"""Clusters that move and are named on a terminal; `--json` names all."""

namespace_option = click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)


def order_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that gives an order."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="For programs."),
        click.option("--dry-run", is_flag=True, help="Say what would move; change nothing."),
        click.option("--force", is_flag=True, help="Give the order although it is refused; that is written down."),
        click.option("--reason", default="", metavar="TEXT", help="Why, for those who see the order later; required."),
        click.option("--until", default="", metavar="TIME", help="When it ends, like 2026-11-27T14:00:00Z."),
        click.option("--for", "for_", default="", metavar="DURATION", help="For how long, like 90m or 2h."),
        notices_option,
        store_option,
    ):
        function = option(function)
    return function


@command()
@order_options
@click.option("--dc", default="", metavar="DC", help="Drain the service TARGET in this datacenter alone.")
@namespace_option
@click.argument("target")
def drain(store: str, notices: str, dc: str, namespace: str, target: str, **options: Any) -> int:
    """Send traffic elsewhere: away from the datacenter TARGET, or with --dc from the service TARGET in one.

    A drained target serves only where nothing else has a healthy instance. An order needs an end (--for or --until, 30
    days at most) and a reason. It is refused, with who it would leave without a healthy target, unless --force is
    given. Draining again changes the end and the reason.

    The command ends when the order is durable and its snapshots are published.

    \b
      pointsman drain dc2 --store pointsman.db --for 2h --reason "new kernel"
      pointsman drain s2 --dc dc2 --store pointsman.db --for 30m --reason "s2 is slow there"
      pointsman drain dc2 --store pointsman.db --until 2026-12-24T06:00:00Z --reason "power works"
    """
    return _give(store, notices, subject_of(target, dc, namespace), **options)


@command()
@order_options
@click.option("--to", required=True, metavar="DC", help="The datacenter that is to serve.")
@click.option("--from", "caller", default="", metavar="DC", help="Only for callers in this datacenter.")
@namespace_option
@click.argument("service")
def pin(store: str, notices: str, to: str, caller: str, namespace: str, service: str, **options: Any) -> int:
    """Prefer a datacenter for SERVICE, for all callers or those in one datacenter.

    The pinned target serves while it has a healthy instance, is not drained, and somebody who tells of it is heard. Of
    several pins, and freezes, the one given last counts.

    \b
      pointsman pin s2 --to dc3 --store pointsman.db --for 1h --reason "try dc3"
      pointsman pin s2 --to dc3 --from dc1 --store pointsman.db --for 1h --reason "try dc3"
    """
    subject = Subject(
        Verb.PIN, _label("--to", to), _service(namespace, service), _label("--from", caller) if caller else ""
    )
    return _give(store, notices, subject, **options)


@command()
@order_options
@namespace_option
@click.argument("service", required=False, default="")
def freeze(store: str, notices: str, namespace: str, service: str, **options: Any) -> int:
    """Keep what serves now, for SERVICE or for everything: each resolver is pinned to the target that serves.

    What fails is left all the same; when it is back, it serves again.

    \b
      pointsman freeze --store pointsman.db --for 1h --reason "release"
      pointsman freeze s2 --store pointsman.db --for 1h --reason "release of s2"
    """
    subject = Subject(Verb.FREEZE, service=_service(namespace, service) if service else None)
    return _give(store, notices, subject, **options)


@command()
@store_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def orders(store: str, as_json: bool) -> None:
    """Show the orders in force, and those that ended lately.

    \b
      pointsman orders --store pointsman.db
      pointsman orders --store pointsman.db --json | jq '.in_force[].id'
    """
    with engine_on(store) as engine:
        found = read_orders_object(engine.store.get(keys.ORDERS)).orders
        now = engine.now()
    if as_json:
        click.echo(orjson.dumps(orders_body(found), option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(f"{counted(len(found.in_force), 'order')} in force")
    for each in found:
        due = "; its end has come, and nobody has written that yet" if each.until <= now else ""
        click.echo(f"  {order_line(each)}{due}")
    if found.ended:
        click.echo(f"\n{counted(len(found.ended), 'order')} ended lately")
    for past in found.ended:
        how = f"by {past.by}" if past.by else "when its time was up"
        click.echo(f"  {order_line(past.order)}; ended at {short_time(past.at)} {how}")


@command()
@store_option
@notices_option
@click.argument("id_", metavar="ID")
def end(store: str, notices: str, id_: str) -> int:
    """End the order ID before its time. `pointsman orders` shows the ids.

    The command ends when that is durable and its snapshots are published.

    \b
      pointsman end d-1 --store pointsman.db
    """
    with engine_on(store, writes=True, notices=notices) as engine:
        done = end_order(engine, id_, who())
    what = "ended" if done.orders else "had ended before"
    click.echo(f"order {id_} {what}; {counted(len(done.settled.moved), 'cluster')} moved")
    return tell_of(done.settled)


def subject_of(target: str, dc: str, namespace: str) -> Subject:
    """What a drain is about: the datacenter `target`, or the service `target` in the datacenter `dc`."""
    if dc:
        return Subject(Verb.DRAIN, _label("--dc", dc), _service(namespace, target))
    return Subject(Verb.DRAIN, _label("TARGET", target))


def _give(
    store: str,
    notices: str,
    subject: Subject,
    *,
    for_: str,
    until: str,
    reason: str,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    with engine_on(store, writes=not dry_run, notices=notices) as engine:
        wish = Wish(subject, read_end(engine, for_, until), checked_reason(reason), who())
        done = give(engine, wish, force=force, dry_run=dry_run)
    if as_json:
        click.echo(orjson.dumps(given_body(done, dry_run), option=orjson.OPT_INDENT_2).decode())
        return 1 if done.settled.failed else 0
    click.echo(f"{'would be in force' if dry_run else 'in force'}: {order_line(done.order)}")
    for line in moves(done.evaluation):
        click.echo(line)
    for problem in done.evaluation.problems():
        click.echo(f"forced: {problem}", err=True)
    return tell_of(done.settled)


def moves(evaluation: Evaluation) -> list[str]:
    """A line for each cluster that moves, with the weight of the healthy instances that serve before and after."""
    found = evaluation.moves
    if not found:
        return [f"  none of {counted(len(evaluation.effects), 'cluster')} moves"]
    lines = [
        f"  {each.cluster} as {each.datacenter} sees it: {each.before} -> {each.after}, healthy weight "
        f"{each.weight_before} -> {each.weight_after}"
        for each in found[:MOST_MOVES]
    ]
    left = len(found) - len(lines)
    stay = len(evaluation.effects) - len(found)
    lines += [f"  and {left} more; --json shows all"] if left else []
    return lines + ([f"  {counted(stay, 'cluster')} {'stays' if stay == 1 else 'stay'} where they are"] if stay else [])


def tell_of(settled: Settled) -> int:
    """Print what could not be published; the exit code."""
    for warning in settled.warnings:
        click.echo(f"pointsman: {warning}", err=True)
    for failure in settled.failures():
        click.echo(f"pointsman: cannot be computed and stays unchanged: {failure}", err=True)
    return 1 if settled.failed else 0


def who() -> str:
    """Who gives the order: the user and the host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return checked_name(f"{user}@{socket.gethostname()}")


def read_end(engine: Engine, for_: str, until: str) -> str:
    """When an order ends, from the values of --for and --until. Raises InvalidInput, UsageError if not one of them is
    given."""
    if bool(for_) == bool(until):
        raise click.UsageError("give an end: --for DURATION or --until TIME")
    return end_of(engine.now(), for_, until, "--")


def _label(field: str, value: str) -> str:
    if not is_label(value):
        raise InvalidInput.single("the order", field, f'"{value}" is not a lower-case DNS label')
    return value


def _service(namespace: str, name: str) -> ServiceName:
    return ServiceName(_label("--namespace", namespace), _label("SERVICE", name))
