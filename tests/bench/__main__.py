"""`make bench`, `make bench-scale` and `make bench-peer`: measure, and print a table.

Run them on a machine that does nothing else. Goals are for two idle cores; what an event, an answer or a stream costs
against its floor in the same run says more.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import answers, bucket, cold, costs, events, fan_out, growth, joins, peer, storm, switches
from tests.bench.table import Measured, table

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Size:
    switches: int
    waiting: list[int]
    rounds: int
    seconds: float
    load_seconds: float
    services: int
    storm: tuple[int, int]
    proxies: int
    large: list[int]
    processes: int
    functions: list[str]


_FULL = _Size(
    200, [200, 2000], 5, 5.0, 60.0, 300, (storm.SERVICES, storm.INSTANCES), 200, [1000, 10_000], 10, list(cold.GOALS)
)
_QUICK = _Size(4, [20], 1, 0.1, 0.3, 3, (3, 4), 5, [20], 1, ["ingest"])

_PARTS: dict[str, Callable[[Path, _Size, Progress], Iterator[Measured]]] = {
    "switches": lambda where, size, progress: switches.measure(where, size.switches, progress),
    "events": lambda where, size, progress: events.measure(where, size.load_seconds, size.services, progress),
    "storm": lambda where, size, progress: storm.measure(where, *size.storm, progress),
    "fan-out": lambda where, size, progress: fan_out.measure(where, size.waiting, size.rounds, progress),
    "joins": lambda where, size, progress: joins.measure(where, size.proxies, progress),
    "answers": lambda where, size, progress: answers.measure(where, size.seconds, progress),
    "costs": lambda where, size, progress: costs.measure(where, size.large, size.rounds * 100, progress),
    "bucket": lambda where, size, progress: bucket.measure(where, size.rounds, progress),
    "cold": lambda where, size, progress: cold.measure(size.functions, size.processes, progress),
}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print: goals that are missed are marked. With --quick the numbers mean nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *_PARTS, *growth.PARTS], help="what to measure (default: all)")
    parser.add_argument("--scale", action="store_true", help="what grows, in place of the shorter ones")
    parser.add_argument("--peer", action="store_true", help="beside Sovereign, in place of the shorter ones")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write a curve for each figure that grows there")
    parser.add_argument("--quick", action="store_true", help="a few of each, in seconds: numbers without weight")
    given = parser.parse_args(arguments)
    size = _QUICK if given.quick else _FULL
    began = time.monotonic()

    def progress(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    def parts() -> dict[str, Callable[[Path], Iterator[Measured]]]:
        if given.peer:
            return {"peer": lambda where: peer.measure(where, size.seconds, progress)}
        if given.scale:
            return {
                name: lambda where, part=part: part(where, given.quick, given.draw, progress)
                for name, part in growth.PARTS.items()
            }
        return {name: lambda where, part=part: part(where, size, progress) for name, part in _PARTS.items()}

    rows: list[Measured] = []
    loads = [os.getloadavg()[0]]
    try:
        for name, part in parts().items():
            if given.parts and name not in given.parts:
                continue
            progress(name)
            with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as directory:
                for row in part(Path(directory)):
                    rows.append(row)
            loads.append(os.getloadavg()[0])
    finally:
        # What is measured is told, also if something goes wrong after hours.
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
        print(f"{machine}, commit {growth.commit()}, load {loads[0]:.1f} before and up to {max(loads):.1f}\n")
        print(table(rows))


if __name__ == "__main__":
    main()
