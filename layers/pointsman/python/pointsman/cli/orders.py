"""`pointsman drain`, `pin`, `freeze`, `orders`, `end`: the orders of operators."""

import getpass
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from pointsman.cli.command import command
from pointsman.cli.everywhere import tell_behind, try_all, write_all
from pointsman.cli.place import Local, Place, place_options
from pointsman.cli.remote import Missing, Remote
from pointsman.failover.evaluation import read_effect
from pointsman.model.errors import InvalidInput
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_label
from pointsman.model.orders import (
    Subject,
    Verb,
    checked_name,
    checked_reason,
    order_line,
    read_ended,
    read_order,
    short_time,
)
from pointsman.model.wishes import read_end as end_of
from pointsman.model.words import counted
from pointsman.pipeline.give import Evaluation

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
        place_options(writes=True, several=True),
    ):
        function = option(function)
    return function


@command()
@order_options
@click.option("--dc", default="", metavar="DC", help="Drain the service TARGET in this datacenter alone.")
@namespace_option
@click.argument("target")
def drain(place: Place, dc: str, namespace: str, target: str, **options: Any) -> int:
    """Send traffic elsewhere: away from the datacenter TARGET, or with --dc from the service TARGET in one.

    A drained target serves only where nothing else has a healthy instance. An order needs an end (--for or --until, 30
    days at most) and a reason. It is refused, with who it would leave without a healthy target, unless --force is
    given. Draining again changes the end and the reason.

    The command ends when the order is durable and its snapshots are published. With several --url the order is given to
    each of these control planes, or to none if one that answers refuses it; the exit code is 5 if one does not answer.

    \b
      pointsman drain dc2 --store pointsman.db --for 2h --reason "new kernel"
      pointsman drain s2 --dc dc2 --store pointsman.db --for 30m --reason "s2 is slow there"
      pointsman drain dc2 --store pointsman.db --until 2026-12-24T06:00:00Z --reason "power works"
      pointsman drain dc2 --url http://10.1.0.5:8420 --url http://10.3.0.5:8420 --for 2h --reason "new kernel"
    """
    return _give(place, subject_of(target, dc, namespace), **options)


@command()
@order_options
@click.option("--to", required=True, metavar="DC", help="The datacenter that is to serve.")
@click.option("--from", "caller", default="", metavar="DC", help="Only for callers in this datacenter.")
@namespace_option
@click.argument("service")
def pin(place: Place, to: str, caller: str, namespace: str, service: str, **options: Any) -> int:
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
    return _give(place, subject, **options)


@command()
@order_options
@namespace_option
@click.argument("service", required=False, default="")
def freeze(place: Place, namespace: str, service: str, **options: Any) -> int:
    """Keep what serves now, for SERVICE or for everything: each resolver is pinned to the target that serves.

    What fails is left all the same; when it is back, it serves again.

    \b
      pointsman freeze --store pointsman.db --for 1h --reason "release"
      pointsman freeze s2 --store pointsman.db --for 1h --reason "release of s2"
    """
    subject = Subject(Verb.FREEZE, service=_service(namespace, service) if service else None)
    return _give(place, subject, **options)


@command()
@place_options()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def orders(place: Place, as_json: bool) -> None:
    """Show the orders in force, and those that ended lately.

    \b
      pointsman orders --store pointsman.db
      pointsman orders --url http://127.0.0.1:8420 --json | jq '.in_force[].id'
    """
    with place.asked() as asked:
        told = asked.ask("GET", ("orders",))
    if as_json:
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    in_force, ended = [*map(read_order, told["in_force"])], [*map(read_ended, told["ended"])]
    click.echo(f"{counted(len(in_force), 'order')} in force")
    for each in in_force:
        due = "; its end has come, and nobody has written that yet" if each.until <= _now() else ""
        click.echo(f"  {order_line(each)}{due}")
    if ended:
        click.echo(f"\n{counted(len(ended), 'order')} ended lately")
    for past in ended:
        how = f"by {past.by}" if past.by else "when its time was up"
        click.echo(f"  {order_line(past.order)}; ended at {short_time(past.at)} {how}")


@command()
@place_options(writes=True)
@click.argument("id_", metavar="ID")
def end(place: Place, id_: str) -> int:
    """End the order ID before its time. `pointsman orders` shows the ids.

    The command ends when that is durable and its snapshots are published.

    \b
      pointsman end d-1 --store pointsman.db
      pointsman end d-1 --url http://127.0.0.1:8420
    """
    with place.asked(writes=True) as asked:
        try:
            told = asked.ask("POST", ("orders", id_, "end"), {"by": who()})
        except Missing:
            reason = "is not there; `pointsman orders` shows those in force"
            raise InvalidInput.single(f"order {id_}", "", reason) from None
    what = "ended" if told["ended"] else "had ended before"
    click.echo(f"order {id_} {what}; {counted(told['moved'], 'cluster')} moved")
    return _tell_of(told)


def subject_of(target: str, dc: str, namespace: str) -> Subject:
    """What a drain is about: the datacenter `target`, or the service `target` in the datacenter `dc`."""
    if dc:
        return Subject(Verb.DRAIN, _label("--dc", dc), _service(namespace, target))
    return Subject(Verb.DRAIN, _label("TARGET", target))


def _give(
    place: Place,
    subject: Subject,
    *,
    for_: str,
    until: str,
    reason: str,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    # Read here, so that a message names the option. Several are told the same end, others count from their own clock.
    end_ = read_end(_now(), for_, until)
    if len(place.urls) > 1:
        for_, until = "", end_
    body = {
        "verb": subject.verb.value,
        "datacenter": subject.datacenter,
        "service": None if subject.service is None else str(subject.service),
        "caller": subject.caller,
        "for": for_,
        "until": until,
        "reason": checked_reason(reason),
    }
    query = {"by": who(), "force": "1" if force else ""}

    def write(asked: Remote | Local, only_try: bool) -> Any:
        return asked.ask("POST", ("orders",), {**query, "dry_run": "1" if only_try else ""}, body)

    if len(place.urls) <= 1:
        with place.asked(writes=not dry_run) as asked:
            return _show_given(write(asked, dry_run), as_json)
    outcomes = try_all(place.remotes, write) if dry_run else write_all(place.remotes, write)
    if as_json:
        given = [{"url": each.url, **each.told} for each in outcomes if each.error is None]
        click.echo(orjson.dumps(given, option=orjson.OPT_INDENT_2).decode())
        return tell_behind(outcomes) or (1 if any(each["failed"] for each in given) else 0)
    code = 0
    for each in outcomes:
        if each.error is None:
            click.echo(f"{each.url}:")
            code = max(code, _show_given(each.told, False))
    return tell_behind(outcomes) or code


def _show_given(told: Mapping[str, Any], as_json: bool) -> int:
    """Print an order that was given, and what it moves; the exit code."""
    if as_json:
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return 1 if told["failed"] else 0
    order = read_order(dict(told["order"]))
    evaluation = Evaluation(order.subject, tuple(map(read_effect, told["effects"])))
    click.echo(f"{'would be in force' if told['dry_run'] else 'in force'}: {order_line(order)}")
    for line in moves(evaluation):
        click.echo(line)
    for problem in evaluation.problems():
        click.echo(f"forced: {problem}", err=True)
    return _tell_of(told)


def moves(evaluation: Evaluation) -> list[str]:
    """A line for each cluster that moves, with the weight of the healthy instances that serve before and after."""
    found = evaluation.moves
    if not found:
        return [f"  none of {counted(len(evaluation.effects), 'cluster')} moves"]
    lines = [f"  {each}" for each in found[:MOST_MOVES]]
    left = len(found) - len(lines)
    stay = len(evaluation.effects) - len(found)
    lines += [f"  and {left} more; --json shows all"] if left else []
    return lines + ([f"  {counted(stay, 'cluster')} {'stays' if stay == 1 else 'stay'} where they are"] if stay else [])


def _tell_of(told: Mapping[str, Any]) -> int:
    """Print what could not be published; the exit code."""
    for warning in told.get("warnings", ()):
        click.echo(f"pointsman: {warning}", err=True)
    for failure in told["failed"]:
        click.echo(f"pointsman: cannot be computed and stays unchanged: {failure}", err=True)
    return 1 if told["failed"] else 0


def who() -> str:
    """Who gives the order: the user and the host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return checked_name(f"{user}@{socket.gethostname()}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_end(now: str, for_: str, until: str) -> str:
    """When an order ends that is given `now`, from the values of --for and --until. Raises InvalidInput, UsageError if
    not one of them is given."""
    if bool(for_) == bool(until):
        raise click.UsageError("give an end: --for DURATION or --until TIME")
    return end_of(now, for_, until, "--")


def _label(field: str, value: str) -> str:
    if not is_label(value):
        raise InvalidInput.single("the order", field, f'"{value}" is not a lower-case DNS label')
    return value


def _service(namespace: str, name: str) -> ServiceName:
    return ServiceName(_label("--namespace", namespace), _label("SERVICE", name))
