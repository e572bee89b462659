"""`pointsman drill`: drains a datacenter for a while, and reports what switched and what did not."""

import sys
import time
from collections.abc import Callable
from datetime import datetime

import click
import orjson

from pointsman.cli.command import command
from pointsman.cli.options import engine_on, notices_option, store_option
from pointsman.cli.orders import namespace_option, read_end, subject_of, who
from pointsman.machine.parts import stop_on_signals
from pointsman.model.orders import Wish, checked_reason, order_line, short_time
from pointsman.model.words import counted
from pointsman.pipeline.drill import Drill, DrillReport
from pointsman.store.protocol import StoreUnavailable

_LOOK_S = 1.0
"""Seconds between two looks, if a look takes less than a tenth of that."""


@command()
@store_option
@notices_option
@click.option("--for", "for_", default="", metavar="DURATION", help="For how long, like 10m.")
@click.option("--until", default="", metavar="TIME", help="When it ends, like 2026-11-27T14:00:00Z.")
@click.option("--reason", default="drill", show_default=True, metavar="TEXT", help="Why, for those who see the order.")
@click.option("--force", is_flag=True, help="Drill although it is refused.")
@click.option("--json", "as_json", is_flag=True, help="The report for programs.")
@click.option("--dc", default="", metavar="DC", help="Drill with the service TARGET in this datacenter alone.")
@namespace_option
@click.argument("target")
def drill(
    store: str,
    notices: str,
    for_: str,
    until: str,
    reason: str,
    force: bool,
    as_json: bool,
    dc: str,
    namespace: str,
    target: str,
) -> int:
    """Drain the datacenter TARGET (with --dc the service TARGET in one), watch, and end the drain again.

    The report says of each cluster where its traffic went, how many milliseconds after the order its snapshot was
    published, and whether it is back; what could not move and why; and what else switched meanwhile. Ctrl-C or SIGTERM
    ends the drill early and safely. If this process dies, the drill ends all the same: its order has an end.

    Exit codes: 0 everything moved and is back; 1 something did not, or the drill was refused.

    \b
      pointsman drill dc1 --store pointsman.db --for 10m
      pointsman drill s2 --dc dc1 --store pointsman.db --for 90s --json
    """
    with engine_on(store, writes=True, notices=notices) as engine:
        wish = Wish(
            subject_of(target, dc, namespace), read_end(engine.now(), for_, until), checked_reason(reason), who()
        )
        doing = Drill(engine, wish, force=force)
        stop = stop_on_signals()
        try:
            report = doing.begin()
        except StoreUnavailable:
            _tell(f"drill: if its order was written, it ends by itself at {short_time(wish.until)}")
            raise
        _tell(f"drill: {order_line(report.order)}; {counted(len(report.clusters), 'cluster')} moved")
        left, pause = True, 0.0
        while left and not stop.wait(min(pause, _left(report, engine.now()))):
            began = time.monotonic()
            try:
                left = doing.look()
            except StoreUnavailable as error:
                _tell(f"drill: {error}; it is tried again")
            pause = max(_LOOK_S, 10 * (time.monotonic() - began))
            others = counted(len(report.switches), "other change")
            _progress(f"\rdrill: {_left(report, engine.now()):.0f} s left, {others}\x1b[K")
        _progress("\n")
        report = _finish(doing, lambda: _left(report, engine.now()))
    if as_json:
        click.echo(orjson.dumps(report.json(), option=orjson.OPT_INDENT_2).decode())
    else:
        for line in lines(report):
            click.echo(line)
    return 0 if report.is_good else 1


def _finish(doing: Drill, left: Callable[[], float]) -> DrillReport:
    """End the drill; while the store is away, again and again until the order is over by itself."""
    while True:
        try:
            return doing.finish(who())
        except StoreUnavailable as error:
            if not left():
                raise
            _tell(f"drill: {error}; it is tried again")
            time.sleep(min(_LOOK_S, left()))


def _left(report: DrillReport, now: str) -> float:
    left = datetime.fromisoformat(report.order.until) - datetime.fromisoformat(now)
    return max(left.total_seconds(), 0.0)


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        click.echo(text, err=True, nl=False)


def lines(report: DrillReport) -> list[str]:
    """The report of a drill for people."""
    out = [f"{report.order.subject}: {report.order.at} to {report.ended}, {report.why}"]
    for each in report.clusters:
        out.append(f"  {each.cluster} as {each.datacenter} sees it")
        if each.out_ms is None:
            out.append(f"    NOT MOVED: {each.before} serves")
        else:
            weights = f"healthy weight {each.weight_before} -> {each.weight_during}"
            out.append(f"    {each.before} -> {each.during}, published after {each.out_ms} ms, {weights}")
        if each.is_back:
            out.append(f"    back at {each.after}, published after {each.back_ms} ms")
        else:
            out.append(f"    NOT BACK: {each.after or 'nothing'} serves")
    out += [f"  COULD NOT MOVE: {each.seen}: {each.objection}" for each in report.stayed]
    out += [
        f"  also switched at {each.at}: {each.cluster} as {each.datacenter} sees it, {each.before} -> {each.after}"
        for each in report.switches
    ]
    out += [f"  and {report.more_switches} more switches"] if report.more_switches else []
    out += [f"  cannot be computed and stays unchanged: {each}" for each in report.failed]
    moved = sorted(each.out_ms for each in report.clusters if each.out_ms is not None)
    worst = f", the last one published after {moved[-1]} ms" if moved else ""
    back = sum(each.is_back for each in report.clusters)
    result = "good" if report.is_good else "NOT GOOD"
    out.append(
        f"{result}: {len(moved)} of {counted(len(report.clusters), 'cluster')} moved{worst}; {back} back; "
        f"{len(report.stayed)} could not move"
    )
    return out
