"""Figures that grow: measured at several sizes, and drawn as curves."""

import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import costs, fan_out, flat, scale
from tests.bench.curves import Points, curve
from tests.bench.table import Beside, Measured
from tests.fleet.process import REPOSITORY

Progress = Callable[[str], None]

STREAMS = ([500, 2000, 5000, 10_000], [20])
RESOLVERS = ([1000, 3000, 10_000], [3])
UNTOUCHED = ([10, 1000, 10_000, 100_000], [3, 5])
INSTANCES = ([100, 1000, 3000, 10_000], [3, 5])
STORM_SECONDS = (600.0, 0.3)
"""Of each: in full, and to see that it works."""


def commit() -> str:
    """The commit that is measured, with a plus sign if files differ from it."""
    return _git("rev-parse", "--short=10", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("unknown" if done.returncode else "")


def _draw(where: Path | None, name: str, title: str, x: str, y: str, **lines: Points) -> None:
    if where is None:
        return
    where.mkdir(parents=True, exist_ok=True)
    note = f"commit {commit()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    drawn = curve(title, x, y, {each.replace("_", " "): line for each, line in lines.items()}, note)
    (where / f"{name}.svg").write_text(drawn)


def streams(directory: Path, quick: bool, draw: Path | None, progress: Progress) -> Iterator[Measured]:
    """Streams at one adapter, up to ten thousand."""
    rounds = 1 if quick else 5
    found = []
    for each in fan_out.fan_out("gRPC", directory, STREAMS[quick], rounds):
        progress(fan_out.told("gRPC", each))
        found.append((each, fan_out.plain(directory, each.waiting, rounds)))
        yield from fan_out.rows("gRPC", *found[-1])
    ours, floors = zip(*found, strict=True)
    _draw(
        draw,
        "streams",
        "From a change to the last of many streams",
        "streams",
        "ms",
        Pointsman=[(each.waiting, min(each.times) * 1e3) for each in ours],
        a_server_that_only_writes=[(each.waiting, min(each.times) * 1e3) for each in floors],
    )


def resolvers(directory: Path, quick: bool, draw: Path | None, progress: Progress) -> Iterator[Measured]:
    """Config of up to ten thousand resolvers in three datacenters."""
    found = list(scale.measure(directory, RESOLVERS[quick], progress))
    yield from scale.rows(found)
    _draw(
        draw,
        "resolvers",
        "Config of many resolvers, each called from 3 datacenters",
        "resolvers",
        "seconds",
        apply_from_nothing=[(each.resolvers, each.apply.wall) for each in found],
        proxy_defaults_changed=[(each.resolvers, each.defaults.wall) for each in found],
        reconcile=[(each.resolvers, each.reconcile.wall) for each in found],
        one_entry_changed=[(each.resolvers, each.change.wall) for each in found],
    )
    _draw(
        draw,
        "memory",
        "Memory of pointsman up",
        "resolvers",
        "MiB",
        up=[(each.resolvers, each.bytes / 2**20) for each in found],
    )


def untouched(directory: Path, quick: bool, draw: Path | None, progress: Progress) -> Iterator[Measured]:
    """What resolvers that an event does not touch cost it."""
    found = costs.untouched_ms(directory, UNTOUCHED[quick], 20 if quick else 200, progress)
    fewest = Beside(f"of {found[0][0]:,}", found[0][1])
    for number, took in found:
        goal = costs.UNTOUCHED_GOAL * fewest.value if number > found[0][0] else None
        yield Measured(f"CPU of an event in a mesh of {number:,} resolvers", took, "ms", goal, beside=fewest)
    _draw(draw, "untouched", "CPU of an event that touches one resolver", "resolvers", "ms", event=found)


def instances(directory: Path, quick: bool, draw: Path | None, progress: Progress) -> Iterator[Measured]:
    """One instance of a large service goes or comes."""
    found = []
    for number in INSTANCES[quick]:
        took, plain = costs.flip_ms(directory, number)
        progress(f"{number:,} instances: {took:.1f} ms")
        found.append((number, took, plain))
        beside = Beside("its catalog as JSON, read and written once", plain)
        goal = costs.FLIP_GOAL_MS.get(number)
        yield Measured(f"one of {number:,} instances flips, CPU", took, "ms", goal, beside=beside)
    _draw(
        draw,
        "instances",
        "CPU when one instance of a service flips",
        "instances",
        "ms",
        Pointsman=[(number, took) for number, took, _ in found],
        its_catalog_as_JSON=[(number, plain) for number, _, plain in found],
    )


def storms(directory: Path, quick: bool, draw: Path | None, progress: Progress) -> Iterator[Measured]:
    """Memory while storm follows storm."""
    found, count = flat.memory(directory, STORM_SECONDS[quick], 3 if quick else 300, progress)
    yield flat.row(found, count)
    _draw(draw, "storms", "Memory of pointsman up while storm follows storm", "seconds", "MiB", up=found)


PARTS: dict[str, Callable[[Path, bool, Path | None, Progress], Iterator[Measured]]] = {
    "streams": streams,
    "resolvers": resolvers,
    "untouched": untouched,
    "instances": instances,
    "storms": storms,
}
